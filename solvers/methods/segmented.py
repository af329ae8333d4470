"""Segments in order, each by a solver of its own kind: GS-Jacobi where segments differ in shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from ..composite import CompositeSolver
from ..solver import Solver, StepInfo
from ..system import SegmentedSystem
from .jacobi import Jacobi


class SegmentedState(NamedTuple):
    """The segment in work, and for every segment its inputs from those before it and the inner solver's state."""

    current: Int[Array, ""]
    inputs: tuple[Any, ...]  # zeros for segments to come
    inner: tuple[Any, ...]


@dataclass(frozen=True)
class Segmented(CompositeSolver):
    """Gauss-Seidel over segments, each solved by an inner solver from the values of the segments before it.

    A step is one step of the inner solver on one segment. The next segment begins, and its inputs are computed, when
    every sample of the batch has met ``tol`` in this one. With Jacobi inside this is GS-Jacobi with a block for each
    segment (Song et al., ICML 2021); with cached_sequential, forward substitution, by default a segment in a step.

    ``solver`` is the inner solver, any one that goes with the segments.
    """

    requires: ClassVar[type] = SegmentedSystem
    admitted: ClassVar[str] = "any other solver"
    solver: Solver = Jacobi()
    tol: float = 0.0

    @classmethod
    def admits(cls, solver: Solver) -> bool:
        """Any solver but this one, as segments have no segments."""
        return not isinstance(solver, Segmented)

    def parts(self, system: Any) -> list[tuple[Any, Solver]]:
        """Every segment, solved by the inner solver."""
        return [(segment, self.inner.for_segment(segment)) for segment in jax.eval_shape(_all_segments, system)]

    def resolved(self, system: Any) -> Segmented:
        """The inner solver resolved where all segments agree on its options; else each segment has its own."""
        found = {self.inner.resolved(segment) for segment, _ in self.parts(system)}
        return replace(self, solver=found.pop()) if len(found) == 1 else self

    def max_steps(self, system: Any) -> int:
        """The inner solver's bound for each segment, and one step more to see that a sample in it is not finite."""
        return sum(inner.max_steps(segment) + 1 for segment, inner in self.parts(system))

    def init(self, system: Any, x: Any) -> SegmentedState:
        """The first segment in work, and zeros for those to come."""
        first = system.first_inputs()
        inputs = (first, *_zeros(jax.eval_shape(_all_inputs, system)[1:]))
        blank = _zeros(jax.eval_shape(self._all_states, system, x)[1:])
        return SegmentedState(jnp.int32(0), inputs, (self._begun(system.segment(0, first), x[0]), *blank))

    def step(
        self, system: Any, x: Any, state: SegmentedState, frontier: Int[Array, " B"]
    ) -> tuple[Any, SegmentedState, StepInfo]:
        """One inner step on the segment in work, which moves on if all samples have met the tolerance in it."""
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
            values, inner, info = self.inner.for_segment(segment).step(segment, x[index], state.inner[index], inside)
            move = jnp.all(info.meets(self.tol, x[index]) | failed)
            new = (*x[:index], values, *x[index + 1 :])
            # The values that the next segment builds on are never touched again, so they count as exact.
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
                relative=None if info.relative is None else jnp.max(info.relative, axis=0, keepdims=True),
            )
            return new, following, info

        return step

    def _opened(self, system: Any, x: Any, state: SegmentedState, index: int) -> SegmentedState:
        """The state with segment ``index`` in work, once the segments before it are solved."""
        inputs = system.next_inputs(index - 1, state.inputs[index - 1], x[index - 1])
        inner = self._begun(system.segment(index, inputs), x[index])
        return SegmentedState(
            jnp.int32(index),
            (*state.inputs[:index], inputs, *state.inputs[index + 1 :]),
            (*state.inner[:index], inner, *state.inner[index + 1 :]),
        )

    def _begun(self, segment: Any, x: Any) -> Any:
        """The inner solver's first state in a segment."""
        return self.inner.for_segment(segment).init(segment, x)

    def _all_states(self, system: Any, x: Any) -> list[Any]:
        """The inner solver's first state in every segment."""
        return [self._begun(segment, x[i]) for i, segment in enumerate(_all_segments(system))]


def _all_inputs(system: Any) -> list[Any]:
    """The inputs of every segment, were the initial guess the solution; only their shapes matter."""
    x, inputs = system.initial_guess(), [system.first_inputs()]
    for index in range(system.num_segments - 1):
        inputs.append(system.next_inputs(index, inputs[-1], x[index]))
    return inputs


def _all_segments(system: Any) -> list[Any]:
    """The system of every segment, of which only shapes matter."""
    return [system.segment(index, inputs) for index, inputs in enumerate(_all_inputs(system))]


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
