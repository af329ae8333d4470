"""Windows in order, each solved by a Newton-type solver: for sequences whose Jacobians do not fit in memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from common.blocks import Start, put_block, take_block
from common.names import unknown
from common.pytree import pytree
from common.recurrence import Recurrence
from solvers.equations import finite_equations, magnitude
from solvers.linear.linearize import ravel, transitions
from solvers.solver import StepInfo
from solvers.system import LinearizedMarkovSystem, MarkovSystem


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
        """The length."""
        return self.length

    def transitions(self, previous: Any, start: Start) -> Any:
        """Equations of the window."""
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
    """A window of a system that tells its derivatives, which are those of the window's equations."""

    def jacobians(self, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D D"]]:
        """Equations of the window, and the Jacobians; those of the padding are not read."""
        values, matrices = self.system.jacobians(previous, self.start + start)
        return self.without_padding(values, start), matrices

    def jacobian_diagonals(self, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
        """Equations of the window, and the diagonals; those of the padding are not read."""
        values, matrices = self.system.jacobian_diagonals(previous, self.start + start)
        return self.without_padding(values, start), matrices


class WindowedState(NamedTuple):
    """Where the window in work begins, and the inner solver's state."""

    start: Int[Array, ""]
    inner: Any


@dataclass(frozen=True)
class Windowed:
    """Gauss-Seidel over windows, each solved by an inner solver from the last state of the window before it.

    A step is one step of the inner solver on one window. The next window begins when every sample of the batch has met
    ``tol`` in this one, and what it begins from is not iterated any more.

    ``solver``: a name in SOLVERS, with that solver's default options, or an instance: newton, quasi_newton, picard, elk
    or quasi_elk. ``memory_mib`` bounds the inner solver's working memory, all samples together, and thereby the
    length of a window: as many equations as fit. The system's own arrays and the state x, which are there for any
    solver, are not in it, nor what the system needs on the way to its transitions.
    """

    requires: ClassVar[type] = MarkovSystem
    solver: Any = "newton"
    memory_mib: float = 256.0
    tol: float = 1e-6

    def __post_init__(self) -> None:
        if not self.memory_mib > 0:
            raise ValueError(f"memory_mib must be positive, not {self.memory_mib}")
        names = _inner_solvers()
        if isinstance(self.solver, str):
            if self.solver not in names:
                raise ValueError(unknown("solver", self.solver, names) + " (of windows)")
        elif type(self.solver) not in names.values():
            raise ValueError(f"solver should be one of {', '.join(names)}, or an instance of one, not {self.solver!r}")

    @property
    def inner(self) -> Any:
        """The solver of the windows."""
        solver = _inner_solvers()[self.solver]() if isinstance(self.solver, str) else self.solver
        return dataclasses.replace(solver, tol=self.tol)

    def window_length(self, system: Any) -> int:
        """Equations in a window: what the memory holds, evened out over the windows.

        Raises ValueError where it does not hold one.
        """
        flat = jax.eval_shape(lambda: ravel(system.initial_guess()))
        num_equations, batch, features = flat.shape
        bytes_each = max(1, batch * self.inner.floats_per_equation(features) * flat.dtype.itemsize)
        longest = int(self.memory_mib * 2**20) // bytes_each
        if longest < 1:
            raise ValueError(
                f"memory_mib {self.memory_mib:g} does not hold one equation of {batch} samples and {features} "
                f"features: {type(self.inner).__name__} needs {bytes_each / 2**20:.3g} MiB for it"
            )
        return -(-num_equations // -(-num_equations // longest)) if num_equations else 1

    def max_steps(self, system: Any) -> int:
        """The inner solver's bound for each window."""
        length = self.window_length(system)
        first = _window(system, jnp.int32(0), system.initial_state, length)
        return -(-int(system.num_equations) // length) * int(self.inner.max_steps(first))

    def init(self, system: Any, x: Any) -> WindowedState:
        """The first window."""
        length = self.window_length(system)
        blank = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape[1:]), leaf.dtype), x)
        block = take_block(x, 0, length) if system.num_equations else blank
        window = _window(system, jnp.int32(0), system.initial_state, length)
        return WindowedState(jnp.int32(0), self.inner.init(window, block))

    def step(
        self, system: Any, x: Any, state: WindowedState, frontier: Int[Array, " B"]
    ) -> tuple[Any, WindowedState, StepInfo]:
        """One inner step on the window in work; move on if all samples have met the tolerance in it."""
        num_equations, size = system.num_equations, self.window_length(system)
        start = state.start
        length = jnp.minimum(size, num_equations - start)  # the last window may be padded
        window, block = _cut(system, x, start, size)
        failed = frontier < 0  # such a sample must not hold up the others
        inside = jnp.where(failed, -1, jnp.clip(frontier - start, 0, length))
        values, inner, info = self.inner.step(window, block, state.inner, inside)
        values = window.without_padding(values)
        move = jnp.all(self._settled(block, values, info) | failed)
        complete = move & (start + length == num_equations)
        new = put_block(x, values, start)
        following = jnp.where(move & ~complete, start + size, start)
        # What the next window builds on is never touched again, so it counts as exact.
        exact = start + jnp.where(move, length, jnp.minimum(info.frontier, length))
        info = StepInfo(
            residual=jnp.where(complete, info.residual, jnp.inf),
            frontier=jnp.where(failed, frontier, exact).astype(jnp.int32),
            num_steps=info.num_steps,
            sweeps=info.sweeps * length / num_equations,
        )
        fresh = self.inner.init(*_cut(system, new, following, size))
        inner = jax.tree.map(lambda a, b: jnp.where(move, a, b), fresh, inner)
        return new, WindowedState(following, inner), info

    def _settled(self, block: Any, values: Any, info: StepInfo) -> Bool[Array, " B"]:
        """Which samples have met the tolerance with values that the next window can begin from."""
        size = jax.tree.leaves(values)[0].shape[0]
        scale = jnp.maximum(1.0, magnitude(block)) if self.tol else 1.0
        return (info.residual <= self.tol * scale) & jnp.all(finite_equations(values, size), axis=0)


def _inner_solvers() -> dict[str, Any]:
    """The solvers that know how much memory an equation takes."""
    from solvers import SOLVERS  # the table imports this module

    return {name: kind for name, kind in SOLVERS.items() if hasattr(kind, "floats_per_equation")}


def _cut(system: Any, x: Any, start: Int[Array, ""], length: int) -> tuple[Window, Any]:
    """The window from ``start``, behind the last value before it, and the guesses inside."""

    def last(first: Array, leaf: Array) -> Array:
        return jnp.where(start > 0, lax.dynamic_index_in_dim(leaf, jnp.maximum(start - 1, 0), keepdims=False), first)

    window = _window(system, start, jax.tree.map(last, system.initial_state, x), length)
    return window, window.without_padding(take_block(x, start, length))


def _window(system: Any, start: Int[Array, ""], initial_state: Any, length: int) -> Window:
    kind = LinearizedWindow if isinstance(system, LinearizedMarkovSystem) else Window
    return kind(system, start, initial_state, length)
