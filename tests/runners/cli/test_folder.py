"""New results take the place of a run's old ones, and of nothing else, whenever a process ends."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.paths import ROOT
from runners.cli import folder as folder_module
from runners.cli.folder import Staging, check_folder, staged
from runners.config.schema import UsageError

RECORD: dict[str, Any] = {"schema": 2, "runner": "R", "config": {}}


def write(out: Path, content: str, *names: str) -> Path:
    """What a run does: files with ``content``, and results.json that lists them."""
    with staged(out) as staging:
        for name in names:
            (staging.folder / name).write_text(content)
        files = sorted([*names, "results.json"])
        (staging.folder / "results.json").write_text(json.dumps(RECORD | {"content": content, "files": files}))
        return staging.commit()


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def whole(out: Path, content: str, *names: str) -> bool:
    found = tree(out)
    record = json.loads(found.pop("results.json"))
    return record["content"] == content and found == dict.fromkeys(names, content)


def test_a_runs_files_are_replaced_and_all_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "exp"
    write(out, "old", "a.npz", "gone.png")
    write(out / "run2", "inner", "a.npz")
    (out / "notes.txt").write_text("mine")
    check_folder(out)
    assert write(out, "new", "a.npz", "b.npz") == out
    found = tree(out)
    assert json.loads(found.pop("results.json"))["content"] == "new"
    assert json.loads(found.pop("run2/results.json"))["content"] == "inner"
    assert found == {"a.npz": "new", "b.npz": "new", "notes.txt": "mine", "run2/a.npz": "inner"}


def test_a_users_file_of_the_same_name_stays_and_results_go_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "old", "a.npz")
    (tmp_path / "samples.png").write_text("mine")
    assert write(tmp_path, "new", "a.npz", "samples.png") == tmp_path / "results-2"
    assert write(tmp_path, "newer", "samples.png") == tmp_path / "results-3"
    assert whole(tmp_path / "results-2", "new", "a.npz", "samples.png")
    assert (tmp_path / "samples.png").read_text() == "mine"
    assert (tmp_path / "a.npz").read_text() == "old"


def test_results_of_before_files_were_listed_are_replaced_by_name(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RECORD))
    (tmp_path / "a.npz").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    assert write(tmp_path, "new", "a.npz") == tmp_path
    assert tree(tmp_path)["a.npz"] == "new"
    assert tree(tmp_path)["notes.txt"] == "mine"


def test_a_list_of_files_does_not_reach_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    record = RECORD | {"files": ["../mine.txt", str(tmp_path / "mine.txt"), "results.json", 3, None]}
    (out / "results.json").write_text(json.dumps(record))
    write(out, "new", "a.npz")
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"schema": 1}', "[" * 100_000])
def test_other_files_without_a_runs_results_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UsageError, match="holds other files and no results.json of a run"):
        check_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")


def test_the_current_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for content in ("old", "new"):
        check_folder(Path())
        write(Path(), content, "a.npz")
        assert whole(tmp_path, content, "a.npz")
    assert Path().resolve() == tmp_path


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path: Path, there: bool) -> None:
    link, target = tmp_path / "link", tmp_path / "scratch"
    link.symlink_to(target)
    if there:
        write(target, "old", "a.npz")
    check_folder(link)
    write(link, "new", "b.npz")
    assert link.is_symlink()
    assert whole(target, "new", "b.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"link", "scratch"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting needs root")
def test_a_mount_point_will_do(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    line = ["mount", "--bind", str(tmp_path / "a"), str(tmp_path / "b")]
    if subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let the tests mount")
    try:
        write(tmp_path / "b", "old", "a.npz")
        write(tmp_path / "b", "new", "b.npz")
        assert whole(tmp_path / "a", "new", "b.npz")
    finally:
        subprocess.run(["umount", str(tmp_path / "b")], check=True)


def test_a_folder_that_is_taken_away_is_made_again(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    write(tmp_path / "a" / "b", "new", "a.npz")
    assert whole(tmp_path / "a" / "b", "new", "a.npz")


def test_a_failure_leaves_no_trace(tmp_path: Path) -> None:
    def half(out: Path) -> None:
        with staged(out) as staging:
            (staging.folder / "a.npz").write_text("new")
            raise OSError("full")

    def fail(out: Path) -> None:
        with pytest.raises(OSError, match="full"):
            half(out)

    fail(tmp_path / "out")
    assert not list(tmp_path.iterdir())
    write(tmp_path / "out", "old", "a.npz")
    fail(tmp_path / "out")
    assert whole(tmp_path / "out", "old", "a.npz")
    assert len(list((tmp_path / "out").iterdir())) == 2


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.runners.cli.test_folder import write
def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return function(*arguments, **options)
    return call
os.replace, Path.rename, os.mkdir, os.unlink, os.rmdir = (
    counted(os.replace), counted(Path.rename), counted(os.mkdir), counted(os.unlink), counted(os.rmdir)
)
for left, out in enumerate(sys.argv[1:]):
    if os.fork() == 0:
        write(Path(out), "new", "a.npz", "b.npz", "c.npz")
        os._exit(0)
    sys.exit("it failed") if os.wait()[1] not in (0, 9) else None
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are killed at a given step are forks")
def test_a_kill_between_any_two_steps_leaves_old_or_new_results_whole(tmp_path: Path) -> None:
    """The next run in the folder finds the one or the other, or in a folder that was empty nothing or the new ones."""
    empty = [tmp_path / f"empty-{step}" for step in range(16)]
    used = [tmp_path / f"used-{step}" for step in range(16)]
    for out in empty:
        out.mkdir()
    for out in used:
        write(out, "old", "a.npz", "gone.npz")
        (out / "notes.txt").write_text("mine")
    for outs in (empty, used):
        line = [sys.executable, "-c", KILLED.format(root=str(ROOT)), *map(str, outs)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    cut = [out for out in (*empty, *used) if any(path.name.startswith(".") for path in out.iterdir())]
    assert cut
    seen = []
    for out in (*empty, *used):
        check_folder(out)
        if out in used:
            assert (out / "notes.txt").read_text() == "mine"
            (out / "notes.txt").unlink()
        is_new = bool(list(out.iterdir())) and whole(out, "new", "a.npz", "b.npz", "c.npz")
        assert is_new or (whole(out, "old", "a.npz", "gone.npz") if out in used else not list(out.iterdir()))
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
        seen.append((out in used, is_new, out in cut))
    assert {(is_used, is_new) for is_used, is_new, _ in seen} == {(a, b) for a in (True, False) for b in (True, False)}
    assert (False, True, True) in seen  # a first run's results that the next run completed


@pytest.mark.parametrize("kind", ["files only", "nothing", "unknown"])
def test_a_run_is_left_alone_where_folders_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As on NFS, on a file system without locks, and on a system without them."""
    module: Any = folder_module
    flock = module.fcntl.flock

    def refusing(handle: int, operation: int) -> None:
        if kind == "nothing" or stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(handle, operation)

    if kind == "unknown":
        monkeypatch.setattr(module, "fcntl", None)
    else:
        monkeypatch.setattr(module.fcntl, "flock", refusing)
    with module._alone_in(tmp_path):
        assert module._lock(tmp_path / ".trisolve-lock") is None
    assert (tmp_path / ".trisolve-lock").exists() == (kind != "unknown")
    dead = tmp_path / ".trisolve-writing-dead"
    dead.mkdir()
    with staged(tmp_path) as slow:
        (slow.folder / "a.npz").write_text("slow")
        check_folder(tmp_path)
        write(tmp_path, "fast", "a.npz", "b.npz")
        (slow.folder / "results.json").write_text(json.dumps(RECORD | {"content": "slow", "files": ["a.npz"]}))
        assert slow.commit() == tmp_path
    assert dead.is_dir() == (kind != "files only")
    found = {name: content for name, content in tree(tmp_path).items() if not name.startswith(".")}
    assert json.loads(found.pop("results.json"))["content"] == "slow"
    assert found == {"a.npz": "slow"}


def leave_ready(out: Path, name: str, content: str, **record: Any) -> Path:
    """What a run leaves that is killed before it gives the first file its place."""
    ready = out / f".trisolve-ready-{name}"
    ready.mkdir(parents=True)
    (ready / "a.npz").write_text(content)
    files = {"files": ["a.npz", "results.json"]}
    (ready / "results.json").write_text(json.dumps(RECORD | {"content": content} | files | record))
    return ready


def test_results_of_a_run_that_was_killed_meanwhile_do_not_replace_newer_ones(tmp_path: Path) -> None:
    with staged(tmp_path) as staging:
        leave_ready(tmp_path, "killed", "killed")
        (staging.folder / "a.npz").write_text("newer")
        record = RECORD | {"content": "newer", "files": ["a.npz", "results.json"]}
        (staging.folder / "results.json").write_text(json.dumps(record))
        staging.commit()
    check_folder(tmp_path)
    assert whole(tmp_path, "newer", "a.npz")


def test_a_folder_that_is_being_made_or_was_there_is_not_removed_by_another_that_fails(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    Staging(tmp_path / "mine").discard()
    assert (tmp_path / "mine").is_dir()
    first = Staging(tmp_path / "new")
    second = Staging(tmp_path / "new")
    second.discard()
    first.discard()
    first.discard()
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


@pytest.mark.parametrize("files", [5, None, "ab", {"a.npz": 1}, [["a.npz"]]])
def test_a_list_of_files_that_is_none_lists_nothing(tmp_path: Path, files: Any) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RECORD | {"files": files}))
    (tmp_path / "a").write_text("mine")
    (tmp_path / "a.npz").write_text("mine")
    check_folder(tmp_path)
    assert write(tmp_path, "new", "b.npz") == tmp_path
    assert {"a": "mine", "a.npz": "mine", "b.npz": "new"}.items() <= tree(tmp_path).items()


def test_a_folder_in_the_place_of_a_file_stays_with_all_old_results(tmp_path: Path) -> None:
    write(tmp_path, "old", "a.npz", "b.npz", "gone.npz")
    (tmp_path / "b.npz").unlink()
    (tmp_path / "b.npz").mkdir()
    assert write(tmp_path, "new", "a.npz", "b.npz") == tmp_path / "results-2"
    assert whole(tmp_path / "results-2", "new", "a.npz", "b.npz")
    shutil.rmtree(tmp_path / "results-2")
    found = tree(tmp_path)
    assert json.loads(found.pop("results.json"))["content"] == "old"
    assert found == {"a.npz": "old", "gone.npz": "old"}


def test_results_that_cannot_all_get_their_places_go_aside_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "old", "b.npz")
    replace: Callable[..., None] = os.replace

    def refusing(source: Path, target: Path) -> None:
        if target == tmp_path / "b.npz":  # a file of somebody else's
            raise PermissionError
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    assert write(tmp_path, "new", "a.npz", "b.npz") == tmp_path / "results-2"
    assert whole(tmp_path / "results-2", "new", "a.npz", "b.npz")
    shutil.rmtree(tmp_path / "results-2")
    assert whole(tmp_path, "old", "b.npz")


def test_what_a_killed_run_left_damaged_goes_aside(tmp_path: Path) -> None:
    write(tmp_path, "old", "a.npz")
    (leave_ready(tmp_path, "damaged", "new") / "results.json").write_text("")
    check_folder(tmp_path)
    assert tree(tmp_path / "results-2") == {"a.npz": "new", "results.json": ""}
    assert write(tmp_path, "newer", "a.npz") == tmp_path


def test_a_lock_is_let_go_once(tmp_path: Path) -> None:
    """What has its number afterwards is another file."""
    staging = Staging(tmp_path)
    (staging.folder / "results.json").write_text(json.dumps(RECORD))
    staging.commit()
    others = [os.open(tmp_path, os.O_RDONLY) for _ in range(8)]
    staging.discard()
    for other in others:
        os.close(other)


def test_links_that_lead_nowhere_are_judged_by_where_they_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for out in (tmp_path / "circle", tmp_path / "circle" / "inner"):
        with pytest.raises(UsageError, match="circle is a link to itself; expected a folder"):
            check_folder(out)
    probed: list[Path] = []
    made = tempfile.TemporaryDirectory

    def recorded(*, dir: Path) -> tempfile.TemporaryDirectory[str]:
        probed.append(dir)
        return made(dir=dir)

    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "a" / "b")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", recorded)
    check_folder(tmp_path / "link")
    assert probed == [tmp_path / "disk"]


def test_an_interrupt_while_files_get_their_places_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "old", "a.npz", "b.npz")
    replace: Callable[..., None] = os.replace
    pressed: list[int] = []

    def interrupted(*arguments: Any) -> None:
        replace(*arguments)
        if not pressed:
            pressed.append(1)
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "new", "a.npz", "b.npz")
    assert pressed
    assert whole(tmp_path, "new", "a.npz", "b.npz")
    assert len(list(tmp_path.iterdir())) == 3


def test_two_writers_that_end_together_leave_the_results_of_one(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\n"
        "from tests.runners.cli.test_folder import write\n"
        "for _ in range(40): write(Path(sys.argv[1]), sys.argv[2], *(f'{i}.npz' for i in range(9)))\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "out")]
    writers = [subprocess.Popen([*line, name], stderr=subprocess.PIPE, cwd=ROOT) for name in "ab"]
    for writer in writers:
        _, stderr = writer.communicate()
        assert writer.returncode == 0, stderr.decode()
    assert any(whole(tmp_path / "out", name, *(f"{i}.npz" for i in range(9))) for name in "ab")
    assert len(list((tmp_path / "out").iterdir())) == 10
