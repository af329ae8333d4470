"""The library as it is installed: the wheel of ``trisolve``, and the page whose programs are written for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import solvers
from common.paths import ROOT

PAGE = ROOT / "docs" / "your-own-system.md"
OURS = ("models", "data", "common")  # packages of a user that are called as ours are
PACKED = ("pyproject.toml", "README.md", "LICENSE")
# What the library must do without, though it is there while tests run.
ABSENT = ("torch", "flax", "optax", "orbax", "pydantic", "yaml", "rich", "matplotlib", "PIL", "beartype")
LAST = """
import sys, trisolve
found = {name.split(".")[0] for name in sys.modules}
assert trisolve.__file__.startswith(FOLDER), trisolve.__file__
assert not found & {"solvers", "runners", *ABSENT}, found & set(ABSENT)
assert [name for name in trisolve.__all__ if name not in vars(trisolve)] == []
import models, data, common
assert (models.mine, data.mine, common.mine) == (1, 1, 1)
print("done")
"""


def run(arguments: list[str], cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, as building leaves folders behind."""
    copy, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    sources = [path.relative_to(ROOT) for path in (ROOT / "solvers").rglob("*") if path.suffix in (".py", ".typed")]
    for path in [*sources, *map(Path, PACKED)]:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes((ROOT / path).read_bytes())
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    run(["-W", "ignore", "-c", build, str(built)], copy)
    (found,) = built.glob("*.whl")
    return found


def test_the_wheel_is_the_library_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    ours = [path.relative_to(ROOT / "solvers") for path in (ROOT / "solvers").rglob("*.py")]
    assert sorted(names) == sorted(f"trisolve/{path.as_posix()}" for path in [*ours, Path("py.typed")])
    needed = re.findall(r"^Requires-Dist: ([\w-]+)(.*)$", metadata, re.MULTILINE)
    assert {name for name, _ in needed} == {"jax", "jaxtyping", "numpy"}
    assert all(versions and "==" not in versions for _, versions in needed)
    assert f"\nVersion: {solvers.__version__}\n" in metadata


def test_all_solvers_for_a_transformer_of_ones_own_take_few_lines() -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    network, solved = (next(block for block in programs if word in block) for word in ("def extend", "Decoder("))
    assert len((network + solved).splitlines()) <= 60


@pytest.mark.slow  # an environment is made and a wheel installed; the page's programs run without one elsewhere
def test_the_page_runs_where_the_wheel_is_installed_and_folders_are_called_as_ours(wheel: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "installed", tmp_path / "work"
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--no-index"]
    run([*pip, "--target", str(installed), str(wheel)], tmp_path)
    for name in OURS:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("mine = 1\n")
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (work / "page.py").write_text("\n".join([*programs, f"FOLDER, ABSENT = {str(installed)!r}, {ABSENT!r}", LAST]))
    printed = run(["page.py"], work, PYTHONPATH=str(installed))
    assert printed.endswith("done\n")
    assert printed.startswith(f"{solvers.__version__}\nSolution(converged after ")


def test_the_page_names_all_that_the_library_has() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## What `trisolve` has")[1]
    assert sorted(set(re.findall(r"`(\w+)`", table)) - {"trisolve"}) == sorted(solvers.__all__)
