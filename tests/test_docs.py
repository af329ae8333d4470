"""The documentation: short where it should be, links that lead somewhere, commands and programs that work."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import wavfile

import runners
from common.alias import alias
from common.paths import ROOT
from models.weights.load import load_checkpoint
from runners import RUNNERS
from runners.cli.choice import choose_runner
from runners.cli.main import main
from runners.config.files import apply_overrides, find_config, read_config
from runners.config.schema import check_config
from runners.measure import comparison
from tests.kit.documents import PAGES, RUN, SHIPPED, commands, needed
from tests.kit.smallest import CASES

README = ROOT / "README.md"
OWN_EXPERIMENT = ROOT / "docs" / "your-own-experiment.md"
OWN_SYSTEM = ROOT / "docs" / "your-own-system.md"
OWN_DATA = ROOT / "docs" / "your-own-data-and-weights.md"
OWN_FLOW = ROOT / "docs" / "your-own-flow.md"
OWN_FILES = ROOT / "docs" / "your-own-model.md"
# The pages whose programs are run by a test of their own, and the file that has it.
TESTED_ELSEWHERE = {
    **dict.fromkeys((README, ROOT / "docs" / "solvers.md", OWN_EXPERIMENT, OWN_DATA, OWN_FLOW), "tests/test_docs.py"),
    ROOT / "data" / "README.md": "tests/test_docs.py",
    OWN_SYSTEM: "tests/test_library.py",
    OWN_FILES: "tests/runners/test_own_files.py",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its blocks of code, fenced or indented."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return "\n".join(line for line in text.split("\n") if not line.startswith("    "))


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures, but for those on the web."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub makes it of them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def programs(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def runs(page: Path) -> Iterator[list[str]]:
    """The arguments of every run that a page shows."""
    for command in commands(page):
        if command.startswith(("python main.py --runner ", "python main.py --config ")):
            yield shlex.split(command)[2:]


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", [page for page in PAGES if page != OWN_EXPERIMENT], ids=name)
def test_our_files_that_are_named_are_there(page: Path) -> None:
    for place in re.findall(r"`((?:\w+/)+\w+\.(?:py|yml|json|ipynb|md))`", page.read_text()):
        if (ROOT / place.split("/")[0]).is_dir():  # not one of other projects, nor of the reader's
            assert (ROOT / place).exists(), place


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), [README]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        targets = ((page.parent / target.partition("#")[0]).resolve() for target in links(page))
        ahead += [there for there in targets if there.suffix == ".md" and there not in reached]
    assert set(PAGES) <= reached


@pytest.mark.parametrize(
    "page", [page for page in PAGES if list(runs(page)) and page not in (OWN_FILES, OWN_DATA)], ids=name
)
def test_commands_are_valid(page: Path) -> None:
    for arguments in runs(page):
        options: dict[str, list[str]] = {}
        for argument in arguments:
            if argument.startswith("--"):
                values = options.setdefault(argument, [])
            else:
                values.append(argument)
        several = {"--coordinator", "--num_processes", "--process_id"}
        assert set(options) <= several | {"--runner", "--config", "--set", "--seed", "--out", "--device", "--verbose"}
        if options["--config"] == ["pendulum.yml"]:  # of the page that tells how to write it
            continue
        path = find_config(options["--config"][0])
        runner = choose_runner(*options.get("--runner", [None]), path)
        config = apply_overrides(read_config(path), options.get("--set", []))
        check_config(RUNNERS[runner].Config, config, path.name)


@pytest.mark.parametrize("page", [page for page in PAGES if list(commands(page))], ids=name)
def test_commands_are_run_or_say_what_they_need(page: Path) -> None:
    if page.name in RUN:
        assert page.name.removesuffix(".md") in (ROOT / RUN[page.name]).read_text()
        return
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(page):
        assert needed(command) or SHIPPED.search(command), f"neither run nor excused: {command}"
        assert not command.startswith("make ") or command.split()[1] in targets
        module = re.match(r"python -m ((?:benchmarks|docs|tests)\.\S+)", command)
        assert not module or (ROOT / module[1].replace(".", "/")).with_suffix(".py").is_file()


def test_every_runner_of_a_page_has_a_smallest_run() -> None:
    shown = {
        choose_runner(None, ROOT / "configs" / command.split("--config ")[1].split()[0])
        for page in PAGES
        for command in commands(page)
        if page.name not in RUN and not needed(command) and "--config" in command
    }
    assert {RUNNERS[runner].Config for runner in shown} <= {RUNNERS[runner].Config for runner, _ in CASES.values()}


def test_the_list_of_the_program_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "made_sampler" in capsys.readouterr().out


def test_every_program_is_run() -> None:
    for page in (page for page in PAGES if programs(page)):
        place = TESTED_ELSEWHERE.get(page)
        assert not place or page.name.removesuffix(".md") in (ROOT / place).read_text()


def test_the_program_in_the_readme_runs_as_it_stands() -> None:
    (program,) = programs(README)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The solver converged.")


def run(page: Path) -> dict[str, Any]:
    """Run the blocks of a page, each where the one before it ended; the names that they leave."""
    names: dict[str, Any] = {"__name__": "documentation"}
    for program in programs(page):
        exec(program, names)
    return names


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page) and page not in TESTED_ELSEWHERE], ids=name)
def test_programs_run(page: Path) -> None:
    run(page)


def test_the_program_that_made_the_speech_makes_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audio").mkdir()
    voice = 9000 * np.sin(np.arange(22_050) / 20)  # in the place of eSpeak's
    wavfile.write("voice.wav", 22_050, voice.astype(np.int16))
    run(ROOT / "data" / "README.md")
    rate, clip = wavfile.read("audio/speech.wav")
    shipped = wavfile.read(ROOT / "data" / "audio" / "speech.wav")
    assert (rate, clip.shape, clip.dtype) == (shipped[0], shipped[1].shape, shipped[1].dtype)
    assert np.abs(clip).max() == np.abs(shipped[1]).max()


def test_the_systems_in_the_documentation_are_solved() -> None:
    names = run(ROOT / "docs" / "solvers.md")
    for solution in (names["solution"], names["sliding"]):
        assert float(jnp.max(jnp.abs(solution.value - names["system"].sweep(solution.value)))) < 1e-6
    assert int(names["sliding"].stats.num_steps) < int(names["solution"].stats.num_steps)
    assert names["unfinished"].startswith("the solve did not converge; its status is 2")


@pytest.mark.parametrize("package", ["flowjax", "zuko", "models"])
def test_a_flow_of_ones_own_is_inverted(package: str) -> None:
    pytest.importorskip(package)  # requirements.txt lacks the libraries of others
    (program,) = (text for text in programs(OWN_FLOW) if re.search(rf"^(from|import) {package}\b", text, re.MULTILINE))
    alias("trisolve", "solvers")
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(program, names)  # which holds the answer against the library's own
    assert int(jnp.max(jnp.asarray(names["steps"]))) < 32  # of 64


@pytest.fixture
def own_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """The files of the page as they stand there, by their places, in a folder where the package ``runners`` goes on."""
    blocks = re.findall(r"^`(\S+)`\n\n```\w+\n(.*?)^```$", OWN_EXPERIMENT.read_text(), re.DOTALL | re.MULTILINE)
    files = {place: tmp_path / place for place, _ in blocks}
    for place, content in blocks:
        files[place].parent.mkdir(parents=True, exist_ok=True)
        files[place].write_text(content)
    monkeypatch.setattr(runners, "__path__", [*runners.__path__, str(tmp_path / "runners")])
    monkeypatch.setitem(RUNNERS.places, "PendulumRunner", "runners.pendulum.runner:PendulumRunner")
    yield files
    for module in [module for module in sys.modules if module.startswith("runners.pendulum")]:
        del sys.modules[module]


def test_an_experiment_of_ones_own_is_short_and_runs(own_experiment: dict[str, Path], tmp_path: Path) -> None:
    code = [own_experiment[f"runners/pendulum/{name}.py"].read_text() for name in ("runner", "report")]
    assert sum(len(text.splitlines()) for text in code) <= 120
    config, out = own_experiment["configs/pendulum.yml"], tmp_path / "out"
    smaller = ["num_steps=60", "batch_size=3", "repeats=1"]
    arguments = ["--runner", "PendulumRunner", "--config", str(config), "--out", str(out), "--set", *smaller]
    assert main(arguments) == 0
    results = json.loads((out / "results.json").read_text())
    assert (results["kind"], results["name"], results["config"]["num_steps"]) == ("pendulum", "pendulum", 60)
    rows = results["rows"]
    assert [row["solver"] for row in rows] == ["cached_sequential", "jacobi", "gs_jacobi", "newton", "picard"]
    assert all(row["status"] == "converged" and row["max_abs_error"] < 1e-4 for row in rows)
    with np.load(out / "angles.npz") as arrays:
        np.testing.assert_allclose(arrays["angles"], swing(60, 3), atol=1e-4)
    assert {"traces.npz", "angles.png", "convergence_by_step.png"} <= {path.name for path in out.iterdir()}


def swing(num_steps: int, batch_size: int) -> np.ndarray:
    """The angles by a loop."""
    angle, velocity = np.linspace(0.0, 3.0, batch_size), np.zeros(batch_size)
    angles = np.zeros((num_steps, batch_size))
    for t in range(num_steps):
        velocity = velocity - 0.05 * (np.sin(angle) + 0.3 * velocity)
        angles[t] = angle = angle + 0.05 * velocity
    return angles


def test_the_order_in_which_columns_make_room_is_documented() -> None:
    dropped = sorted((column for column, _ in comparison._CELLS if column.drop), key=lambda column: column.drop)
    text = " ".join((ROOT / "docs" / "results.md").read_text().split())
    assert f"drops, in this order: {', '.join(column.name for column in dropped)}." in text


@pytest.mark.slow  # its steps have tests of their own in data/, models/weights/ and runners/training/
def test_own_data_and_weights_work_as_the_page_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OWN_DATA.read_text()
    for place, content in re.findall(r"^`(\S+\.yml)`\n\n```yaml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        (tmp_path / place).write_text(content)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "documentation"}
    steps = r"^```python\n(.*?)^```$|^    python main\.py ([^\n]*)$"
    for program, command in re.findall(steps, text, re.DOTALL | re.MULTILINE):
        if program:
            exec(program, names)
        else:
            assert main(shlex.split(command)) == 0, command
    scores = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("scores", "scores_of_arrays")]
    assert scores[0]["bits_per_dim"] == scores[1]["bits_per_dim"]  # the same pictures are held out of either
    tuned = json.loads((tmp_path / "tuned" / "results.json").read_text())
    trained = json.loads((tmp_path / "trained" / "results.json").read_text())
    assert tuned["history"][0]["train_bits_per_dim"] < trained["history"][0]["train_bits_per_dim"]
    text = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("trained_text", "scores_text")]
    assert text[1]["cross_entropy"]["mean"] == pytest.approx(text[0]["cross_entropy"], rel=1e-3)
    assert names["digits"].shape == (4, 28, 28, 1)
    assert names["digits"].any()
    assert load_checkpoint("mine.safetensors").info == {"from": "mine.pth.tar"}
