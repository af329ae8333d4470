"""Solvers of triangular systems of nonlinear equations.

    solution = solve(system, Jacobi())

``SOLVERS`` maps the names used in configs and results to the classes; adding a solver is one file and one line of it.
"""

from __future__ import annotations

from solvers.check import BrokenSystemError, check_system
from solvers.function import NotTriangularError, from_function
from solvers.methods.anderson import Anderson
from solvers.methods.dense_newton import DenseNewton
from solvers.methods.elk import ELK
from solvers.methods.gs_jacobi import GSJacobi
from solvers.methods.jacobi import Jacobi
from solvers.methods.jacobi_gs import JacobiGS
from solvers.methods.newton import Newton
from solvers.methods.parallel_scan import ParallelScan
from solvers.methods.picard import Picard
from solvers.methods.quasi_elk import QuasiELK
from solvers.methods.quasi_newton import QuasiNewton
from solvers.methods.segmented import Segmented
from solvers.methods.sequential import CachedSequential, Sequential
from solvers.methods.sliding_gs_jacobi import SlidingGSJacobi
from solvers.methods.windowed import Windowed
from solvers.pairing import PairingError, check_pairing, fits
from solvers.progress import Progress, TraceOptions
from solvers.solution import Solution, SolveError, Stats, Status, Trace
from solvers.solve import advance, finish, solve, start
from solvers.solver import Solver, StepInfo
from solvers.system import (
    AffineMarkovSystem,
    BlockSystem,
    ForwardSubstitution,
    LinearizedMarkovSystem,
    MarkovSystem,
    SegmentedSystem,
    SlidingBlockSystem,
    TriangularSystem,
)

SOLVERS: dict[str, type[Solver]] = {
    "sequential": Sequential,
    "cached_sequential": CachedSequential,
    "jacobi": Jacobi,
    "gs_jacobi": GSJacobi,
    "sliding_gs_jacobi": SlidingGSJacobi,
    "jacobi_gs": JacobiGS,
    "segmented": Segmented,
    "anderson": Anderson,
    "newton": Newton,
    "quasi_newton": QuasiNewton,
    "picard": Picard,
    "elk": ELK,
    "quasi_elk": QuasiELK,
    "windowed": Windowed,
    "parallel_scan": ParallelScan,
    "dense_newton": DenseNewton,
}


def solver_name(solver: Solver) -> str:
    """The name of a solver in configs and results (of one that is not in the table: its class's)."""
    return next((name for name, kind in SOLVERS.items() if kind is type(solver)), type(solver).__name__)


__all__ = [
    "ELK",
    "SOLVERS",
    "AffineMarkovSystem",
    "Anderson",
    "BlockSystem",
    "BrokenSystemError",
    "CachedSequential",
    "DenseNewton",
    "ForwardSubstitution",
    "GSJacobi",
    "Jacobi",
    "JacobiGS",
    "LinearizedMarkovSystem",
    "MarkovSystem",
    "Newton",
    "NotTriangularError",
    "PairingError",
    "ParallelScan",
    "Picard",
    "Progress",
    "QuasiELK",
    "QuasiNewton",
    "Segmented",
    "SegmentedSystem",
    "Sequential",
    "SlidingBlockSystem",
    "SlidingGSJacobi",
    "Solution",
    "SolveError",
    "Solver",
    "Stats",
    "Status",
    "StepInfo",
    "Trace",
    "TraceOptions",
    "TriangularSystem",
    "Windowed",
    "advance",
    "check_pairing",
    "check_system",
    "finish",
    "fits",
    "from_function",
    "solve",
    "solver_name",
    "start",
]
