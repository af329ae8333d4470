"""Solvers of triangular systems of nonlinear equations.

    solution = solve(system, Jacobi())

In the repository this package is called ``solvers``, installed ``trisolve``: it imports nothing but jax, numpy,
jaxtyping and the standard library. ``SOLVERS`` maps the names used in configs and results to the classes; adding a
solver is one file in methods/ and one line of table.py.
"""

from __future__ import annotations

from .blocks import BlockSolver
from .check import BrokenSystemError, SystemReport, check_system
from .choosing.choose import Choice, choose, kept_choice
from .composite import CompositeSolver
from .heads.categorical import Argmax, Gumbel
from .heads.logistic import Logistic
from .heads.logistic_mixture import DiscretizedLogisticMixture
from .iterate import advance, finish, start
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
from .pairing import PairingError, fits
from .progress import Progress, StepReport, TraceOptions
from .solution import Solution, SolveError, Stats, Status, Trace
from .solve import solve
from .solver import Solver, StepInfo
from .system import (
    AffineMarkovSystem,
    BlockSystem,
    CoarseMarkovSystem,
    CountedGuessingSystem,
    ForwardSubstitution,
    GuessingSystem,
    LinearizedMarkovSystem,
    MarkovSystem,
    SegmentedSystem,
    SizedBlockSystem,
    SlidingBlockSystem,
    StructuredMarkovSystem,
    TriangularSystem,
    VectorizedMarkovSystem,
)
from .systems.autoregressive import AutoregressiveSystem, CausalNetwork, Head, Known, Noise, log_likelihood
from .systems.decoder import Decoder, DecoderNetwork
from .systems.function import ClosureError, FunctionSystem, NotTriangularError, from_function
from .systems.guesses import Guesses, NGram, NoiseFree, NoiseFreeHead, RepeatLast, with_first_guess, with_guesses
from .systems.recurrence import Recurrence
from .table import SOLVERS, check_pairing, solver_name
from .trees.blocks import Start, put_block, take_block
from .trees.pytree import pytree

__version__ = "0.1.0"

__all__ = [
    "ELK",
    "SOLVERS",
    "AffineMarkovSystem",
    "Anderson",
    "Argmax",
    "AutoregressiveSystem",
    "BlockSolver",
    "BlockSystem",
    "BrokenSystemError",
    "CachedSequential",
    "CausalNetwork",
    "Choice",
    "ClosureError",
    "CoarseMarkovSystem",
    "CompositeSolver",
    "CountedGuessingSystem",
    "Decoder",
    "DecoderNetwork",
    "DenseNewton",
    "DiscretizedLogisticMixture",
    "ForwardSubstitution",
    "FunctionSystem",
    "GSJacobi",
    "Guesses",
    "GuessingSystem",
    "Gumbel",
    "Head",
    "Jacobi",
    "JacobiGS",
    "Known",
    "LinearizedMarkovSystem",
    "Logistic",
    "MarkovSystem",
    "NGram",
    "Newton",
    "Noise",
    "NoiseFree",
    "NoiseFreeHead",
    "NotTriangularError",
    "PairingError",
    "ParallelScan",
    "Parareal",
    "Picard",
    "Progress",
    "QuasiELK",
    "QuasiNewton",
    "Recurrence",
    "RepeatLast",
    "Segmented",
    "SegmentedSystem",
    "Sequential",
    "SizedBlockSystem",
    "SlidingBlockSystem",
    "SlidingGSJacobi",
    "Solution",
    "SolveError",
    "Solver",
    "Start",
    "Stats",
    "Status",
    "StepInfo",
    "StepReport",
    "StructuredMarkovSystem",
    "SystemReport",
    "Trace",
    "TraceOptions",
    "TriangularAnderson",
    "TriangularSystem",
    "VectorizedMarkovSystem",
    "Windowed",
    "__version__",
    "advance",
    "check_pairing",
    "check_system",
    "choose",
    "finish",
    "fits",
    "from_function",
    "kept_choice",
    "log_likelihood",
    "put_block",
    "pytree",
    "solve",
    "solver_name",
    "start",
    "take_block",
    "with_first_guess",
    "with_guesses",
]
