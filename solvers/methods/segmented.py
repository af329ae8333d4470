"""Segments in order, each by a solver of its own kind: GS-Jacobi where segments differ in shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from common.names import unknown
from solvers.equations import magnitude
from solvers.pairing import check_pairing
from solvers.solver import Solver, StepInfo
from solvers.system import SegmentedSystem


class SegmentedState(NamedTuple):
    """The segment in work; for every segment what it reads of those before it, and the inner solver's state."""

    current: Int[Array, ""]
    inputs: tuple[Any, ...]  # zeros for segments to come
    inner: tuple[Any, ...]


@dataclass(frozen=True)
class Segmented:
    """Gauss-Seidel over segments, each solved by an inner solver from the values of the segments before it.

    A step is one step of the inner solver on one segment. The next segment begins, and what it reads is computed, when
    every sample of the batch has met ``tol`` in this one. With Jacobi inside this is GS-Jacobi with a block for each
    segment (Song et al., ICML 2021); with cached_sequential, forward substitution.

    ``solver``: a name in SOLVERS, with that solver's default options, or an instance.
    """

    requires: ClassVar[type] = SegmentedSystem
    solver: Any = "jacobi"
    tol: float = 0.0

    def __post_init__(self) -> None:
        from solvers import SOLVERS  # the table imports this module

        names = {name: kind for name, kind in SOLVERS.items() if kind is not Segmented}
        if isinstance(self.solver, str):
            if self.solver not in names:
                raise ValueError(unknown("solver", self.solver, names) + " (of segments)")
        elif type(self.solver) not in names.values():
            raise ValueError(f"solver should be one of {', '.join(names)}, or an instance of one, not {self.solver!r}")

    @property
    def inner(self) -> Solver:
        """The solver of the segments."""
        from solvers import SOLVERS

        solver: Any = SOLVERS[self.solver]() if isinstance(self.solver, str) else self.solver
        replaced: Solver = dataclasses.replace(solver, tol=self.tol)
        return replaced

    def max_steps(self, system: Any) -> int:
        """The inner solver's bound for each segment, and one step to see that a sample in it is not finite."""
        return sum(self.inner.max_steps(segment) + 1 for segment in jax.eval_shape(_all_segments, system))

    def init(self, system: Any, x: Any) -> SegmentedState:
        """The first segment. Raises PairingError where the inner solver does not go with the segments."""
        first = system.first_inputs()
        inputs = (first, *_zeros(jax.eval_shape(_all_inputs, system)[1:]))
        for index in range(system.num_segments):
            check_pairing(system.segment(index, inputs[index]), self.inner)
        blank = _zeros(jax.eval_shape(self._all_states, system, x)[1:])
        return SegmentedState(jnp.int32(0), inputs, (self.inner.init(system.segment(0, first), x[0]), *blank))

    def step(
        self, system: Any, x: Any, state: SegmentedState, frontier: Int[Array, " B"]
    ) -> tuple[Any, SegmentedState, StepInfo]:
        """One inner step on the segment in work; move on if all samples have met the tolerance in it."""
        begin, branches = 0, []
        for index, segment in enumerate(jax.eval_shape(_all_segments, system)):
            branches.append(self._in_segment(index, begin, int(segment.num_equations)))
            begin += int(segment.num_equations)
        result: tuple[Any, SegmentedState, StepInfo] = lax.switch(state.current, branches, system, x, state, frontier)
        return result

    def _in_segment(self, index: int, begin: int, length: int) -> Callable[..., tuple[Any, SegmentedState, StepInfo]]:
        """The step of one segment, which holds the equations [begin, begin + length)."""

        def step(
            system: Any, x: Any, state: SegmentedState, frontier: Int[Array, " B"]
        ) -> tuple[Any, SegmentedState, StepInfo]:
            num_equations = int(system.num_equations)
            segment = system.segment(index, state.inputs[index])
            failed = frontier < 0  # such a sample must not hold up the others
            inside = jnp.where(failed, -1, jnp.clip(frontier - begin, 0, length))
            values, inner, info = self.inner.step(segment, x[index], state.inner[index], inside)
            scale = jnp.maximum(1.0, magnitude(x[index])) if self.tol else 1.0
            move = jnp.all((info.residual <= self.tol * scale) | failed)
            new = (*x[:index], values, *x[index + 1 :])
            # What the next segment builds on is never touched again, so it counts as exact.
            exact = begin + jnp.where(move, length, jnp.minimum(info.frontier, length))
            last = begin + length == num_equations
            following = state._replace(inner=(*state.inner[:index], inner, *state.inner[index + 1 :]))
            if not last:
                following = lax.cond(
                    move,
                    lambda system, x, state: self._opened(system, x, state, index + 1),
                    lambda system, x, state: state,
                    *(system, new, following),
                )
            info = StepInfo(
                residual=jnp.where(move, info.residual, jnp.inf) if last else jnp.full(frontier.shape, jnp.inf),
                frontier=jnp.where(failed, frontier, exact).astype(jnp.int32),
                num_steps=jnp.asarray(info.num_steps, jnp.int32),
                sweeps=jnp.asarray(info.sweeps * (length / num_equations), jnp.float32),
            )
            return new, following, info

        return step

    def _opened(self, system: Any, x: Any, state: SegmentedState, index: int) -> SegmentedState:
        """The state with segment ``index`` in work, once the segments before it are solved."""
        inputs = system.next_inputs(index - 1, state.inputs[index - 1], x[index - 1])
        inner = self.inner.init(system.segment(index, inputs), x[index])
        return SegmentedState(
            jnp.int32(index),
            (*state.inputs[:index], inputs, *state.inputs[index + 1 :]),
            (*state.inner[:index], inner, *state.inner[index + 1 :]),
        )

    def _all_states(self, system: Any, x: Any) -> list[Any]:
        """The inner solver's first state in every segment."""
        return [self.inner.init(segment, x[i]) for i, segment in enumerate(_all_segments(system))]


def _all_inputs(system: Any) -> list[Any]:
    """What every segment reads, were the initial guess the solution: what matters is its shapes."""
    x, inputs = system.initial_guess(), [system.first_inputs()]
    for index in range(system.num_segments - 1):
        inputs.append(system.next_inputs(index, inputs[-1], x[index]))
    return inputs


def _all_segments(system: Any) -> list[Any]:
    """The system of every segment, for its shapes."""
    return [system.segment(index, inputs) for index, inputs in enumerate(_all_inputs(system))]


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
