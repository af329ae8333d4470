"""Every notebook in notebooks/ runs on the results that ship, and is committed with its outputs."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from common.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COPIED = ("notebooks", "plot_data/reference")
LIVE = "live"  # the tag of a cell that solves something small with the library itself


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def errors(notebook: Any) -> list[str]:
    return [f"{output.ename}: {output.evalue}" for output in outputs(notebook) if output.output_type == "error"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which a notebook can spoil nothing: what it may write to is copied, the packages are linked."""
    folder = tmp_path_factory.mktemp("repository")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    for path in ROOT.iterdir():
        if path.is_dir() and not (folder / path.name).exists() and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    return folder


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, copy: Path) -> None:
    notebook = read(copy / "notebooks" / path.name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(copy / "notebooks"))
    assert not errors(notebook)
    assert {output.output_type for output in outputs(notebook)} & {"display_data", "execute_result"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_with_the_outputs_of_a_whole_run(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert outputs(notebook)
    assert not errors(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_knows_no_machine_and_links_to_what_is_there(path: Path) -> None:
    notebook = read(path)
    text = path.read_text(encoding="utf-8")
    for folder in (str(ROOT), str(Path.home())):
        assert folder == "/" or folder + "/" not in text
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        assert target.startswith("https://") or (path.parent / target).is_file(), target


def is_live(cell: Any) -> bool:
    return LIVE in cell.metadata.get("tags", [])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_only_draws_outside_of_live_cells(path: Path) -> None:
    imported = set()
    for cell in read(path).cells:
        if cell.cell_type == "code" and not is_live(cell):
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                if isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module if node.module.startswith("runners") else node.module.partition(".")[0])
    assert not imported & {"jax", "flax", "optax", "torch", "solvers", "models", "data"}
    ours = {name for name in imported if name.startswith("runners")}
    drawing = r"runners\.(plotting\.\w+|([a-z_]+\.)+figures|report\.(units|published|shipped))"
    assert all(re.fullmatch(drawing, name) for name in ours)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_live_cells_come_last_and_a_notebook_without_any_says_that_it_computes_nothing(path: Path) -> None:
    notebook = read(path)
    live = [is_live(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert live == sorted(live)
    assert ("computes nothing itself" in " ".join(notebook.cells[0].source.split())) == (not any(live))
