"""Models, solvers and systems from files of a user's own: the page that tells how, and what goes wrong."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from common.paths import ROOT
from runners.cli.check import check_contracts
from runners.cli.main import main
from runners.config.files import anchor_paths
from runners.experiment import RunContext
from runners.report.console import TextConsole
from runners.system.runner import SystemConfig
from solvers import from_function

PAGE = (ROOT / "docs" / "your-own-model.md").read_text()
COMMANDS = [shlex.split(line)[2:] for line in PAGE.split("\n") if line.startswith("    python main.py --c")]
FASTER = {
    "train_mine.yml": ["epochs=1", "max_train_images=200", "max_held_out_images=50", "warmup_steps=1", "state_dir=s"],
    "--check train_mine.yml": ["model.num_inputs=4", "model.hidden_sizes=[5]"],
    "sample_mine.yml": ["repeats=1", "batch_size=2", "trace=false"],
    "my_model.yml": ["repeats=1", "model.length=6", "model.width=4", "model.num_layers=1", "trace=false"],
    "my_system.yml": ["repeats=1", "system.length=8"],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a user with the files of the page as they stand there, and rooms that are called like ours."""
    folder = tmp_path_factory.mktemp("mine")
    for name, content in re.findall(r"^`(\S+)`\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        (folder / name).write_text(content)
    for room in ("models", "data", "common"):
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text("raise ImportError('not this one')")
    path = list(sys.path)
    yield folder
    sys.path[:] = path
    for module in [module for module in sys.modules if module.startswith("user:")]:
        del sys.modules[module]


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_the_commands_of_the_page_run_in_the_users_folder(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        config = command[1]
        out = [] if "--out" in command or command[0] == "--check" else ["--out", str(tmp_path / config)]
        changes = FASTER.get(" ".join(command), FASTER.get(config, ["seed=1"]))
        assert main([*command, *out, "--set", *changes]) == 0, capsys.readouterr().err
        if command[0] == "--check":
            said = capsys.readouterr().out
            assert said.endswith("all of it holds\n")
            assert "satisfies TriangularSystem" in said
    mine = results(tmp_path / "my_model.yml")
    assert {row["status"] for row in mine["rows"]} == {"converged"}
    assert {row["mismatched_equations"] for row in mine["rows"]} == {0}
    assert mine["config"]["model"]["path"] == str(files / "my_model.py")
    with np.load(tmp_path / "my_model.yml" / "samples.npz") as arrays:
        assert arrays["samples"].shape == (8, 6)
    solvers = results(tmp_path / "my_system.yml")["config"]["solvers"]
    assert solvers[-1].items() >= {"name": "Relaxed", "path": str(files / "my_solver.py"), "weight": 0.9}.items()
    bits = results(tmp_path / "evaluate_mine.yml")["bits_per_dim"]["mean"]
    assert bits == pytest.approx(results(files / "trained")["held_out_bits_per_dim"], abs=0.5)
    assert results(tmp_path / "sample_mine.yml")["config"]["model"]["name"] == "Inverted"


def test_a_transformer_of_ones_own_is_short() -> None:
    blocks = re.findall(r"^`my_model\.\w+`\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert sum(len(block.splitlines()) for block in blocks) <= 90


MODEL = {"runner": "SamplerRunner", "model": {"path": "m.py", "name": "Mine"}, "solvers": ["jacobi"], "batch_size": 2}
SYSTEM = {"runner": "SystemRunner", "system": {"path": "m.py", "name": "make"}, "solvers": ["jacobi"], "repeats": 1}
MODULE = """
from dataclasses import dataclass
from flax import nnx
@dataclass
class Config:
    width: int = 3
class Mine(nnx.Module):
    Config = Config
    def __init__(self, config, *, rngs):
        self.config = config
    image_shape = (2, 2, 1)
    def to_image(self, samples): ...
class Plain: ...
"""
SOLVER = """
from dataclasses import dataclass
from solvers import Solver
@dataclass(frozen=True)
class Mine(Solver):
    tol: float = 0.0
    def stop(self, system, x, state, frontier): ...
"""
NO_SYSTEM = "class Odd:\n    num_equation = 3\n    def sweep(self, x): ...\ndef make():\n    return Odd()\n"


def entry(**options: Any) -> dict[str, Any]:
    return SYSTEM | {
        "system": {"path": "s.py", "name": "make"},
        "solvers": [{"path": "m.py", "name": "Mine", **options}],
    }


@pytest.mark.parametrize(
    ("config", "source", "sentence"),
    [
        (
            MODEL | {"model": {"path": "n.py", "name": "Mine"}},
            MODULE,
            ".*unknown file 'n.py'; did you mean 'm.py'. valid: m.py, s.py",
        ),
        (
            MODEL | {"model": {"path": "m.py", "name": "Mien"}},
            MODULE,
            "m.py: unknown name 'Mien'; did you mean 'Mine'. valid: Mine, .*",
        ),
        (MODEL | {"model": {"path": "m.py", "name": "Plain"}}, MODULE, ".*should be a class with a Config, .*"),
        (
            MODEL | {"model": {"path": "m.py", "name": "Mine", "widht": 2}},
            MODULE,
            "model Mine: unknown option 'widht'; did you mean 'width'. valid: width",
        ),
        (
            MODEL,
            MODULE,
            "model Mine makes no images: it lacks bits_per_dim, .* to_images.*",
        ),
        (
            MODEL | {"runner": "MADESamplerRunner"},
            MODULE,
            "MADESamplerRunner samples from made, not Mine",
        ),
        (SYSTEM | {"system": {"path": "m.py"}}, NO_SYSTEM, "system: name is missing; expected .*"),
        (SYSTEM | {"system": {"path": "m.py", "name": "make", "size": 2}}, NO_SYSTEM, ".*unknown option 'size'.*"),
        (
            SYSTEM,
            NO_SYSTEM,
            "system: make: Odd is not a TriangularSystem: it lacks initial_guess, num_equations.*",
        ),
        (SYSTEM, NO_SYSTEM.replace("num_equation ", "num_equations ") + "    ", ".*it lacks initial_guess"),
        (entry(), SOLVER, "c.yml: solvers: solver Mine in .*m.py: it lacks requires, step"),
        (entry(), SOLVER.replace("tol:", "requires = object; tol:"), ".*lacks step .it has stop; is that meant .*"),
        (entry(), "class Mine: ...", "c.yml: solvers: solver Mine in .*m.py should be a class that extends Solver"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    config: dict[str, Any], source: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "m.py").write_text(source)
    (tmp_path / "s.py").write_text("def make(): ...")
    assert main(["--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(sentence, said), said


FAILING = {
    "reading": ("import nothing_of_this_name\ndef make(): ...", "line 1, in <module>", "ModuleNotFoundError"),
    "syntax": ("def make(:\n", "line 1", "SyntaxError"),
    "making": ("def make():\n    return {}['x']\n", "line 2, in make", "KeyError: 'x'"),
    "sweep": (
        "import jax, jax.numpy as jnp\nfrom solvers import from_function\n"
        "def f(x):\n    return x @ jnp.ones(7)\ndef make():\n    return from_function(f, jnp.zeros((5, 2)))\n",
        "line 4, in f",
        "TypeError",
    ),
    "value": ("def make():\n    raise ValueError('mine')\n", "line 2, in make", "ValueError: mine"),
    "disk": ("def make():\n    open('/no/such')\n", "line 2, in make", "FileNotFoundError"),
}


@pytest.mark.parametrize("case", FAILING)
def test_an_exception_shows_the_frames_of_the_users_files_alone(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, place, kind = FAILING[case]
    (tmp_path / "c.yml").write_text(yaml.safe_dump(SYSTEM))
    (tmp_path / "m.py").write_text(source)
    assert main(["--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert place in said
    assert f"\n{kind}" in said
    assert said.endswith("error: your own code failed, at the place above\n")
    assert all(place.startswith(f'{tmp_path / "m.py"}"') for place in said.split('  File "')[1:])


def test_weights_run_no_code(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from models import build
    from models.weights.native import save_checkpoint

    options = {"path": str(files / "my_images.py"), "name": "Inverted", "num_inputs": 784, "hidden_sizes": [4]}
    save_checkpoint(tmp_path / "w.safetensors", "Inverted", build(options, 0), {})
    config = {"runner": "EvaluateRunner", "checkpoint": str(tmp_path / "w.safetensors")}
    (tmp_path / "c.yml").write_text(yaml.safe_dump(config))
    assert main(["--config", str(tmp_path / "c.yml"), "--out", str(tmp_path / "out")]) == 2
    assert f"model: {{path: {files / 'my_images.py'}, name: Inverted}}" in capsys.readouterr().err


def test_a_broken_system_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yml").write_text(yaml.safe_dump(SYSTEM))
    (tmp_path / "m.py").write_text(
        "import jax.numpy as jnp\nfrom solvers import from_function\n"
        "def make():\n    return from_function(lambda x: x[::-1], jnp.zeros((4, 1)), check=False)\n"
    )
    assert main(["--check", str(tmp_path / "c.yml")]) == 1
    assert capsys.readouterr().err.startswith("error: make: sweep: equation 0 or one before it changes with x_0")
    assert main(["--check", "densenet.yml"]) == 2
    assert capsys.readouterr().err.startswith("error: DenseNetRunner has no model or system that --check knows")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yml", "m.py"]


def test_a_check_says_on_a_terminal_how_long_it_has_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Runner:
        @classmethod
        def to_check(cls, config: Any, context: Any) -> tuple[str, Any]:
            return "mine", from_function(lambda x: jnp.pad(x, ((1, 0), (0, 0)))[:-1], jnp.ones((2, 1)))

    terminal = TextConsole(force_terminal=True, width=80, file=io.StringIO())
    config: Any = SystemConfig(system={"name": "pendulum"}, solvers=["jacobi"])
    check_contracts(Runner, config, RunContext("SystemRunner", "c", tmp_path, terminal))  # type: ignore[arg-type]
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"checking c.*?\d:\d\d:\d\d", shown)
    said = capsys.readouterr().out.splitlines()
    assert (said[0].startswith("FunctionSystem satisfies"), said[-1]) == (True, "all of it holds")


def test_paths_of_code_are_relative_to_the_config(tmp_path: Path) -> None:
    config = {"model": {"name": "a", "path": "x/m.py"}, "solvers": ["b", {"solver": {"name": "c", "path": "/s.py"}}]}
    anchored = anchor_paths(config, tmp_path)
    assert anchored["model"] == {"name": "a", "path": str(tmp_path / "x" / "m.py")}
    assert anchored["solvers"] == ["b", {"solver": {"name": "c", "path": "/s.py"}}]
