"""Solvers of triangular systems of nonlinear equations.

    solution = solve(system, Jacobi())

``SOLVERS`` maps the names used in configs and results to the classes; adding a solver is one file in solvers/methods/
and one line of solvers/table.py.
"""

from __future__ import annotations

from solvers.blocks import BlockSolver
from solvers.check import BrokenSystemError, check_system
from solvers.composite import CompositeSolver
from solvers.function import NotTriangularError, from_function
from solvers.iterate import advance, finish, start
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
from solvers.pairing import PairingError, fits
from solvers.progress import Progress, TraceOptions
from solvers.solution import Solution, SolveError, Stats, Status, Trace
from solvers.solve import solve
from solvers.solver import Solver, StepInfo
from solvers.system import (
    AffineMarkovSystem,
    BlockSystem,
    ForwardSubstitution,
    LinearizedMarkovSystem,
    MarkovSystem,
    SegmentedSystem,
    SizedBlockSystem,
    SlidingBlockSystem,
    TriangularSystem,
    VectorizedMarkovSystem,
)
from solvers.table import SOLVERS, check_pairing, solver_name

__all__ = [
    "ELK",
    "SOLVERS",
    "AffineMarkovSystem",
    "Anderson",
    "BlockSolver",
    "BlockSystem",
    "BrokenSystemError",
    "CachedSequential",
    "CompositeSolver",
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
    "SizedBlockSystem",
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
    "VectorizedMarkovSystem",
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
