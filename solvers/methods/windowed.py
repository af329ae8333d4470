"""Windows in order, each solved by a Newton-type solver: for sequences whose Jacobians do not fit in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..composite import CompositeSolver
from ..equations import compare, finite_equations, prefix_mask, select
from ..linear.linearize import ravel, transitions
from ..solver import Solver, StepInfo
from ..system import LinearizedMarkovSystem, MarkovSystem, StructuredMarkovSystem
from ..systems.recurrence import Recurrence
from ..trees.blocks import Start, put_block, take_block
from ..trees.pytree import pytree
from .newton import Newton


@pytree
@dataclass(frozen=True)
class Window(Recurrence):
    """``length`` equations of an order-one system from ``start``, which follow ``initial_state``.

    Those past the system's end are zero, whatever is before them.
    """

    system: Any
    start: Int[Array, ""]
    initial_state: Any
    length: int = field(metadata={"static": True})

    @property
    def num_equations(self) -> int:
        """The length of the window."""
        return self.length

    def transitions(self, previous: Any, start: Start) -> Any:
        """The equations of the window, zero in its padding."""
        return self.without_padding(transitions(self.system, previous, self.start + start), start)

    def without_padding(self, x: Any, start: Start = 0) -> Any:
        """``x``, rows from ``start`` of the window, with zeros past the system's end."""
        if self.system.num_equations % self.length == 0:
            return x
        size = jax.tree.leaves(x)[0].shape[0]
        inside = self.start + start + jnp.arange(size) < self.system.num_equations

        def keep(leaf: Array) -> Array:
            return jnp.where(inside.reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf))

        return jax.tree.map(keep, x)


@pytree
@dataclass(frozen=True)
class LinearizedWindow(Window):
    """A window of a system with derivatives of its own, which are those of the window's equations."""

    def jacobians(self, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D D"]]:
        """The equations of the window and their Jacobians; those of the padding are not read."""
        values, matrices = self.system.jacobians(previous, self.start + start)
        return self.without_padding(values, start), matrices

    def jacobian_diagonals(self, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
        """The equations of the window and the diagonals of their Jacobians; those of the padding are not read."""
        values, matrices = self.system.jacobian_diagonals(previous, self.start + start)
        return self.without_padding(values, start), matrices


@pytree
@dataclass(frozen=True)
class StructuredWindow(Window):
    """A window of a system that tells what stands for its Jacobians, which does so for the window's equations."""

    def structured_jacobians(self, previous: Any, start: Start) -> tuple[Any, Array]:
        """The equations of the window and what stands for their Jacobians; those of the padding are not read."""
        values, found = self.system.structured_jacobians(previous, self.start + start)
        return self.without_padding(values, start), found


@pytree
@dataclass(frozen=True)
class LinearizedStructuredWindow(LinearizedWindow, StructuredWindow):
    """A window of a system that has derivatives of its own and tells of others too."""


# The kind of window by whether a system is linearized, and whether it is structured.
_WINDOWS = {
    (False, False): Window,
    (True, False): LinearizedWindow,
    (False, True): StructuredWindow,
    (True, True): LinearizedStructuredWindow,
}


class WindowedState(NamedTuple):
    """The start of the window in work, and the inner solver's state."""

    start: Int[Array, ""]
    inner: Any


@dataclass(frozen=True)
class Windowed(CompositeSolver):
    """Gauss-Seidel over windows, each solved by an inner solver from the last state of the window before it.

    A step is one step of the inner solver on one window. The next window begins when every sample of the batch has met
    ``tol`` in this one, and the value that it begins from is not iterated any more.

    ``solver`` is the inner solver, one that states its working memory: Newton, QuasiNewton, Picard, ELK or QuasiELK.
    ``memory_mib`` bounds that memory, all samples together, and thereby the length of a window: as many equations as
    fit. The system's own arrays and the state x, which are there for any solver, are not in it, nor is the memory that
    the system needs on the way to its transitions.

    With ``slide`` the window does not wait for all of itself: after each step it moves on past the leading equations
    that have met ``tol`` in every sample, and the equations that come in begin at the window's last state (Shih et al.,
    "Parallel sampling of diffusion models", NeurIPS 2023, arXiv 2305.16317: ParaDiGMS). Fewer steps for the same
    memory; what the inner solver remembers, such as ELK's damping, begins anew where the window moves.
    """

    requires: ClassVar[type] = MarkovSystem
    admitted: ClassVar[str] = "solvers that state their memory (floats_per_equation), such as Newton() or QuasiNewton()"
    solver: Solver = Newton()
    memory_mib: float = 256.0
    slide: bool = False
    tol: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.memory_mib > 0:
            raise ValueError(f"memory_mib must be positive, not {self.memory_mib}")

    @classmethod
    def admits(cls, solver: Solver) -> bool:
        """Solvers that state the memory which an equation takes, as the length of a window follows from it."""
        return solver.floats_per_equation(1) is not None

    def parts(self, system: Any) -> list[tuple[Any, Solver]]:
        """A window, solved by the inner solver; one stands for all."""
        return [(_shape_of_window(system, 1), self.inner)]

    def window_length(self, system: Any) -> int:
        """The number of equations in a window: as many as the memory holds, evened out over the windows.

        Raises ValueError where it does not hold one.
        """
        flat = jax.eval_shape(lambda system: ravel(system.initial_guess()), system)
        num_equations, batch, features = flat.shape
        bytes_each = max(1, batch * (self.solver.floats_per_equation(features) or 0) * flat.dtype.itemsize)
        longest = int(self.memory_mib * 2**20) // bytes_each
        if longest < 1:
            raise ValueError(
                f"memory_mib {self.memory_mib:g} does not hold one equation of {batch} samples and {features} "
                f"features: {type(self.solver).__name__} needs {bytes_each / 2**20:.3g} MiB for it"
            )
        return -(-num_equations // -(-num_equations // longest)) if num_equations else 1

    def max_steps(self, system: Any) -> int:
        """The inner solver's bound for each window; of one that slides a step for each equation, and one to confirm."""
        length = self.window_length(system)
        if self.slide:
            self.inner.max_steps(_shape_of_window(system, length))  # which refuses options that do not go with it
            return int(system.num_equations) + 1
        return -(-int(system.num_equations) // length) * self.inner.max_steps(_shape_of_window(system, length))

    def init(self, system: Any, x: Any) -> WindowedState:
        """The first window in work."""
        length = self.window_length(system)
        blank = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape[1:]), leaf.dtype), x)
        block = take_block(x, 0, length) if system.num_equations else blank
        window = _window(system, jnp.int32(0), system.initial_state, length)
        return WindowedState(jnp.int32(0), self.inner.init(window, block))

    def step(
        self, system: Any, x: Any, state: WindowedState, frontier: Int[Array, " B"]
    ) -> tuple[Any, WindowedState, StepInfo]:
        """One inner step on the window in work, which moves on by what all samples have done of it."""
        num_equations, size = system.num_equations, self.window_length(system)
        start = state.start
        length = jnp.minimum(size, num_equations - start)  # the last window may be padded
        window, block = _cut(system, x, start, size)
        failed = frontier < 0  # such a sample must not hold up the others
        inside = jnp.where(failed, -1, jnp.clip(frontier - start, 0, length))
        values, inner, info = self.inner.step(window, block, state.inner, inside)
        values = window.without_padding(values)
        whole = jnp.all(self._settled(block, values, info) | failed)
        done = jnp.where(whole, length, 0)
        if self.slide:
            leading, values = self._left_behind(block, values, info, failed)
            done = jnp.where(whole, length, leading)
        complete = start + done == num_equations
        new = put_block(x, values, start)
        # One that slides ends where the system does; others may be padded.
        following = jnp.where(complete, start, start + done)
        if self.slide:
            following = jnp.minimum(following, num_equations - size)
            new = _begun(new, values, start, following)
        # What the next window builds on counts as exact.
        exact = start + jnp.maximum(done, jnp.minimum(info.frontier, length))
        info = StepInfo(
            residual=jnp.where(complete, info.residual, jnp.inf),
            frontier=jnp.where(failed, frontier, exact).astype(jnp.int32),
            num_steps=info.num_steps,
            sweeps=info.sweeps * length / num_equations,
            relative=info.relative,
        )
        fresh = self.inner.init(*_cut(system, new, following, size))
        inner = jax.tree.map(lambda a, b: jnp.where(following > start, a, b), fresh, inner)
        return new, WindowedState(following, inner), info

    def _left_behind(
        self, block: Any, values: Any, info: StepInfo, failed: Bool[Array, " B"]
    ) -> tuple[Int[Array, ""], Any]:
        """How many leading equations of the window all samples have done, and the window's values.

        Those of a sample are exact after the step; or they were within the tolerance before it, and the step has not
        moved them by more, as small residuals add up where deviations grow. The latter keep the values of which that is
        known. A sample whose exact values are not finite goes back to where it was, and leaves none behind.
        """
        size = jax.tree.leaves(values)[0].shape[0]
        finite = finite_equations(values, size)
        met = jnp.zeros((size, 1), bool) if info.relative is None else info.relative <= self.tol
        met &= (compare(values, block, size).relative <= self.tol) & finite
        within = jnp.sum(jnp.cumprod(met.astype(jnp.int32), axis=0), axis=0)
        exact = jnp.where(jnp.all(finite | ~prefix_mask(info.frontier, size), axis=0), info.frontier, 0)
        leading = jnp.min(jnp.where(failed, size, jnp.maximum(within, exact))).astype(jnp.int32)
        kept = prefix_mask(jnp.where(failed | (exact >= leading), 0, leading), size)
        return leading, select(kept, block, values)

    def _settled(self, block: Any, values: Any, info: StepInfo) -> Bool[Array, " B"]:
        """A mask of the samples that have met the tolerance with values that the next window can begin from."""
        size = jax.tree.leaves(values)[0].shape[0]
        return info.meets(self.tol, block) & jnp.all(finite_equations(values, size), axis=0)


def _begun(x: Any, values: Any, start: Int[Array, ""], following: Int[Array, ""]) -> Any:
    """``x``, in which the equations that come into a window as it moves begin at its last state."""

    def begin(leaf: Array, block: Array) -> Array:
        size = block.shape[0]
        rows = lax.dynamic_slice_in_dim(leaf, following, size)
        comes_in = following + jnp.arange(size) >= start + size
        rows = jnp.where(comes_in.reshape((-1,) + (1,) * (leaf.ndim - 1)), block[-1:].astype(leaf.dtype), rows)
        return lax.dynamic_update_slice_in_dim(leaf, rows, following, 0)

    return jax.tree.map(begin, x, values)


def _cut(system: Any, x: Any, start: Int[Array, ""], length: int) -> tuple[Window, Any]:
    """The window from ``start``, behind the last value before it, and the guesses inside."""

    def last(first: Array, leaf: Array) -> Array:
        return jnp.where(start > 0, lax.dynamic_index_in_dim(leaf, jnp.maximum(start - 1, 0), keepdims=False), first)

    window = _window(system, start, jax.tree.map(last, system.initial_state, x), length)
    return window, window.without_padding(take_block(x, start, length))


def _shape_of_window(system: Any, length: int) -> Window:
    """A window whose arrays have shapes and no values."""
    window: Window = jax.eval_shape(lambda system: _window(system, jnp.int32(0), system.initial_state, length), system)
    return window


def _window(system: Any, start: Int[Array, ""], initial_state: Any, length: int) -> Window:
    kind = _WINDOWS[isinstance(system, LinearizedMarkovSystem), isinstance(system, StructuredMarkovSystem)]
    return kind(system, start, initial_state, length)
