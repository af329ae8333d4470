"""The rooms of the project and the arrows between them; the configs and the weights that ship with it."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.lookup import resolve
from common.paths import ROOT
from data import DATASETS
from models import MODELS
from runners import RUNNERS
from runners.config.files import read_config
from runners.config.schema import UsageError, check_config
from solvers import SOLVERS

ROOMS = ("common", "data", "models", "solvers", "runners", "benchmarks")
# main -> runners -> {solvers, models, data} -> common
MAY_IMPORT = {
    "common": {"common"},
    "data": {"data", "common"},
    "models": {"models", "common"},
    "solvers": {"solvers", "common"},
    "runners": {"runners", "solvers", "models", "data", "common"},
    "main": {"runners"},
    "benchmarks": set(ROOMS),
}
OURS = {*ROOMS, "main", "tests"}
ON_USE = {"torch", "torchvision", "mlxtend", "pooch", "gdown"}  # slow to import and not needed by every run
LOOKUP = re.compile(r"([a-z_]+)(\.\w+)+:\w+")  # what common.lookup resolves
MODULES = sorted([ROOT / "main.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
CONFIGS = sorted((ROOT / "configs").glob("*.yml"))
REGISTRY: dict[str, dict[str, Any]] = json.loads((ROOT / "checkpoints" / "registry.json").read_text())


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(node: ast.AST, inside: str) -> Iterator[str]:
    """The top-level names that one node imports, in a module of the room ``inside``."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield (node.module or "").split(".")[0] if node.level == 0 else inside
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LOOKUP.fullmatch(node.value):
        yield node.value.split(".")[0]


def imported(source: str, inside: str) -> set[str]:
    """What a module imports anywhere, by statements or by names that are looked up on use."""
    return {name for node in ast.walk(ast.parse(source)) for name in imports(node, inside)}


def imported_at_once(source: str) -> set[str]:
    """What is imported when the module is: all but what stands in functions."""

    def visit(node: ast.AST) -> Iterator[str]:
        if not isinstance(node, ast.Constant):
            yield from imports(node, "")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for child in ast.iter_child_nodes(node):
                yield from visit(child)

    return set(visit(ast.parse(source)))


def wrong_arrows(source: str, inside: str) -> set[str]:
    return (imported(source, inside) & OURS) - MAY_IMPORT[inside]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_heavy_ones_wait(path: Path) -> None:
    source = path.read_text()
    assert not wrong_arrows(source, room(path))
    assert not imported_at_once(source) & ON_USE


def test_every_room_has_modules() -> None:
    assert {room(path) for path in MODULES} == {"main", *ROOMS}


@pytest.mark.parametrize(
    ("inside", "source", "wrong"),
    [
        ("common", "import data.images.dataset", {"data"}),
        ("data", "from models.made.model import MADE", {"models"}),
        ("models", "def f():\n    from solvers import solve", {"solvers"}),
        ("solvers", "import numpy, runners.cli.main as cli", {"runners"}),
        ("models", "TABLE = {'a': 'runners.sampling.runner:SamplerRunner'}", {"runners"}),
        ("solvers", "from . import solve\nfrom .made import MADE\nfrom common import names", set()),
        ("runners", "import main", {"main"}),
        ("runners", "from benchmarks import made", {"benchmarks"}),
        ("main", "from solvers import solve", {"solvers"}),
        ("benchmarks", "from main import main\nfrom tests.kit.bank import chain", {"main", "tests"}),
    ],
)
def test_wrong_arrows_are_seen(inside: str, source: str, wrong: set[str]) -> None:
    assert wrong_arrows(source, inside) == wrong


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch.nn", {"torch"}),
        ("try:\n    from torchvision import datasets\nexcept ImportError:\n    pass", {"torchvision"}),
        ("class A:\n    import mlxtend", {"mlxtend"}),
        ("def f():\n    import torch", set()),
    ],
)
def test_imports_at_once_are_seen(source: str, found: set[str]) -> None:
    assert imported_at_once(source) == found


def test_tables_lead_to_what_they_name() -> None:
    for places, inside in ((RUNNERS.places, "runners"), (MODELS, "models"), (DATASETS.places, "data")):
        for path in places.values():
            assert path.startswith(f"{inside}.")
            assert callable(resolve(path))
    assert all(kind.__module__.startswith("solvers.") for kind in SOLVERS.values())


def accepts(runner: str, path: Path) -> bool:
    try:
        check_config(RUNNERS[runner].Config, read_config(path), path.name)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_is_valid_for_one_kind_of_runner_and_says_what_it_is(path: Path) -> None:
    kinds = {RUNNERS[runner].Config for runner in RUNNERS if accepts(runner, path)}
    assert len(kinds) == 1
    first = path.read_text().split("\n", 1)[0]
    assert re.fullmatch(r"# \S.{10,110}", first), "the first line is what --list says about it"
    checkpoint = read_config(path).get("checkpoint")
    assert checkpoint is None or checkpoint in REGISTRY


def test_every_runner_has_a_config() -> None:
    assert all(any(accepts(runner, path) for path in CONFIGS) for runner in RUNNERS)


@pytest.mark.parametrize("name", REGISTRY)
def test_shipped_weights_are_the_ones_in_the_registry(name: str) -> None:
    content = (ROOT / "checkpoints" / REGISTRY[name]["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == REGISTRY[name]["sha256"]
    assert REGISTRY[name]["model"] in MODELS
    assert REGISTRY[name]["licence"]
    retrain = re.search(r"--runner (\w+) --config (\S+)", REGISTRY[name]["retrain"])
    assert retrain
    assert accepts(retrain[1], ROOT / "configs" / retrain[2])


def test_shipped_weights_are_small_and_all_in_the_registry() -> None:
    files = {path.name: path.stat().st_size for path in (ROOT / "checkpoints").iterdir() if path.is_file()}
    assert {entry["file"] for entry in REGISTRY.values()} == {name for name in files if name.endswith(".safetensors")}
    assert sum(files.values()) < 40e6
