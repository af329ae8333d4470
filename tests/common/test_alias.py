"""One package under two names."""

from __future__ import annotations

import importlib
import sys

import pytest

import runners
from common.alias import Alias, alias


def test_a_users_file_that_imports_the_library_by_its_name_meets_the_classes_that_runners_know() -> None:
    users = {}
    exec(
        "from trisolve import Jacobi, Status, pytree\n"
        "from trisolve.methods.gs_jacobi import GSJacobi\n"
        "class Mine(Jacobi): ...\n",
        users,
    )
    solvers = importlib.import_module("solvers")
    assert runners.RUNNERS
    assert isinstance(users["Mine"](), solvers.Solver)
    assert users["GSJacobi"] is solvers.SOLVERS["gs_jacobi"]
    assert users["Status"].CONVERGED is solvers.Status.CONVERGED


@pytest.mark.parametrize("first", ["trisolve", "solvers"])
def test_a_module_is_imported_once_whichever_name_comes_first(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trisolve", "solvers"):
        monkeypatch.delitem(sys.modules, f"{name}.lyapunov", raising=False)
    found = importlib.import_module(f"{first}.lyapunov")
    assert found is importlib.import_module("solvers.lyapunov") is importlib.import_module("trisolve.lyapunov")
    assert found.__spec__.name == found.__name__ == "solvers.lyapunov"


def test_what_is_not_there_is_not_found_and_names_that_begin_alike_are_others() -> None:
    with pytest.raises(ModuleNotFoundError, match="trisolve.nothing"):
        importlib.import_module("trisolve.nothing")
    with pytest.raises(ModuleNotFoundError, match="trisolver"):
        importlib.import_module("trisolver")


def test_an_alias_is_installed_once() -> None:
    alias("trisolve", "solvers")
    assert [finder.name for finder in sys.meta_path if isinstance(finder, Alias)] == ["trisolve"]
