"""The solvers by the names that configs and results use, and the check of a pairing that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .methods.anderson import Anderson
from .methods.dense_newton import DenseNewton
from .methods.elk import ELK
from .methods.gs_jacobi import GSJacobi
from .methods.jacobi import Jacobi
from .methods.jacobi_gs import JacobiGS
from .methods.newton import Newton, Picard, QuasiNewton
from .methods.parallel_scan import ParallelScan
from .methods.parareal import Parareal
from .methods.quasi_elk import QuasiELK
from .methods.segmented import Segmented
from .methods.sequential import CachedSequential, Sequential
from .methods.sliding_gs_jacobi import SlidingGSJacobi
from .methods.triangular_anderson import TriangularAnderson
from .methods.windowed import Windowed
from .pairing import name_in, require_fit
from .solver import Solver

SOLVERS: Mapping[str, type[Solver]] = MappingProxyType(
    {
        "sequential": Sequential,
        "cached_sequential": CachedSequential,
        "jacobi": Jacobi,
        "gs_jacobi": GSJacobi,
        "sliding_gs_jacobi": SlidingGSJacobi,
        "jacobi_gs": JacobiGS,
        "segmented": Segmented,
        "anderson": Anderson,
        "triangular_anderson": TriangularAnderson,
        "newton": Newton,
        "quasi_newton": QuasiNewton,
        "picard": Picard,
        "elk": ELK,
        "quasi_elk": QuasiELK,
        "windowed": Windowed,
        "parareal": Parareal,
        "parallel_scan": ParallelScan,
        "dense_newton": DenseNewton,
    }
)


def solver_name(solver: Solver) -> str:
    """The name of a solver in configs and results; of one that is not in the table, its class's name."""
    return name_in(SOLVERS, type(solver))


def check_pairing(system: Any, solver: Solver) -> None:
    """Raise PairingError, naming the solvers that do fit, unless ``system`` has what ``solver`` needs."""
    require_fit(system, solver, SOLVERS)
