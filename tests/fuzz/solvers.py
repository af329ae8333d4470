"""Random systems of every dtype and layout, by every solver, against plain iteration.

    python -m tests.fuzz.solvers 5000 [seed]

A case is one system and one solver. It fails where a solution that is called converged does not satisfy F(x) = x under
one plain sweep of the whole batch (exactly for integers and where the tolerance is 0), where a solver does not converge
within its bound of steps although the solution is finite, and where anything is raised but a sentence.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from solvers import (
    ELK,
    Anderson,
    BlockSolver,
    CachedSequential,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Newton,
    Parareal,
    Picard,
    QuasiNewton,
    Segmented,
    Sequential,
    SlidingGSJacobi,
    Solver,
    Status,
    TriangularAnderson,
    Windowed,
    advance,
    finish,
    fits,
    start,
)
from solvers.equations import isolated
from solvers.methods.elk import LevenbergMarquardt
from solvers.table import SOLVERS
from tests.fuzz.systems import Structure, structures

PROGRAMS_OF_A_FEW = 8  # cases of each program at least, as compiling is what takes time

# Beside every solver with its defaults: options that small systems exercise.
VARIANTS: tuple[Solver, ...] = (
    Jacobi(damping=0.5),
    Jacobi(tol=1e-3),
    Anderson(history_size=2, mixing=0.5, tol=0.0),
    Anderson(tol=1e-3),
    GSJacobi(block_size=3),
    GSJacobi(block_size=2, tol=1e-3),
    SlidingGSJacobi(block_size=3),
    JacobiGS(block_size=3),
    CachedSequential(chunk_size=5),
    Segmented(solver=Sequential()),
    Segmented(solver=CachedSequential()),
    TriangularAnderson(history_size=2, unexplained=1.0, tol=0.0),
    TriangularAnderson(solver=Picard(), unexplained=0.5),
    Newton(jacobian="scalar"),
    Newton(jacobian="block_diagonal", block_size=1),
    Segmented(solver=Anderson(), tol=1e-5),
    Newton(tol=0.0),
    QuasiNewton(probes=2),
    Windowed(solver=QuasiNewton(), memory_mib=0.0015),
    Windowed(solver=ELK(), memory_mib=0.002),
    Windowed(solver=Picard(), tol=0.0),
    Windowed(solver=QuasiNewton(), memory_mib=0.0015, slide=True),
    Windowed(solver=Newton(), memory_mib=0.006, slide=True),
    Windowed(solver=Picard(), memory_mib=0.006, slide=True),
    Parareal(num_blocks=2),
    Parareal(num_blocks=3, tol=0.0),
)


@dataclass
class Outcome:
    """How many cases ran, how they ended, and what went wrong."""

    cases: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@partial(jax.jit, static_argnames=("solver",))
def solved(system: Any, solver: Solver, until: Any) -> tuple[Any, Any, Any, Any]:
    """The value, the statuses, F(value), and where T + 1 plain sweeps of the initial guess end."""
    solution = finish(system, advance(system, solver, start(system, solver), until))
    swept = isolated(system.sweep, solution.value, solution.value)
    plain = lax.fori_loop(0, system.num_equations + 1, lambda _, x: system.sweep(x), system.initial_guess())
    return solution.value, (solution.status, solution.sample_status), swept, plain


def programs() -> list[tuple[Structure, Solver]]:
    """Every pair of a structure and a solver that fits it."""
    solvers = [kind() for kind in SOLVERS.values()] + list(VARIANTS)
    found = []
    for structure in structures():
        with precision(structure):
            system = structure.fill(np.random.default_rng(0))
        found += [(structure, solver) for solver in solvers if fits(solver, system)]
    return found


def precision(structure: Structure) -> Any:
    return jax.enable_x64(True) if structure.wide else nullcontext()


def _nothing(line: str) -> None:
    """Say nothing."""


def run(count: int, seed: int = 0, say: Callable[[str], None] = _nothing) -> Outcome:
    """Run about ``count`` cases; a seed always gives the same ones."""
    random, outcome, told = np.random.default_rng(seed), Outcome(), 0
    pairs = programs()
    each = max(PROGRAMS_OF_A_FEW, math.ceil(count / len(pairs)))
    for i in random.permutation(len(pairs))[: math.ceil(count / each)]:
        structure, solver = pairs[i]
        with precision(structure):
            for case in random.integers(2**31, size=min(each, count - outcome.cases)):
                outcome.cases += 1
                one(structure, solver, int(case), outcome)
        for fault in outcome.faults[told:]:
            say(f"FAULT {fault}")
        told = len(outcome.faults)
        say(f"{outcome.cases} cases, {told} faults: {structure.name}, {solver}")
    return outcome


def one(structure: Structure, solver: Solver, case: int, outcome: Outcome) -> None:
    """Run one case, of which the structure, the solver and a number say everything."""
    random = np.random.default_rng(case)
    system = structure.fill(random)
    limit = int(random.integers(1, 4)) if random.random() < 0.2 else 2**30
    try:
        found = solved(system, solver, jnp.int32(limit))
    except Exception as error:
        if ours(error):
            outcome.refused[f"{structure.name}, {solver}"] = str(error)
            return
        outcome.faults.append(f"{structure.name}, {solver}, case {case}: {type(error).__name__}: {str(error)[:300]}")
        return
    value, (status, sample_status), swept, plain = jax.tree.map(np.asarray, found)
    outcome.ends[Status(int(status)).label] += 1
    if mixes(system):
        sample_status = np.full_like(sample_status, status)
    wrong = judge(solver, value, sample_status == Status.CONVERGED, swept)
    if wrong:
        outcome.faults.append(f"{structure.name}, {solver}, case {case}: converged, and {wrong}")
    finite = all(np.all(np.isfinite(leaf.astype(complex))) for leaf in jax.tree.leaves(plain))
    if finite and limit > 100 and status != Status.CONVERGED and not mixes(system):
        outcome.faults.append(f"{structure.name}, {solver}, case {case}: {Status(int(status)).label}")


def ours(error: Exception) -> bool:
    """Whether it is a sentence of this project's, and not of a library's that something went wrong in."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, ValueError) and any(f"/{room}/" in raised_in for room in ("solvers", "common"))


def mixes(system: Any) -> bool:
    """Whether its samples read each other."""
    flags = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(system) if "mixing" in str(path[-1])]
    return any(bool(flag) for flag in flags)


def judge(solver: Solver, value: Any, converged: np.ndarray, swept: Any) -> str | None:
    """What is wrong with samples that are called converged, if anything; each by its own size."""
    pairs = zip(jax.tree.leaves(value), jax.tree.leaves(swept), strict=True)
    leaves = [(by_sample(x)[converged], by_sample(y)[converged]) for x, y in pairs]
    floats = [(x, y) for x, y in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]
    for x, y in leaves:
        if jnp.issubdtype(x.dtype, jnp.inexact) and not exactly(solver, x.dtype):
            continue
        if not np.array_equal(x, y):
            return f"F(x) != x in {np.count_nonzero(x != y)} of {x.size} values of {x.dtype}"
    floats = [(x, y) for x, y in floats if not exactly(solver, x.dtype)]
    if not floats:
        return None
    worst = 0.0
    for (x, y), size in zip(floats, sizes_up_to([x for x, _ in floats]), strict=True):
        gap = np.max(np.abs(widened(y) - widened(x)), axis=2, initial=0.0)
        if not np.all(np.isfinite(gap)):
            return "F(x) - x is not finite"
        bound = max(solver.tol, 64 * float(jnp.finfo(x.dtype).eps)) * size
        worst = max(worst, float(np.max(gap / bound, initial=0.0)))
    return f"|F(x) - x| is {worst:.1f} times what is tolerated" if worst > 1.0 else None


def sizes_up_to(leaves: list[np.ndarray]) -> list[np.ndarray]:
    """For each leaf (B, T, F) the largest value up to each equation, or one: (B, T). Segments follow one another."""
    own = [np.max(np.abs(widened(x)), axis=2, initial=1.0) for x in leaves]
    if len({size.shape[1] for size in own}) == 1:
        return [np.maximum.accumulate(np.max(own, axis=0), axis=1)] * len(own)
    ends = np.cumsum([size.shape[1] for size in own])[:-1]
    return np.split(np.maximum.accumulate(np.concatenate(own, axis=1), axis=1), ends, axis=1)


def by_sample(leaf: np.ndarray) -> np.ndarray:
    """A leaf (T, B, ...) or (T,) as (B, T, F)."""
    return np.moveaxis(leaf, 1, 0).reshape(leaf.shape[1], leaf.shape[0], -1) if leaf.ndim > 1 else leaf[None, :, None]


def widened(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(complex if np.iscomplexobj(leaf) else float)


def exactly(solver: Solver, dtype: Any) -> bool:
    """Whether the solver evaluates plain sweeps, so that their fixed point is met bit for bit.

    Beside its derivatives a pass may round products of complex numbers otherwise: seen where XLA compiles without
    optimizing, as for these tests.
    """
    if jnp.issubdtype(dtype, jnp.complexfloating) and isinstance(solver, Newton | LevenbergMarquardt):
        return False
    return solver.tol == 0.0 and not isinstance(solver, BlockSolver | CachedSequential | Segmented | Windowed)


def main(arguments: list[str]) -> int:
    """Run as many cases as asked for, and print how they ended."""
    count, seed = (int(text) for text in (*arguments, "0")[:2])
    outcome = run(count, seed, say=lambda line: print(line, flush=True))
    print(f"{outcome.cases} cases: {dict(outcome.ends)}, {len(outcome.refused)} pairs refused with a sentence")
    for pair, sentence in outcome.refused.items():
        print(f"  {pair}: {sentence}")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
