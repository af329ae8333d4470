"""What every runner leaves behind, held against what it left before: keys, arrays, and the bits of samples.

``pytest tests/test_goldens.py --write-goldens`` writes them anew, for a change that is meant; say so in its commit.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import yaml

from runners.cli.main import main
from runners.plotting import picture
from tests.kit.smallest import CASES

GOLDENS = Path(__file__).resolve().parent / "goldens"
# Keys by what a user measures or names, not by what a runner has.
OPEN = {"versions", "device", "git_commit"}


def keys(value: Any) -> Any:
    """The shape of a record: keys with the kinds of their values; a list as its distinct items."""
    if isinstance(value, Mapping):
        return {name: "..." if name in OPEN else keys(item) for name, item in sorted(value.items())}
    if isinstance(value, list):
        kinds = [keys(item) for item in value]
        return [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def processor() -> str:
    """What bits depend on: the same program rounds otherwise on another processor or under another compiler."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, jax {jax.__version__}, numpy {np.__version__}"


def left_behind(case: str, folder: Path) -> dict[str, Any]:
    """Run a case and say what it left."""
    runner, config = CASES[case]
    text = yaml.safe_dump({"seed": 1, **config}).replace("FOLDER", str(folder))
    (folder / f"{case}.yml").write_text(text)
    assert main(["--runner", runner, "--config", str(folder / f"{case}.yml"), "--out", str(folder / "out")]) == 0
    out = folder / "out"
    found: dict[str, Any] = {
        "files": sorted(path.name for path in out.iterdir()),
        "record": keys(json.loads((out / "results.json").read_text())),
        "arrays": {},
    }
    for path in sorted(out.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found["arrays"][path.name] = {
                name: [str(arrays[name].dtype), [*arrays[name].shape]] for name in sorted(arrays)
            }
            if path.name == "samples.npz":
                bits = {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in sorted(arrays)}
                rough = {name: float(np.sum(arrays[name], dtype=np.float64)) for name in sorted(arrays)}
                found |= {"bits": bits, "sums": rough, "processor": processor()}
    return found


def golden(case: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDENS / f"{case}.json").read_text(encoding="utf-8"))
    return record


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case == "wavenet" else []) for case in CASES]
)
def test_a_run_leaves_what_it_left_before(
    case: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "png", lambda figure: b"")  # what is on pictures is tested with their runners
    found = left_behind(case, tmp_path)
    if request.config.getoption("--write-goldens"):
        GOLDENS.mkdir(exist_ok=True)
        (GOLDENS / f"{case}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wanted = golden(case)
    for part in ("files", "record", "arrays"):
        assert found[part] == wanted[part], part
    if "sums" in wanted:
        assert found["sums"] == pytest.approx(wanted["sums"], rel=1e-3, abs=1e-4)
        if found["processor"] == wanted["processor"]:
            assert found["bits"] == wanted["bits"]


def test_every_runner_has_a_golden() -> None:
    from runners import RUNNERS

    published = {"CachedPixelCNNPPSamplerRunner", "JacobiGSPixelCNNPPSamplerRunner", "GSJacobiPixelCNNPPSamplerRunner"}
    assert {runner for runner, _ in CASES.values()} | published | {"SamplerRunner"} == set(RUNNERS)
