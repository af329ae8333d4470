"""The solvers by the names that configs and results use, and the check of a pairing that knows them."""

from __future__ import annotations

from typing import Any

from common.table import Table
from solvers.pairing import require_fit
from solvers.solver import Solver

SOLVERS: Table[type[Solver]] = Table(
    "solver",
    {
        "sequential": "solvers.methods.sequential:Sequential",
        "cached_sequential": "solvers.methods.sequential:CachedSequential",
        "jacobi": "solvers.methods.jacobi:Jacobi",
        "gs_jacobi": "solvers.methods.gs_jacobi:GSJacobi",
        "sliding_gs_jacobi": "solvers.methods.sliding_gs_jacobi:SlidingGSJacobi",
        "jacobi_gs": "solvers.methods.jacobi_gs:JacobiGS",
        "segmented": "solvers.methods.segmented:Segmented",
        "anderson": "solvers.methods.anderson:Anderson",
        "newton": "solvers.methods.newton:Newton",
        "quasi_newton": "solvers.methods.quasi_newton:QuasiNewton",
        "picard": "solvers.methods.picard:Picard",
        "elk": "solvers.methods.elk:ELK",
        "quasi_elk": "solvers.methods.quasi_elk:QuasiELK",
        "windowed": "solvers.methods.windowed:Windowed",
        "parallel_scan": "solvers.methods.parallel_scan:ParallelScan",
        "dense_newton": "solvers.methods.dense_newton:DenseNewton",
    },
)


def solver_name(solver: Solver) -> str:
    """The name of a solver in configs and results; of one that is not in the table, its class's name."""
    return SOLVERS.name_of(type(solver)) or type(solver).__name__


def check_pairing(system: Any, solver: Solver) -> None:
    """Raise PairingError, naming the solvers that do fit, unless ``system`` has what ``solver`` needs."""
    require_fit(system, solver, SOLVERS)
