"""The rooms of the project and the arrows between them; the configs and the weights that ship with it."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
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
# main -> runners -> {data, models -> solvers}; all of them -> common, but solvers, the library, which needs nothing
MAY_IMPORT = {
    "common": {"common"},
    "data": {"data", "common"},
    "models": {"models", "solvers", "common"},
    "solvers": {"solvers"},
    "runners": {"runners", "solvers", "models", "data", "common"},
    "main": {"runners"},
    "benchmarks": set(ROOMS),
}
# Inside a room: the parts of it that a part may import beside itself. A part is a module, or a package with all that
# lies in it; the room's own name stands for its __init__ alone. Every module of a room that is here belongs to a part.
CONTRACTS = {
    f"solvers.{name}"
    for name in ("system", "solver", "solution", "equations", "pairing", "progress", "blocks", "composite")
}
TREES = "solvers.trees"
METHODS = {*CONTRACTS, TREES, "solvers.linear", "solvers.methods"}
# What a model may import of the library: what systems are made of and held to, and no way of solving them.
FOR_MODELS = {*CONTRACTS, TREES, "solvers.systems", "solvers.heads"}
LIBRARY_NEEDS = {"jax", "numpy", "jaxtyping"}
NETWORKS = {f"models.{name}" for name in ("made", "pixelcnnpp", "wavenet", "densenet", "rnn", "ode", "mcmc")}
ON_TRUNK = {f"models.{name}" for name in ("language", "flow", "diffusion")}  # networks of transformers
SHARED = {"models.layers", "models.problem"}
EXPERIMENTS = {
    *(f"runners.rnn.{name}" for name in ("backprop", "forward", "classifier")),
    *(
        f"runners.{name}"
        for name in ("sampling", "system", "survey", "densenet", "stream", "wavenet_timing", "training")
    ),
}
MACHINERY = {"runners.config", "runners.report", "runners.measure", "runners.plotting", "runners.experiment"}
PARTS: dict[str, set[str]] = {
    TREES: set(),
    **{part: {*CONTRACTS, TREES} for part in CONTRACTS},
    "solvers.systems": {*CONTRACTS, TREES},
    "solvers.systems.recurrence": {TREES},
    "solvers.systems.autoregressive": {TREES, "solvers.system"},
    "solvers.systems.decoder": {TREES, "solvers.systems.autoregressive"},
    "solvers.systems.guesses": {*CONTRACTS, TREES, "solvers.systems.autoregressive"},
    "solvers.heads": {"solvers.systems.autoregressive"},
    "solvers.linear": {*CONTRACTS, TREES, "solvers.systems.recurrence"},
    "solvers.methods": {*CONTRACTS, TREES, "solvers.linear", "solvers.systems.recurrence"},
    "solvers.iterate": {*CONTRACTS, TREES},
    "solvers.tangent": {TREES, "solvers.linear", "solvers.systems.recurrence"},
    "solvers.implicit": {*METHODS, "solvers.iterate", "solvers.systems.recurrence", "solvers.tangent"},
    "solvers.table": METHODS,
    "solvers.solve": {*CONTRACTS, TREES, "solvers.iterate", "solvers.implicit", "solvers.table"},
    "solvers.check": {*METHODS, "solvers.solve"},
    "solvers.choosing": {*METHODS, "solvers.iterate", "solvers.table"},
    "solvers.lyapunov": {*CONTRACTS, TREES, "solvers.linear", "solvers.systems.recurrence"},
    "solvers": {
        *METHODS,
        *(f"solvers.{name}" for name in ("iterate", "table", "solve", "check", "choosing", "systems", "heads")),
        *(f"solvers.systems.{name}" for name in ("autoregressive", "decoder", "guesses", "recurrence")),
    },
    "models": set(),
    **{part: set() for part in SHARED},
    **dict.fromkeys(NETWORKS, SHARED),
    "models.transformer": SHARED,
    **{part: {*SHARED, "models.transformer"} for part in ON_TRUNK},
    "models.flow": {*SHARED, "models.transformer", "models.made"},  # whose masked networks are the smallest blocks
    "models.capabilities": {*SHARED, *NETWORKS, "models"},
    "models.contracts": {"models.capabilities"},
    "models.weights": set(),
    "models.weights.downloads": {"models.weights"},  # beside archives and fetching
    "models.weights.checkpoint": {"models.capabilities"},
    "models.weights.native": {"models.weights.checkpoint", "models.weights", "models"},
    "models.weights.stream_state": {"models.weights.checkpoint", "models.weights", "models"},
    "models.weights.registry": {"models.weights.checkpoint", "models.weights.downloads"},
    "models.weights.importers": {"models.weights.checkpoint", "models.weights", *NETWORKS, "models"},
    "models.weights.load": {f"models.weights.{name}" for name in ("checkpoint", "native", "registry", "importers")},
    "data": {"data.images"},
    "data.audio": set(),
    "data.text": {"data.images"},
    "data.images": set(),
    "data.images.pictures": {"data", "data.images"},
    "runners": set(),
    "runners.config": set(),
    "runners.report": set(),
    "runners.experiment": {"runners.config", "runners.report"},
    "runners.plotting": {"runners.report"},
    "runners.measure": {"runners.config", "runners.report", "runners.experiment"},
    "runners.rnn": set(),
    **dict.fromkeys(EXPERIMENTS, MACHINERY),  # none imports another, or cli
    "runners.compare": MACHINERY,
    "runners.cli": {*MACHINERY, "runners", "runners.compare"},
}
# What pictures are drawn with, and what they are not drawn from.
DRAWING, COMPUTING = "matplotlib", {"jax", "flax", "solvers", "models"}
OURS = {*ROOMS, "main", "tests"}
ON_USE = {"torch", "torchvision", "mlxtend", "pooch", "gdown"}  # slow to import and not needed by every run
LOOKUP = re.compile(r"([a-z_]+)(\.\w+)+:\w+")  # what common.lookup resolves
MODULES = sorted([ROOT / "main.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
PLATFORM = ROOT / "solvers" / "trees" / "platform.py"  # which alone asks what kind of device JAX computes on
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


def dotted(path: Path) -> str:
    """The name that a module is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path): path for path in MODULES}


def modules_imported(source: str, package: str, names: Collection[str]) -> set[str]:
    """Which of the modules ``names`` a module of ``package`` imports by statements, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in names else base for alias in node.names}
    return found & set(names)


def arrows(inside: str) -> dict[str, set[str]]:
    """The modules of a room, and those of the same room that each imports."""
    own = {name: path for name, path in NAMES.items() if room(path) == inside}
    packages = {name: name if path.stem == "__init__" else name.rpartition(".")[0] for name, path in own.items()}
    return {name: modules_imported(path.read_text(), packages[name], own) for name, path in own.items()}


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """One circle of a graph; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def part_of(name: str, parts: Collection[str]) -> str | None:
    """The part that a module belongs to: the longest name that it lies under."""
    under = [part for part in parts if name == part or ("." in part and name.startswith(f"{part}."))]
    return max(under, key=len, default=None)


def wrong_parts(graph: Mapping[str, Collection[str]], parts: Mapping[str, Collection[str]]) -> set[tuple[str, str]]:
    """The arrows that ``parts`` do not allow, and modules that belong to no part, each with an empty name."""
    wrong = {(name, "") for name in graph if part_of(name, parts) is None}
    for name, found in graph.items():
        own = part_of(name, parts)
        for other in found if own else ():
            part = part_of(other, parts)
            if part not in (own, *parts[str(own)]):
                wrong.add((name, other))
    return wrong


def in_functions(source: str) -> set[str]:
    """The functions of a module that import something when they are called."""
    return {
        function.name
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }


def asks_for_the_backend(source: str) -> bool:
    """Whether a module reads ``default_backend``; benchmarks set it, to compile for a GPU that is not there."""
    return "default_backend" in source and any(
        (isinstance(node, ast.Attribute) and node.attr == "default_backend" and isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "default_backend" for alias in node.names))
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way_and_heavy_ones_wait(path: Path) -> None:
    source = path.read_text()
    assert not wrong_arrows(source, room(path))
    assert not imported_at_once(source) & ON_USE


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) == "solvers"], ids=dotted)
def test_the_library_needs_little_and_imports_itself_by_relative_names(path: Path) -> None:
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
    absolute = [node for node in nodes if isinstance(node, ast.Import) or node.level == 0]
    found = {name for node in absolute for name in imports(node, "")}
    assert found <= LIBRARY_NEEDS | sys.stdlib_module_names


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) == "models"], ids=dotted)
def test_models_import_no_way_of_solving(path: Path) -> None:
    found = modules_imported(path.read_text(), dotted(path), NAMES)
    assert {part_of(name, FOR_MODELS) for name in found if name.split(".")[0] == "solvers"} <= FOR_MODELS


def test_one_module_asks_for_the_kind_of_device() -> None:
    assert [path for path in MODULES if asks_for_the_backend(path.read_text())] == [PLATFORM]


@pytest.mark.parametrize(
    ("source", "asks"),
    [
        ("def f():\n    return jax.default_backend() == 'cpu'", True),
        ("from jax import default_backend as kind", True),
        ("jax.default_backend = lambda: 'gpu'", False),
    ],
)
def test_asking_for_the_kind_of_device_is_seen(source: str, asks: bool) -> None:
    assert asks_for_the_backend(source) == asks


def test_every_room_has_modules() -> None:
    assert {room(path) for path in MODULES} == {"main", *ROOMS}


@pytest.mark.parametrize(
    ("inside", "source", "wrong"),
    [
        ("common", "import data.images.dataset", {"data"}),
        ("data", "from models.made.model import MADE", {"models"}),
        ("models", "def f():\n    from data import DATASETS", {"data"}),
        ("solvers", "import numpy, runners.cli.main as cli", {"runners"}),
        ("models", "TABLE = {'a': 'runners.sampling.runner:SamplerRunner'}", {"runners"}),
        ("solvers", "from . import solve\nfrom .made import MADE\nfrom common import names", {"common"}),
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


@pytest.mark.parametrize("inside", ROOMS)
def test_no_modules_import_each_other_in_a_circle(inside: str) -> None:
    assert circle(arrows(inside)) == []


def test_rooms_may_not_import_each_other_in_a_circle() -> None:
    assert circle({inside: others - {inside} for inside, others in MAY_IMPORT.items()}) == []


@pytest.mark.parametrize("inside", sorted({part.split(".")[0] for part in PARTS}))
def test_parts_of_a_room_import_those_that_they_may(inside: str) -> None:
    assert not wrong_parts(arrows(inside), PARTS)


@pytest.mark.parametrize("name", [name for name, path in NAMES.items() if room(path) == "solvers"])
def test_no_solver_waits_with_an_import(name: str) -> None:
    assert not in_functions(NAMES[name].read_text())


def is_figures(path: Path) -> bool:
    return path.name == "figures.py" or path.parent.name == "plotting"


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) == "runners"], ids=lambda path: path.name)
def test_pictures_are_drawn_in_figures_from_records_and_arrays(path: Path) -> None:
    found = imported(path.read_text(), "runners")
    assert DRAWING not in found or is_figures(path)
    assert not is_figures(path) or not found & COMPUTING


def test_folders_stay_small() -> None:
    for folder in {path.parent for path in MODULES}:
        count = len(list(folder.glob("*.py")))
        assert count <= (3 if folder == ROOT / "runners" else 16), folder


NAMED = ("a", "a.b", "a.b.c", "a.d")


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("a", "import a.b.c, numpy", {"a.b.c"}),
        ("a", "from a.b import c, f", {"a.b.c", "a.b"}),
        ("a", "from a import d, f", {"a.d", "a"}),
        ("a.b", "def f():\n    from a.d import g", {"a.d"}),
        ("a.b", "from . import c", {"a.b.c"}),
        ("a.b", "from .c import f\nfrom ..d import g\nfrom .. import d", {"a.b.c", "a.d"}),
    ],
)
def test_imports_of_modules_are_seen(package: str, source: str, found: set[str]) -> None:
    assert modules_imported(source, package, NAMED) == found


def test_circles_and_wrong_parts_are_seen() -> None:
    graph = {"a": {"a.b"}, "a.b": {"a.b.c"}, "a.b.c": {"a.d"}, "a.d": {"a.b"}}
    assert set(circle(graph)) == {"a.b", "a.b.c", "a.d"}
    assert circle({**graph, "a.d": set()}) == []
    assert wrong_parts(graph, {"a": {"a.b"}, "a.b": {"a.d"}, "a.d": set()}) == {("a.d", "a.b")}
    assert wrong_parts(graph, {"a": set(), "a.b": {"a.d"}}) == {("a", "a.b"), ("a.b.c", "a.d"), ("a.d", "")}
    assert in_functions("import a\ndef f():\n    def g():\n        from a import b") == {"f", "g"}


def test_tables_lead_to_what_they_name() -> None:
    for places, inside in ((RUNNERS.places, "runners"), (MODELS.places, "models"), (DATASETS.places, "data")):
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
