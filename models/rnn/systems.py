"""The forward and the backward pass of a recurrent network as systems of equations of order one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from models.rnn.cell import AffineCell, RecurrentCell, UnitwiseCell
from models.rnn.jacobian import StateJacobian, UnitJacobian
from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import Start, take_block
from solvers.trees.pytree import pytree

X = TypeVar("X")


@pytree
@dataclass(frozen=True)
class ForwardRNN(Recurrence):
    """h_t = cell(h_{t-1}, x_t) for t = 0 .. T-1. Satisfies LinearizedMarkovSystem and all that Recurrence does."""

    cell: RecurrentCell
    drive: Float[Array, "T B _"]  # what the inputs contribute to the gates: cell.project(inputs)
    initial_state: Any = None  # h_{-1}, leaves (B, H); default: the cell's

    def __post_init__(self) -> None:
        if self.initial_state is None:
            object.__setattr__(self, "initial_state", self.cell.initial_state(self.drive.shape[1]))

    @classmethod
    def of(cls, cell: RecurrentCell, inputs: Any, initial_state: Any = None) -> ForwardRNN:
        """The system of ``inputs`` (T, batch, I), from ``initial_state``, leaves (batch, H), or from the cell's.

        It is a UnitwiseRNN or an AffineRNN where the cell is such a one.

        Raises:
            ValueError: inputs or a state of another shape, or with values that are not finite (seen only where they
                are concrete, not while tracing).
        """
        inputs = jnp.asarray(inputs)
        if inputs.ndim != 3 or inputs.shape[-1] != cell.num_inputs:
            raise ValueError(f"inputs must be laid out as (T, batch, {cell.num_inputs}), not {inputs.shape}")
        inputs = inputs.astype(jnp.result_type(inputs, cell.input_kernel))
        state = cell.initial_state(inputs.shape[1])
        if initial_state is not None:
            _check_laid_out("the initial state", initial_state, state)
            state = initial_state
        _check_finite("the initial state", state)
        _check_finite("the inputs", inputs)
        kind = _forward_kind(cell)
        return kind(cell, cell.project(inputs), jax.tree.map(lambda a: jnp.asarray(a, inputs.dtype), state))

    @property
    def num_equations(self) -> int:
        """The number of equations, T."""
        return int(self.drive.shape[0])

    def transitions(self, previous: Any, start: Start) -> Any:
        """One step from each of ``previous``; see Recurrence."""
        return self.cell.step(previous, self._drive_of(previous, start))

    def jacobians(self, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D D"]]:
        """Steps and their Jacobians; see LinearizedMarkovSystem."""
        new, jacobian = self.cell.linearize(previous, self._drive_of(previous, start))
        return new, jacobian.matrix()

    def jacobian_diagonals(self, previous: Any, start: Start) -> tuple[Any, Float[Array, "S B D"]]:
        """Steps and the diagonals of their Jacobians; see LinearizedMarkovSystem."""
        new, jacobian = self.cell.linearize(previous, self._drive_of(previous, start))
        return new, jacobian.diagonal()

    def _drive_of(self, previous: Any, start: Start) -> Float[Array, "S B _"]:
        return take_block(self.drive, start, jax.tree.leaves(previous)[0].shape[0])


@pytree
@dataclass(frozen=True)
class UnitwiseRNN(ForwardRNN):
    """The forward pass of a cell whose units do not read one another. Satisfies StructuredMarkovSystem too."""

    cell: UnitwiseCell

    def structured_jacobians(
        self, previous: Any, start: Start
    ) -> tuple[Any, Float[Array, "S B H"] | Float[Array, "S B H P P"]]:
        """Steps and the diagonals or the blocks of their Jacobians; see StructuredMarkovSystem."""
        new, jacobian = self.cell.linearize(previous, self._drive_of(previous, start))
        return new, jacobian.structured()


@pytree
@dataclass(frozen=True)
class AffineRNN(UnitwiseRNN):
    """The forward pass of a cell whose step is affine in the state. Satisfies AffineMarkovSystem too."""

    cell: AffineCell

    def affine(self) -> tuple[Float[Array, "T B H"] | Float[Array, "T B H P P"], Float[Array, "T B D"]]:
        """The diagonals or the blocks of all steps, and what each makes of a state of zeros; see AffineMarkovSystem."""
        zeros = jax.tree.map(jnp.zeros_like, self.initial_guess())
        offsets, jacobian = self.cell.linearize(zeros, self.drive)
        return jacobian.structured(), self.cell.ravel(offsets)


def _forward_kind(cell: RecurrentCell) -> type[ForwardRNN]:
    if isinstance(cell, AffineCell):
        return AffineRNN
    return UnitwiseRNN if isinstance(cell, UnitwiseCell) else ForwardRNN


@pytree
@dataclass(frozen=True)
class BackwardRNN(Recurrence):
    """g_t = J_{t+1}^T g_{t+1} + b_t, the gradient of a loss with respect to every state, from the last to the first.

    b_t is the loss's derivative with respect to h_t where it reads h_t itself, J_t the Jacobian of step t. Equation s
    is time T-1-s, and the state before it is zero. A state is (B, D), the features of the forward state side by side.
    Satisfies AffineMarkovSystem, LinearizedMarkovSystem and all that Recurrence does.
    """

    jacobian: StateJacobian  # rows (T, B): equation s has J_{T-s}; its first row is zero
    source: Float[Array, "T B D"]  # b, in the order of equations
    initial_state: Any = None  # zero

    def __post_init__(self) -> None:
        if self.initial_state is None:
            object.__setattr__(self, "initial_state", jnp.zeros(self.source.shape[1:], self.source.dtype))

    @classmethod
    def of(cls, cell: RecurrentCell, states: Any, drive: Array, output_gradients: Any) -> BackwardRNN:
        """The adjoint of the system ForwardRNN(cell, drive) at its solution.

        Args:
            cell: the cell.
            states: h_0 .. h_{T-1}, leaves (T, batch, H).
            drive: (T, batch, G * H), ``ForwardRNN.drive``.
            output_gradients: the loss's partial derivatives with respect to the states, b, laid out like them; zeros
                in the parts that it does not read.

        Raises:
            ValueError: shapes that do not go together.
        """
        wide = cell.num_gates * cell.hidden_size
        if drive.ndim != 3 or drive.shape[-1] != wide:
            raise ValueError(f"the drive must be laid out as (T, batch, {wide}), not {drive.shape}")
        num_equations, batch = drive.shape[:2]
        row = cell.initial_state(batch)
        like = jax.tree.map(lambda a: jax.ShapeDtypeStruct((num_equations, *a.shape), a.dtype), row)
        _check_laid_out("the states", states, like)
        _check_laid_out("the output gradients", output_gradients, like)
        # The step from time t reads h_t and the drive of time t + 1.
        last = jax.tree.map(lambda a: a[:-1], states)
        _, jacobian = cell.linearize(last, drive[1:])
        rows = jacobian.map_rows(lambda a: _behind_zero(a[::-1])[:num_equations])
        source = cell.ravel(output_gradients)[::-1]
        return UnitwiseBackwardRNN(rows, source) if isinstance(rows, UnitJacobian) else BackwardRNN(rows, source)

    @staticmethod
    def in_time(x: X) -> X:
        """Equations in the order of time, (T, ...) for (T, ...); applied twice it changes nothing."""
        flipped: X = jax.tree.map(lambda a: a[::-1], x)
        return flipped

    @property
    def num_equations(self) -> int:
        """The number of equations, T."""
        return int(self.source.shape[0])

    def affine(self) -> tuple[Float[Array, "T B *F"], Float[Array, "T B D"]]:
        """The transposed Jacobians and b; see AffineMarkovSystem."""
        return jnp.swapaxes(self.jacobian.matrix(), -1, -2), self.source

    def transitions(self, previous: Float[Array, "S B D"], start: Start) -> Float[Array, "S B D"]:
        """One step back in time from each of ``previous``; see Recurrence."""
        size = previous.shape[0]
        return self._rows(start, size).pull(previous) + take_block(self.source, start, size)

    def jacobians(
        self, previous: Float[Array, "S B D"], start: Start
    ) -> tuple[Float[Array, "S B D"], Float[Array, "S B D D"]]:
        """Steps and A, whatever ``previous`` is; see LinearizedMarkovSystem."""
        rows = self._rows(start, previous.shape[0])
        return self.transitions(previous, start), jnp.swapaxes(rows.matrix(), -1, -2)

    def jacobian_diagonals(
        self, previous: Float[Array, "S B D"], start: Start
    ) -> tuple[Float[Array, "S B D"], Float[Array, "S B D"]]:
        """Steps and the diagonals of A; see LinearizedMarkovSystem."""
        return self.transitions(previous, start), self._rows(start, previous.shape[0]).diagonal()

    def _rows(self, start: Start, size: int) -> StateJacobian:
        return self.jacobian.map_rows(lambda a: take_block(a, start, size))


@pytree
@dataclass(frozen=True)
class UnitwiseBackwardRNN(BackwardRNN):
    """The backward pass of a cell whose units do not read one another. Satisfies StructuredMarkovSystem too."""

    jacobian: UnitJacobian

    def affine(self) -> tuple[Float[Array, "T B H"] | Float[Array, "T B H P P"], Float[Array, "T B D"]]:
        """The diagonals or the blocks of the transposed Jacobians and b; see AffineMarkovSystem."""
        return self.jacobian.transposed().structured(), self.source

    def structured_jacobians(
        self, previous: Float[Array, "S B D"], start: Start
    ) -> tuple[Float[Array, "S B D"], Float[Array, "S B H"] | Float[Array, "S B H P P"]]:
        """Steps and the diagonals or the blocks of A, whatever ``previous`` is; see StructuredMarkovSystem."""
        size = previous.shape[0]
        rows = self.jacobian.map_rows(lambda a: take_block(a, start, size))
        return self.transitions(previous, start), rows.transposed().structured()


def _behind_zero(rows: Array) -> Array:
    return jnp.concatenate([jnp.zeros_like(rows, shape=(1, *rows.shape[1:])), rows])


def _check_laid_out(name: str, given: Any, expected: Any) -> None:
    """Raise ValueError unless ``given`` has the structure and the shapes of ``expected``."""
    found, wanted = (jax.tree.map(np.shape, tree) for tree in (given, expected))
    if found != wanted:
        raise ValueError(f"{name} must be laid out as {wanted}, not {found}")


def _check_finite(name: str, values: Any) -> None:
    """Raise ValueError where a value is NaN or infinite; values that are being traced are not looked at."""
    for leaf in jax.tree.leaves(values):
        if not isinstance(leaf, jax.core.Tracer) and not np.all(np.isfinite(np.asarray(leaf))):
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(np.asarray(leaf)))[0])
            raise ValueError(f"{name} must be finite; the value at {where} is {np.asarray(leaf)[where]}")
