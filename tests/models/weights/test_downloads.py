"""Downloads from a server that misbehaves in every way: one sentence for the user, and nothing left of them."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gdown
import jax
import numpy as np
import pytest
import requests
import torch
from rich.console import Console
from torchvision.models import get_model_weights

import runners.cli.download
from common.errors import UserError
from common.paths import ROOT
from models import MODELS, model_config
from models.made.model import generate_masks
from models.weights import downloads, fetching
from models.weights.checkpoint import CheckpointError
from models.weights.downloads import DownloadError, Fetched
from models.weights.fetching import FetchSettings
from models.weights.load import load_checkpoint
from models.weights.registry import locate, registry
from runners.cli.download import DownloadProgress
from runners.cli.main import main
from runners.measure.programs import keep_programs
from tests.kit.packed import tarred, zipped
from tests.kit.web import OTHER, WEIGHTS, Answer, Site, endless, hangs_up, reply, sends, silent, stalled, truncated

SETTINGS = FetchSettings(attempts=3, backoff_s=0.01, timeout_s=10.0, max_bytes=2**23)
HASTY = replace(SETTINGS, timeout_s=0.3)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Entries, and what the world looks like after a download.


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


class Watcher:
    """Keeps what it is told."""

    def __init__(self, act: Callable[[], None] | None = None) -> None:
        self.positions: list[tuple[int, int | None]] = []
        self.messages: list[str] = []
        self.act = act

    def at(self, received: int, total: int | None) -> None:
        self.positions.append((received, total))
        if self.act:
            self.act()

    def say(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRISOLVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(runners.cli.download, "SETTINGS", SETTINGS)
    return tmp_path / "cache"


Enter = Callable[..., None]


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Make a registry of one's own, entry by entry."""
    entries: dict[str, Any] = {}
    monkeypatch.setattr(downloads, "REGISTRY", tmp_path / "downloads.json")

    def add(*urls: str, name: str = "mine", **fields: Any) -> None:
        plain = {"format": "file", "suffix": ".pth", "model": "densenet", "licence": "MIT", "publisher": "a test"}
        entries[name] = {"urls": urls, **plain, **fields}
        downloads.REGISTRY.write_text(json.dumps(entries))

    return add


def get(name: str = "mine", watcher: Watcher | None = None, settings: FetchSettings = SETTINGS) -> Fetched:
    return downloads.download(downloads.downloads()[name], watcher or Watcher(), settings)


def left(cache: Path) -> set[str]:
    """What is in the cache but for locks."""
    return {path.name for path in cache.iterdir() if path.suffix != ".lock"}


def assert_nothing_left(cache: Path) -> None:
    assert left(cache) == set()
    assert downloads.downloaded(downloads.downloads()["mine"]) is None


# Downloads that work.


@pytest.mark.parametrize("published", [{"sha256": sha256(WEIGHTS)}, {"sha256_prefix": sha256(WEIGHTS)[:8]}])
def test_file_with_a_published_hash_is_fetched_once(
    site: Site, enter: Enter, cache: Path, published: dict[str, str]
) -> None:
    enter(site.url(sends(WEIGHTS)), size=len(WEIGHTS), **published)
    watcher = Watcher()
    fetched = get(watcher=watcher)
    assert fetched == Fetched(cache / "mine.pth", sha256(WEIGHTS), is_new=True, is_first=False)
    assert fetched.path.read_bytes() == WEIGHTS
    assert watcher.positions[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert watcher.positions == sorted(watcher.positions)
    assert left(cache) == {"mine.pth", "mine.pth.json"}
    assert get() == Fetched(cache / "mine.pth", sha256(WEIGHTS), is_new=False, is_first=False)
    assert site.hits == {"/weights": 1}


def test_redirects_are_followed(site: Site, enter: Enter) -> None:
    site.url(sends(WEIGHTS), path="/elsewhere")
    enter(site.url(reply(302, Location="/elsewhere")))
    assert get().path.read_bytes() == WEIGHTS


def test_size_need_not_be_known(site: Site, enter: Enter) -> None:
    enter(site.url(sends(WEIGHTS, **{"Content-Length": None})))
    watcher = Watcher()
    assert get(watcher=watcher).path.read_bytes() == WEIGHTS
    assert {total for _, total in watcher.positions} == {None}


@pytest.mark.parametrize("trouble", [reply(500), reply(503), reply(429), truncated, stalled, silent, hangs_up])
def test_passing_trouble_is_waited_out(site: Site, enter: Enter, trouble: Answer, monkeypatch: Any) -> None:
    waits: list[float] = []
    monkeypatch.setattr(fetching.time, "sleep", waits.append)
    enter(site.url(trouble, trouble, sends(WEIGHTS)), sha256=sha256(WEIGHTS))
    watcher = Watcher()
    settings = HASTY if trouble in (stalled, silent) else SETTINGS
    assert get(watcher=watcher, settings=settings).path.read_bytes() == WEIGHTS
    assert site.hits == {"/weights": 3}
    assert waits == [0.01, 0.02]
    assert [message.split("; ")[1] for message in watcher.messages] == [
        "attempt 2 of 3 follows in 0.01 s",
        "attempt 3 of 3 follows in 0.02 s",
    ]


@pytest.mark.parametrize("trouble", [reply(404), sends(OTHER), truncated])
def test_mirrors_are_tried_in_turn(site: Site, enter: Enter, trouble: Answer) -> None:
    enter(site.url(trouble, path="/a"), site.url(sends(WEIGHTS), path="/b"), sha256=sha256(WEIGHTS))
    watcher = Watcher()
    assert get(watcher=watcher).path.read_bytes() == WEIGHTS
    assert watcher.messages[-1].endswith("; trying the next address")


# Downloads that do not work.


@pytest.mark.parametrize(
    ("answer", "sentence", "hits"),
    [
        pytest.param(truncated, "{host} broke off before the file was complete (3 attempts)", 3, id="truncated"),
        pytest.param(stalled, "{host} sent nothing for 0.3 s (3 attempts)", 3, id="stalled"),
        pytest.param(silent, "{host} sent nothing for 0.3 s (3 attempts)", 3, id="silent"),
        pytest.param(hangs_up, "{host} cannot be reached (3 attempts)", 3, id="hangs_up"),
        pytest.param(reply(500), "http://{host}/weights answers 500 Internal Server Error (3 attempts)", 3, id="500"),
        pytest.param(reply(404), "http://{host}/weights answers 404 Not Found", 1, id="404"),
        pytest.param(reply(403), "http://{host}/weights answers 403 Forbidden", 1, id="403"),
        pytest.param(
            reply(302, Location="/weights"), "http://{host}/weights cannot be fetched (TooManyRedirects)", 31, id="loop"
        ),
        pytest.param(
            sends(OTHER),
            f"what came is not the published file: its sha256 is {sha256(OTHER)}, expected {sha256(WEIGHTS)}",
            1,
            id="corrupt",
        ),
        pytest.param(sends(b"short"), "what came has 5 bytes; expected 700000", 1, id="wrong_size"),
        pytest.param(
            sends(WEIGHTS, **{"Content-Length": 2**40}),
            "the file is larger than 8388608 bytes, the most that is taken",
            1,
            id="announced_too_large",
        ),
        pytest.param(endless, "the file is larger than 8388608 bytes, the most that is taken", 1, id="endless"),
    ],
)
def test_failed_download_leaves_nothing(
    site: Site, enter: Enter, cache: Path, answer: Answer, sentence: str, hits: int
) -> None:
    enter(site.url(answer), sha256=sha256(WEIGHTS), size=len(WEIGHTS))
    with pytest.raises(DownloadError) as error:
        get(settings=HASTY if answer in (stalled, silent) else SETTINGS)
    assert str(error.value) == "mine: " + sentence.replace("{host}", f"127.0.0.1:{site.server_port}")
    assert site.hits == {"/weights": hits}
    assert_nothing_left(cache)


def test_length_that_is_no_number(site: Site, enter: Enter, cache: Path) -> None:
    enter(site.url(sends(WEIGHTS, **{"Content-Length": "many"})))
    with pytest.raises(DownloadError, match=r"mine: http.*/weights sent an answer that makes no sense: .*many.*"):
        get()
    assert_nothing_left(cache)


def test_no_server_at_all(enter: Enter, cache: Path) -> None:
    with Site() as gone:
        url = gone.url()
    enter(url)
    with pytest.raises(DownloadError, match=r"^mine: 127\.0\.0\.1:\d+ cannot be reached \(3 attempts\)$"):
        get()
    assert_nothing_left(cache)


def test_address_that_is_none(enter: Enter, cache: Path) -> None:
    enter("http://")
    with pytest.raises(DownloadError, match=r"^mine: http:// cannot be fetched \(InvalidURL\)$"):
        get()
    assert_nothing_left(cache)


def test_certificate_that_is_not_valid(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*rest: Any, **more: Any) -> None:
        raise requests.exceptions.SSLError("long story")

    monkeypatch.setattr(requests, "get", refuse)
    enter("https://example.org/x")
    with pytest.raises(DownloadError, match=r"^mine: the certificate of example.org is not valid here$"):
        get()


def test_every_mirror_is_told_of(site: Site, enter: Enter, cache: Path) -> None:
    enter(site.url(reply(404), path="/a"), site.url(reply(403), path="/b"))
    with pytest.raises(DownloadError, match=r"/a answers 404 Not Found; http.*/b answers 403 Forbidden"):
        get()
    assert_nothing_left(cache)


# Trust on first use.


def test_first_download_decides_where_no_hash_is_published(site: Site, enter: Enter, cache: Path) -> None:
    enter(site.url(sends(WEIGHTS), sends(WEIGHTS), sends(OTHER)))
    first = get()
    assert first.is_first
    record = json.loads((cache / "mine.pth.json").read_text())
    assert record["sha256"] == record["source_sha256"] == sha256(WEIGHTS)
    first.path.unlink()
    again = get()
    assert (again.is_new, again.is_first) == (True, False)
    again.path.write_bytes(WEIGHTS[:-1])
    watcher = Watcher()
    with pytest.raises(DownloadError) as error:
        get(watcher=watcher)
    assert watcher.messages == [f"{first.path} is damaged; fetching it again"]
    assert str(error.value) == (
        f"mine: the sha256 of what came is {sha256(OTHER)}, that of the first download was {sha256(WEIGHTS)}; if you "
        f"trust the new file all the same, delete {cache / 'mine.pth.json'} and download it again"
    )
    assert left(cache) == {"mine.pth.json"}
    (cache / "mine.pth.json").unlink()
    assert get() == Fetched(first.path, sha256(OTHER), is_new=True, is_first=True)


def test_published_hash_that_changes_is_followed(site: Site, enter: Enter) -> None:
    url = site.url(sends(WEIGHTS), sends(OTHER))
    enter(url, sha256=sha256(WEIGHTS))
    get()
    enter(url, sha256=sha256(OTHER))
    assert get() == Fetched(get().path, sha256(OTHER), is_new=True, is_first=False)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": 3}'])
def test_damaged_record_trusts_nothing(site: Site, enter: Enter, cache: Path, content: str) -> None:
    enter(site.url(sends(WEIGHTS)))
    cache.mkdir()
    (cache / "mine.pth.json").write_text(content)
    with pytest.raises(DownloadError, match=r"mine.pth.json is damaged; delete it to trust the next download"):
        get()
    assert site.hits == {}


def test_file_without_a_record_is_not_trusted(site: Site, enter: Enter, cache: Path) -> None:
    enter(site.url(sends(WEIGHTS)))
    cache.mkdir()
    (cache / "mine.pth").write_bytes(OTHER)
    assert downloads.downloaded(downloads.downloads()["mine"]) is None
    assert get().path.read_bytes() == WEIGHTS


# Archives.


@pytest.mark.parametrize("pack", [zipped, tarred, lambda *members: gzip.compress(tarred(*members))])
def test_archive_is_fetched_once_for_all_that_it_holds(
    site: Site, enter: Enter, cache: Path, pack: Callable[..., bytes]
) -> None:
    url = site.url(sends(pack(("x/readme", b"hello"), ("x/a.pth", WEIGHTS), ("x/b.pth", OTHER))))
    for name, members in {"a": ["pre*/a.pth", "a.pth"], "b": ["b.pth"], "missing": ["c.pth"]}.items():
        enter(url, name=name, format="archive", members=members)
    fetched = get("a")
    assert fetched == Fetched(cache / "a.pth", sha256(WEIGHTS), is_new=True, is_first=True, others=("b",))
    assert json.loads((cache / "a.pth.json").read_text())["member"] == "x/a.pth"
    assert left(cache) == {"a.pth", "a.pth.json", "b.pth", "b.pth.json"}
    assert (cache / "a.pth").read_bytes() == WEIGHTS
    assert (cache / "b.pth").read_bytes() == OTHER
    assert not get("b").is_new
    assert site.hits == {"/weights": 1}
    with pytest.raises(DownloadError, match=r"^missing: none of the archive's 3 files fits c.pth; those that end in "):
        get("missing")


def test_weights_on_record_are_not_replaced_by_others_from_the_same_archive(
    site: Site, enter: Enter, cache: Path
) -> None:
    url = site.url(
        sends(zipped(("a.pth", WEIGHTS), ("b.pth", OTHER))), sends(zipped(("a.pth", OTHER), ("b.pth", OTHER)))
    )
    enter(url, name="a", format="archive", members=["a.pth"])
    enter(url, name="b", format="archive", members=["b.pth"])
    get("a")
    for path in cache.glob("*.pth"):
        path.unlink()
    assert get("b").others == ()
    assert left(cache) == {"b.pth", "b.pth.json", "a.pth.json"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(zipped(("a.pth", WEIGHTS), ("../x", b"")), "member '../x' leads out of the archive's", id="up"),
        pytest.param(zipped(("a.pth", WEIGHTS))[:-99], "the archive cannot be read", id="truncated"),
        pytest.param(zipped(("a.pth", WEIGHTS)).replace(WEIGHTS[:9], b"123456789"), "member 'a.pth' ", id="damaged"),
        pytest.param(zipped(("a.pth", bytes(2**25))), "member 'a.pth' unpacks to 33554432 bytes", id="bomb"),
        pytest.param(zipped(("b.pth", WEIGHTS)), "none of the archive's 1 files fits a.pth", id="missing"),
        pytest.param(b"<html>no</html>", "the file is neither a zip nor a tar archive", id="page"),
    ],
)
def test_bad_archive_leaves_nothing(site: Site, enter: Enter, cache: Path, content: bytes, sentence: str) -> None:
    enter(site.url(sends(content)), format="archive", members=["a.pth"])
    with pytest.raises(DownloadError, match="^" + re.escape(f"mine: {sentence}")):
        get()
    assert_nothing_left(cache)


# Others at work, people in a hurry, full disks.


def test_two_at_once_share_one_download(site: Site, enter: Enter) -> None:
    began = threading.Event()
    watchers = [Watcher(began.set), Watcher()]
    results: list[Fetched] = []

    def slowly(request: BaseHTTPRequestHandler) -> None:
        truncated(request)
        request.wfile.flush()
        while not watchers[1].messages:
            time.sleep(0.01)
        request.wfile.write(WEIGHTS[400_000:])

    enter(site.url(slowly))
    threads = [threading.Thread(target=lambda w=w: results.append(get(watcher=w))) for w in watchers]
    threads[0].start()
    assert began.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert [result.is_new for result in results] == [True, False]
    assert watchers[1].messages == ["another process downloads this; waiting for it"]
    assert site.hits == {"/weights": 1}


def test_what_a_killed_process_left_is_cleared_away(site: Site, enter: Enter, cache: Path) -> None:
    enter(site.url(sends(WEIGHTS)))
    get()
    (lock,) = cache.glob("*.lock")
    (lock.with_suffix(".partial")).mkdir()
    (lock.with_suffix(".partial") / "source").write_bytes(b"half")
    (cache / "mine.pth").unlink()
    get()
    assert left(cache) == {"mine.pth", "mine.pth.json"}


def test_interrupt_leaves_nothing(site: Site, enter: Enter, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    person = threading.get_ident()

    def interrupted(request: BaseHTTPRequestHandler) -> None:
        truncated(request)
        request.wfile.flush()
        time.sleep(0.1)
        signal.pthread_kill(person, signal.SIGINT)
        silent(request)

    enter(site.url(interrupted))
    assert main(["--download", "mine"]) == 130
    assert capfd.readouterr().err.splitlines()[-1].startswith("error: interrupted; nothing was written")
    assert_nothing_left(cache)


def test_interrupt_between_two_chunks_leaves_nothing(site: Site, enter: Enter, cache: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    enter(site.url(sends(WEIGHTS)))
    with pytest.raises(KeyboardInterrupt):
        get(watcher=Watcher(interrupt))
    assert_nothing_left(cache)


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        pytest.param(WEIGHTS, {}, id="file"),
        pytest.param(
            gzip.compress(tarred(("a.pth", bytes(700_000)))), {"format": "archive", "members": ["a.pth"]}, id="tar"
        ),
    ],
)
def test_disk_that_is_full(site: Site, enter: Enter, cache: Path, content: bytes, fields: dict[str, Any]) -> None:
    """The limit on the size of files is what the system lets a test make full."""
    enter(site.url(sends(content)), **fields)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(DownloadError) as error:
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value) == f"mine cannot be stored in {cache}: File too large"
    assert_nothing_left(cache)


@pytest.mark.parametrize("below", ["{here}/file/cache", "/proc/trisolve"])
def test_folder_that_cannot_be_made(
    site: Site, enter: Enter, tmp_path: Path, monkeypatch: Any, capfd: pytest.CaptureFixture[str], below: str
) -> None:
    (tmp_path / "file").write_text("x")
    folder = below.replace("{here}", str(tmp_path))
    monkeypatch.setenv("TRISOLVE_CACHE", folder)
    enter(site.url(sends(WEIGHTS)))
    assert main(["--download", "mine", "--verbose", "warning"]) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"error: mine cannot be stored in {folder}: ")
    assert said.count("\n") == 1


def test_place_that_may_not_be_written(site: Site, enter: Enter, cache: Path, monkeypatch: Any) -> None:
    def refuse(*rest: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("common.files.os.replace", refuse)
    enter(site.url(sends(WEIGHTS)))
    with pytest.raises(DownloadError, match=r"^mine cannot be stored in .*cache: Permission denied$"):
        get()
    assert_nothing_left(cache)


def test_default_folder_is_the_platforms(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("TRISOLVE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert downloads.cache_folder().name == "trisolve"
    monkeypatch.setenv("TRISOLVE_CACHE", "~/x")
    assert downloads.cache_folder() == Path.home() / "x"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An account without a home; the folder among the temporary files that is its own."""

    def unknown() -> Path:
        raise RuntimeError

    monkeypatch.delenv("TRISOLVE_CACHE", raising=False)
    monkeypatch.setattr(downloads.Path, "home", unknown)
    monkeypatch.setattr(downloads.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"trisolve-{os.getuid()}"


def test_without_a_home_downloads_have_a_closed_folder_and_programs_none(homeless: Path) -> None:
    assert downloads.user_cache() is None
    for _ in range(2):
        assert downloads.cache_folder() == homeless
    assert homeless.stat().st_mode & 0o777 == 0o700
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert list(homeless.iterdir()) == []


@pytest.mark.parametrize("kind", ["open", "another's", "link", "file"])
def test_a_folder_that_another_may_have_made_is_refused(
    kind: str, homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "file":
        homeless.write_text("")
    elif kind == "link":
        (homeless.parent / "own").mkdir(mode=0o700)
        homeless.symlink_to(homeless.parent / "own")
    elif kind == "open":
        homeless.mkdir()
        homeless.chmod(0o755)
    else:
        user = os.getuid()
        homeless.with_name(f"trisolve-{user + 1}").mkdir(mode=0o700)
        monkeypatch.setattr(downloads.os, "getuid", lambda: user + 1)
    with pytest.raises(UserError, match=f"^there is no home folder, and {homeless.parent}/trisolve-.*; set TRISOLVE_C"):
        downloads.cache_folder()


# Google Drive.


def test_gdrive_address_goes_to_gdown(enter: Enter, cache: Path, monkeypatch: Any) -> None:
    def give(file_id: str, target: Path, progress: Any, settings: FetchSettings) -> None:
        assert (file_id, settings) == ("abc", SETTINGS)
        progress(5, 10)
        target.write_bytes(zipped(("a.pth", WEIGHTS)))

    monkeypatch.setattr(fetching, "gdrive_download", give)
    enter("gdrive:abc", format="archive", members=["a.pth"])
    watcher = Watcher()
    assert get(watcher=watcher).path.read_bytes() == WEIGHTS
    assert watcher.positions == [(5, 10)]


def test_gdown_is_called_as_it_wants_to_be(monkeypatch: Any, tmp_path: Path) -> None:
    wanted, calls = inspect.signature(gdown.download), []
    monkeypatch.setattr(gdown, "download", lambda *given, **named: calls.append(wanted.bind(*given, **named).arguments))

    def progress(received: int, total: int | None) -> None: ...

    fetching.gdrive_download("abc", tmp_path / "x", progress, SETTINGS)
    assert calls == [
        {
            "id": "abc",
            "output": str(tmp_path / "x"),
            "quiet": True,
            "use_cookies": False,
            "progress": progress,
            "timeout": 10.0,
            "retries": 2,
        }
    ]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def answered(code: int, reason: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response.reason = code, reason
    return requests.HTTPError(response=response)


REFUSED = "Google Drive does not give file abc: {}; try later, or fetch https://drive.google.com/file/d/abc/view in a "
REFUSED += "browser, unpack the weights and give their path as checkpoint"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (gdown.FileURLRetrievalError("a\n\tb"), REFUSED.format("it is not shared, or too many asked for it today")),
        (
            caused(gdown.DownloadError("failed after 2 retries: long story"), requests.ConnectionError()),
            REFUSED.format("drive.google.com cannot be reached"),
        ),
        (gdown.DownloadError("Download is incomplete.\nb"), REFUSED.format("Download is incomplete")),
        (KeyError("Content-Type"), REFUSED.format("'Content-Type'")),
        (AssertionError(), REFUSED.format("AssertionError")),
        (answered(404, "Not Found"), "https://drive.google.com/file/d/abc/view answers 404 Not Found"),
        (requests.ConnectTimeout(), "drive.google.com sent nothing for 10 s (3 attempts)"),
    ],
)
def test_what_gdown_raises_is_told_in_a_sentence(
    enter: Enter, cache: Path, monkeypatch: Any, error: Exception, sentence: str
) -> None:
    def fail(file_id: str, target: Path, progress: Any, settings: FetchSettings) -> None:
        target.with_name("source8chars.part").write_bytes(b"half")
        raise error

    monkeypatch.setattr(fetching, "gdrive_download", fail)
    enter("gdrive:abc")
    with pytest.raises(DownloadError) as said:
        get()
    assert str(said.value) == f"mine: {sentence}"
    assert_nothing_left(cache)


def test_gdrive_file_that_is_too_large(enter: Enter, cache: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(fetching, "gdrive_download", lambda file_id, target, progress, settings: progress(1, 2**40))
    enter("gdrive:abc")
    with pytest.raises(DownloadError, match=r"^mine: the file is larger than 8388608 bytes, the most that is taken$"):
        get()
    assert_nothing_left(cache)


# torchvision.


def test_torchvision_tells_the_address(site: Site, enter: Enter, cache: Path, monkeypatch: Any) -> None:
    url, names = site.url(sends(WEIGHTS)), []

    def get_weight(name: str) -> Any:
        names.append(name)
        return SimpleNamespace(url=url)

    monkeypatch.setattr("torchvision.models.get_weight", get_weight)
    enter("torchvision:Some_Weights.V1")
    assert get().path.read_bytes() == WEIGHTS
    assert names == ["Some_Weights.V1"]
    assert json.loads((cache / "mine.pth.json").read_text())["url"] == url


@pytest.mark.parametrize("name", ["DenseNet201_Weights.IMAGENET1K_V9", "DenseNet9_Weights.DEFAULT", "DenseNet201", ""])
def test_weights_that_torchvision_does_not_have(enter: Enter, cache: Path, name: str) -> None:
    enter(f"torchvision:{name}")
    with pytest.raises(DownloadError) as error:
        get()
    assert str(error.value) == f"mine: the installed torchvision has no weights {name}"
    assert_nothing_left(cache)


def test_torchvision_that_is_not_installed(enter: Enter, cache: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    enter("torchvision:DenseNet201_Weights.IMAGENET1K_V1")
    with pytest.raises(DownloadError, match="^mine: torchvision, which knows where .* lies, cannot be imported: "):
        get()
    assert_nothing_left(cache)


# Downloads as checkpoints.


def made_file() -> bytes:
    state: dict[str, Any] = {}
    for i, mask in enumerate(generate_masks(36, (16, 12))):
        state[f"net.{2 * i}.weight"] = torch.full(mask.shape, 0.1)
        state[f"net.{2 * i}.bias"] = torch.zeros(mask.shape[0])
        state[f"net.{2 * i}.mask"] = torch.from_numpy(mask.astype(np.float32))
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_download_is_a_checkpoint_with_its_architecture(site: Site, enter: Enter, cache: Path) -> None:
    enter(site.url(sends(made_file())), model={"name": "made", "num_inputs": 36, "clamp_lambda": 0.01})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint("mine")
    assert str(error.value) == "checkpoint mine is not downloaded; run: python main.py --download mine"
    get()
    assert locate("mine") == cache / "mine.pth"
    for expected in (None, {"name": "made"}, {"name": None, "hidden_sizes": [16, 12], "image_shape": [6, 6, 1]}):
        checkpoint = load_checkpoint("mine", expected)
        assert checkpoint.name == "made"
        assert (checkpoint.model.config.num_inputs, checkpoint.model.config.clamp_lambda) == (36, 0.01)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint("mine", {"name": "made", "clamp_lambda": 0.02})
    assert str(error.value) == "checkpoint mine: the config says clamp_lambda: 0.02, the checkpoint clamp_lambda: 0.01"


def test_checkpoint_of_a_model_that_is_still_to_come(site: Site, enter: Enter) -> None:
    enter(site.url(sends(WEIGHTS)), model="densenet121")
    get()
    with pytest.raises(CheckpointError) as error:
        load_checkpoint("mine")
    assert str(error.value) == "checkpoint mine is of densenet121, a model that cannot be loaded yet"


def test_name_of_a_download_is_suggested() -> None:
    with pytest.raises(CheckpointError, match="did you mean 'published_made_cifar10'"):
        locate("published_made_cifar")


# The command line.


def lines(listing: str) -> list[str]:
    """The lines of a listing, whatever the width of its columns."""
    return [" ".join(line.split()) for line in listing.splitlines()]


def test_download_says_where_it_is(site: Site, enter: Enter, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    url = site.url(sends(zipped(("a.pth", WEIGHTS), ("b.pth", OTHER))))
    enter(url, format="archive", members=["a.pth"])
    enter(url, name="other", format="archive", members=["b.pth"])
    assert main(["--download", "mine"]) == 0
    said = capfd.readouterr()
    assert said.out == f"mine: downloaded, 683.6 KiB, sha256 {sha256(WEIGHTS)}, {cache / 'mine.pth'}\n"
    assert said.err.splitlines() == [
        "mine: published by a test; licence: MIT",
        "no hash is published: this one is on record, and later downloads must have it too",
        "from the same archive: other",
    ]
    assert main(["--download", "mine", "--verbose", "warning"]) == 0
    said = capfd.readouterr()
    assert said.out == f"mine: already there, 683.6 KiB, sha256 {sha256(WEIGHTS)}, {cache / 'mine.pth'}\n"
    assert said.err == ""
    assert main(["--list"]) == 0
    assert "mine densenet, downloaded, 683.6 KiB, licence MIT" in lines(capfd.readouterr().out)


def test_failed_download_exits_with_1(site: Site, enter: Enter, capfd: pytest.CaptureFixture[str]) -> None:
    enter(site.url(reply(404)))
    assert main(["--download", "mine", "--verbose", "error"]) == 1
    assert capfd.readouterr() == (
        "",
        f"error: mine: http://127.0.0.1:{site.server_port}/weights answers 404 Not Found\n",
    )


ALONE = "does not go with --download; first download, then run"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["densenet12"], "unknown download 'densenet12'; did you mean 'densenet121'? valid: densenet121, "),
        (["zzz"], "unknown download 'zzz'; valid: "),
        ([], "argument --download: expected one argument"),
        (["densenet121", "--runner", "TrainRunner"], f"--runner {ALONE}"),
        (["densenet121", "--config", "made_sampler.yml"], f"--config {ALONE}"),
        (["densenet121", "--set", "a=1"], f"--set {ALONE}"),
        (["densenet121", "--seed", "0"], f"--seed {ALONE}"),
        (["densenet121", "--device", "cpu"], f"--device {ALONE}"),
        (["densenet121", "--list"], f"--list {ALONE}"),
        (
            ["densenet121", "--out", "x"],
            "--out does not go with --download; the variable TRISOLVE_CACHE says where downloads go",
        ),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], sentence: str, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--download", *arguments]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {sentence}")
    assert said.err.count("\n") == 1
    assert not cache.exists()


def test_run_with_weights_that_are_not_there_says_how_to_get_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["--runner", "MADESamplerRunner", "--config", "made_sampler.yml", "--out", str(tmp_path / "out")]
    assert main([*line, "--set", "checkpoint=published_made_mnist"]) == 2
    sentence = "checkpoint published_made_mnist is not downloaded; run: python main.py --download published_made_mnist"
    assert capfd.readouterr() == ("", f"error: {sentence}\n")


def test_list_says_what_can_be_downloaded(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listing = lines(capfd.readouterr().out)
    assert "published_made_mnist made, not downloaded, size unknown, licence unstated" in listing
    assert "densenet121 densenet, not downloaded, about 31 MiB, licence unstated" in listing


def test_size_that_is_published_is_listed(enter: Enter, capfd: pytest.CaptureFixture[str]) -> None:
    enter("http://127.0.0.1/x", size=3 * 2**30)
    assert main(["--list"]) == 0
    assert "mine densenet, not downloaded, 3.0 GiB, licence MIT" in lines(capfd.readouterr().out)


def test_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: Any) -> None:
    said = io.StringIO()
    with DownloadProgress(Console(file=said, force_terminal=True, width=120), "mine") as progress:
        progress.at(2**20, 2**21)
        progress.say("[attention]")
    assert "1.0/2.1 MB" in said.getvalue() or "1.0/2.0 MiB" in said.getvalue()
    assert "[attention]" in said.getvalue()
    said = io.StringIO()
    monkeypatch.setattr(runners.cli.download, "_QUIET_S", 0.0)
    with DownloadProgress(Console(file=said, force_terminal=False), "mine") as progress:
        progress.at(2**20, 2**21)
        progress.at(2**20, None)
    assert said.getvalue() == "mine: 1.0 MiB of 2.0 MiB\nmine: 1.0 MiB of unknown size\n"


# The registry that ships.


def test_registry_is_whole() -> None:
    entries = downloads.downloads()
    assert not entries.keys() & registry().keys()
    for name, entry in entries.items():
        assert all(url.startswith(("https://", "gdrive:", "torchvision:")) for url in entry.urls)
        assert entry.licence
        assert entry.publisher
        if isinstance(entry.model, dict) and entry.model["name"] in MODELS:
            model_config(entry.model)
        if name.startswith("published_"):
            assert "unverified" in entry.note
    assert {name for name in entries if name.startswith("densenet")} == {
        f"densenet{layers}" for layers in (121, 161, 169, 201)
    }


@pytest.mark.parametrize("name", [name for name in downloads.downloads() if name.startswith("densenet")])
def test_densenets_are_what_torchvision_would_fetch(name: str) -> None:
    entry, weights = downloads.downloads()[name], get_model_weights(name).IMAGENET1K_V1
    assert [fetching.resolve(url) for url in entry.urls] == [weights.url]
    assert weights.url.endswith(f"-{entry.sha256_prefix}.pth")
    assert entry.approximate_mib == weights.meta["_file_size"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"urls": []}, "urls must hold one or more addresses"),
        ({"format": "rar"}, "format should be 'archive' or 'file', not 'rar'"),
        ({"format": "archive"}, "members must be given for an archive, and for nothing else"),
        ({"licens": "MIT"}, "unknown option 'licens'; did you mean 'licence'.*"),
    ],
)
def test_wrong_entry_is_refused(enter: Enter, fields: dict[str, Any], sentence: str) -> None:
    enter("http://127.0.0.1/x", **fields)
    with pytest.raises(ValueError, match=sentence):
        downloads.downloads()


def test_what_fetches_is_imported_on_use() -> None:
    heavy = ("pooch", "gdown", "requests", "flax", "torch")
    modules = "runners.cli.main, runners.cli.download, runners.cli.listing"
    code = f"import sys, {modules}; print(set({heavy!r}) & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
