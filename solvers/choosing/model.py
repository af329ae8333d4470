"""What solvers may be expected to take before any of them was run: a model, from a few sweeps of the system.

It decides which solvers are tried first, and stands for those that there was no time to try. Where it errs it errs by
a factor, not by a little: a prediction that is modelled has a wide range, and says that it is.
"""

from __future__ import annotations

import math
from typing import Any

from ..blocks import BlockSolver
from ..linear.choices import sweeps_beside
from ..linear.linearize import jacobian_sweeps
from ..methods.anderson import Anderson
from ..methods.dense_newton import DenseNewton
from ..methods.elk import ELK, LevenbergMarquardt
from ..methods.gs_jacobi import GSJacobi
from ..methods.jacobi import Jacobi
from ..methods.jacobi_gs import JacobiGS
from ..methods.newton import Newton
from ..methods.parallel_scan import ParallelScan
from ..methods.parareal import Parareal
from ..methods.segmented import Segmented
from ..methods.sequential import CachedSequential, Sequential
from ..methods.triangular_anderson import TriangularAnderson
from ..methods.windowed import Windowed
from ..solver import Solver
from ..system import AffineMarkovSystem, MarkovSystem
from ..trees.platform import on_cpu
from .candidates import is_forward
from .facts import Facts
from .prediction import MODELLED, SWEPT, Prediction

_FACTOR = 3.0  # by which such a prediction may err on either side
_SWEPT = 1.3  # and one of a number of sweeps that is known
_NEWTON_STEPS = 14.0  # where nothing is known of them
_PARAREAL_ROUNDS = 8.0  # the same
_FAST = 0.25  # a system forgets fast if that takes no more steps than this part of its equations
_DIAGONAL = 2.2  # times more steps of Newton's method with diagonals in the place of Jacobians
_SCAN_SWEEPS = 1.0  # what a prefix scan costs beside the sweeps of a step
_SLIDING = 1.2  # how much sooner a window is through that moves on with what is solved, than blocks in order
_PRODUCT_S = 3e-11  # of a multiplication in the products of matrices of a prefix scan
_FILTER = 10.0  # how many times more of that a Kalman filter takes
_ENTRY_S = 5e-9  # for each number of a whole Jacobian, which a processor writes, lays out anew and solves with
_SIDE_BY_SIDE = 0.3  # of a sweep, for each column of Jacobians: its derivatives need no new values


def modelled(label: str, solver: Solver, system: Any, facts: Facts) -> Prediction:
    """Steps and time of a solver by the model. Of sequential ones the steps are certain."""
    steps, seconds = _expected(solver, system, facts)
    swept = isinstance(solver, Sequential) or (_plain(solver) and facts.ends(solver.tol) is not None)
    wide = 1.0 if swept or is_forward(solver) else _FACTOR
    spread = _SWEPT if swept and not facts.hurried else _FACTOR
    return Prediction(
        label,
        SWEPT if swept else MODELLED,
        max(1, round(steps)),
        (max(1, math.floor(steps / wide)), math.ceil(steps * wide)),
        seconds,
        (seconds / spread, seconds * spread),
    )


def _plain(solver: Solver) -> bool:
    """Whether a solver does nothing but sweep."""
    return isinstance(solver, Jacobi) and solver.damping == 1.0


def steps_of_a_round(solver: Solver, system: Any) -> int:
    """How many steps that follow one another an iteration counts as, or one of a solver inside."""
    if isinstance(solver, CachedSequential):
        return solver.chunk(system)
    if isinstance(solver, JacobiGS):
        return 1 + solver.block_length(system)
    if isinstance(solver, Parareal):
        length = solver.block_length(system)
        return length + -(-int(system.num_equations) // length)
    return max((steps_of_a_round(inner, part) for part, inner in solver.parts(system)), default=1)


def _expected(solver: Solver, system: Any, facts: Facts) -> tuple[float, float]:
    """Steps and seconds."""
    total, sweep, step = float(facts.num_equations), facts.sweep_s, facts.step_s
    jacobi = facts.jacobi_steps(solver.tol)
    if isinstance(solver, Sequential):
        return total, total * sweep
    if is_forward(solver):
        return total, total * step
    if isinstance(solver, JacobiGS):
        length = solver.block_length(system)
        # Of order one, what its beginning is told is forgotten inside a block; else each waits for those before it.
        blocks = float(math.ceil(total / length))
        forgets = isinstance(system, MarkovSystem)
        rounds = min(blocks + 1.0, math.ceil(jacobi / length) + 2.0) if forgets else min(blocks, jacobi + 1.0)
        return rounds * steps_of_a_round(solver, system), rounds * (2 * sweep + length * step)
    if isinstance(solver, BlockSolver):
        return _blocks(solver, system, facts, jacobi)
    if isinstance(solver, Segmented):
        parts = [_inside(inner, segment, facts, jacobi) for segment, inner in solver.parts(system)]
        return math.fsum(steps for steps, _ in parts), math.fsum(seconds for _, seconds in parts)
    if isinstance(solver, Windowed):
        steps, seconds = _expected(solver.inner, system, facts)
        return 3 * steps, 1.5 * seconds
    if isinstance(solver, TriangularAnderson):
        steps, seconds = _expected(solver.inner, system, facts)
        return steps, 2 * seconds
    if isinstance(solver, Parareal):
        length = solver.block_length(system)
        rounds = min(_PARAREAL_ROUNDS, math.ceil(total / length) + 1.0)
        steps = rounds * steps_of_a_round(solver, system)
        return steps, rounds * sweep + steps * step
    if isinstance(solver, ParallelScan):
        return 1.0, sweep * (2 + _SCAN_SWEEPS)
    if isinstance(solver, LevenbergMarquardt):
        beside = _SIDE_BY_SIDE * jacobian_sweeps(system)
        each = sweep * (4 + _SCAN_SWEEPS + beside) + products_s(solver, facts)
        steps = 1.0 + _newton_steps("full" if isinstance(solver, ELK) else "diagonal", system, facts, solver.tol)
        return steps, steps * each
    if isinstance(solver, DenseNewton):
        steps = min(jacobi, _newton_steps("full", system, facts, solver.tol))
        columns = max(total, float(facts.num_floats))  # one for each equation where the values are whole numbers
        entries_s = _ENTRY_S * facts.batch_size * columns**2 if on_cpu() else 0.0
        return steps, steps * (sweep * (1 + _SIDE_BY_SIDE * columns) + entries_s)
    if isinstance(solver, Newton):
        steps = min(jacobi, _newton_steps(solver.jacobian, system, facts, solver.tol))
        beside = _SIDE_BY_SIDE * sweeps_beside(solver.jacobian, solver.probes, system)
        return steps, steps * (sweep * (1 + _SCAN_SWEEPS + beside) + products_s(solver, facts))
    return jacobi, jacobi * sweep * (1.5 if isinstance(solver, Anderson) else 1.0)


def _newton_steps(jacobian: str, system: Any, facts: Facts, tol: float) -> float:
    """Steps of Newton's method with such matrices in the place of Jacobians.

    Where a system was seen to forget in F steps, F from 10 to 50, recurrent networks took 4 to 6 with full Jacobians,
    and 8 to 12 with their diagonals. Affine equations take one, and one to see that they are solved. What the system
    tells is taken for its Jacobians, as of recurrent networks it is; of chains and diffusion it is less.
    """
    exact = jacobian in ("full", "system")
    if exact and isinstance(system, AffineMarkovSystem):
        return 2.0
    forgets = min(facts.fading(tol), facts.forgetting(tol))
    if not (exact or jacobian == "diagonal") or forgets > _FAST * facts.num_equations:
        return _NEWTON_STEPS
    full = 2.0 + math.log2(max(1.0, forgets)) / 2
    return min(_NEWTON_STEPS, full if exact else _DIAGONAL * full)


def products_s(solver: Solver, facts: Facts) -> float:
    """Seconds of a step's products of dense matrices, which are what takes long of many features on a processor."""
    filters = isinstance(solver, ELK)
    if not on_cpu() or not (filters or (isinstance(solver, Newton) and solver.jacobian == "full")):
        return 0.0
    each_s = _PRODUCT_S * (_FILTER if filters else 1.0)
    return each_s * facts.num_equations * facts.batch_size * facts.num_features**3


def _inside(solver: Solver, segment: Any, facts: Facts, jacobi: float) -> tuple[float, float]:
    """One segment behind those that are solved, which is a block, or several."""
    if isinstance(solver, BlockSolver):
        return _blocks(solver, segment, facts, jacobi)
    return _block(int(segment.num_equations), facts, jacobi)


def _blocks(solver: BlockSolver, system: Any, facts: Facts, jacobi: float) -> tuple[float, float]:
    """Blocks in order, or fewer steps of a window that moves on with what is solved."""
    length, total = solver.block_length(system), int(system.num_equations)
    steps, seconds = _block(length, facts, jacobi)
    in_order = steps * total / length
    fewer = in_order if isinstance(solver, GSJacobi) else max(min(jacobi, float(total)), in_order / _SLIDING)
    return fewer, fewer * seconds / steps


def _block(length: int, facts: Facts, jacobi: float) -> tuple[float, float]:
    """As many steps as Jacobi's iteration needs for so many equations, and one to see that they are solved."""
    steps = min(facts.steps_through(length), jacobi) + 1
    return steps, steps * (facts.sweep_s * length / max(1, facts.num_equations) + facts.block_s)
