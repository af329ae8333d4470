"""What may stand for the Jacobians in Newton's method: each choice has its matrices, its price, and the one answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from solvers import CachedSequential, Newton, PairingError, Recurrence, Windowed, solve
from solvers.linear.blocks import as_matrices, in_lanes, in_rows
from solvers.linear.choices import CHOICES
from solvers.linear.linearize import jacobian_blocks, jacobians, structured
from solvers.linear.prefix_scan import affine_scan
from solvers.trees.pytree import pytree

UNITS, BATCH, STEPS = 3, 2, 60


@pytree
@dataclass(frozen=True)
class Oscillators(Recurrence):
    """Damped pendulums that do not read one another, in leapfrog steps: a state is (positions, momenta)."""

    frequency: Array  # (UNITS,)
    initial_state: Any

    @property
    def num_equations(self) -> int:
        """The number of steps."""
        return STEPS

    def transitions(self, previous: Any, start: Any) -> Any:
        """A kick, and a drift."""
        q, p = previous
        p = 0.6 * p - 0.3 * jnp.sin(self.frequency * q)
        return q + 0.3 * p, p


@pytree
@dataclass(frozen=True)
class Structured(Oscillators):
    """The same, with blocks of two by hand."""

    def structured_jacobians(self, previous: Any, start: Any) -> tuple[Any, Array]:
        """d p' / d q = -0.3 w cos(w q), d p' / d p = 0.6, and q' = q + 0.3 p'."""
        q = previous[0]
        a = -0.3 * self.frequency * jnp.cos(self.frequency * q)
        b = jnp.full_like(a, 0.6)
        rows = [jnp.stack([1 + 0.3 * a, 0.3 * b], axis=-1), jnp.stack([a, b], axis=-1)]
        return self.transitions(previous, start), jnp.stack(rows, axis=-2)


@pytree
@dataclass(frozen=True)
class Rotations(Recurrence):
    """Complex units x' = a x + 1, whose Jacobians are complex diagonals."""

    a: Array  # (UNITS,)
    initial_state: Array

    @property
    def num_equations(self) -> int:
        """The number of steps."""
        return STEPS

    def transitions(self, previous: Array, start: Any) -> Array:
        """Turned, shortened and moved."""
        return self.a * previous + 1

    def structured_jacobians(self, previous: Array, start: Any) -> tuple[Array, Array]:
        """The diagonals a."""
        return self.transitions(previous, start), jnp.broadcast_to(self.a, previous.shape)


def oscillators(kind: type[Oscillators]) -> Any:
    q = jnp.linspace(-1.0, 1.0, BATCH * UNITS, dtype=jnp.float32).reshape(BATCH, UNITS)
    return kind(jnp.asarray([0.5, 1.0, 2.0], jnp.float32), (q, q + 0.1))


def rotations() -> Rotations:
    a = 0.95 * jnp.exp(1j * jnp.asarray([0.1, 0.7, 2.0]))
    return Rotations(a.astype(jnp.complex64), jnp.ones((BATCH, UNITS), jnp.complex64))


def before(system: Any) -> Any:
    """Any states to linearize at."""
    keys = iter(jax.random.split(jax.random.key(1), 2))
    return jax.tree.map(
        lambda leaf: jax.random.normal(next(keys), (5, *leaf.shape)).astype(leaf.dtype), system.initial_state
    )


def close(a: Any, b: Any, atol: float = 1e-6) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=0), a, b)


def test_block_k_has_the_features_k_of_all_leaves() -> None:
    rows = jnp.arange(6.0)  # positions 0, 1, 2, momenta 3, 4, 5
    assert in_lanes(rows, UNITS).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert in_rows(in_lanes(rows, UNITS)).tolist() == rows.tolist()


def test_what_a_system_tells_is_what_derivatives_are() -> None:
    """Here it is exact; the blocks that derivatives have are the same."""
    for system in (oscillators(Structured), rotations()):
        previous = before(system)
        _, told = structured(system, previous, 0)
        full = as_matrices(told)
        close(jacobians(system, previous, 0)[1], full)
        close(jacobian_blocks(system, previous, 0, 2)[1], told)
        close(jacobian_blocks(system, previous, 0, 1)[1][..., 0, 0], jnp.diagonal(full, axis1=-2, axis2=-1))


def test_derivatives_of_solutions_do_not_believe_what_a_system_tells() -> None:
    @pytree
    @dataclass(frozen=True)
    class Rough(Structured):
        """Which tells half of its Jacobians."""

        def structured_jacobians(self, previous: Any, start: Any) -> tuple[Any, Array]:
            values, found = Structured.structured_jacobians(self, previous, start)
            return values, 0.5 * found

    def end(system: Any, momenta: Array, solver: Any) -> Array:
        system = replace(system, initial_state=(system.initial_state[0], momenta))
        return jnp.sum(solve(system, solver).value[0][-1])

    rough, plain = oscillators(Rough), oscillators(Oscillators)
    momenta = plain.initial_state[1]
    found = jax.grad(end, argnums=1)(rough, momenta, Newton(jacobian="system"))
    close(found, jax.grad(end, argnums=1)(plain, momenta, CachedSequential()), 1e-6)


def test_blocks_scan_as_the_full_matrices_do() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    a = 0.5 * jax.random.normal(keys[0], (STEPS, BATCH, UNITS, 2, 2))
    b = jax.random.normal(keys[1], (STEPS, BATCH, 2 * UNITS))
    initial = jax.random.normal(keys[2], (BATCH, 2 * UNITS))
    close(affine_scan(a, b, initial), affine_scan(as_matrices(a), b, initial), 1e-4)


def test_every_choice_has_the_one_answer() -> None:
    system = oscillators(Structured)
    exact = solve(system, CachedSequential()).value
    steps, sweeps = {}, {}
    for choice in CHOICES:
        solution = solve(system, Newton(jacobian=choice))
        close(solution.value, exact, 2e-6)
        steps[choice] = int(solution.stats.num_steps)
        sweeps[choice] = float(solution.stats.sweep_equivalents)
    # They are the full Jacobians here; how steps end differs, and how they round.
    assert abs(steps["block_diagonal"] - steps["system"]) <= 1
    assert abs(steps["system"] - steps["full"]) <= 2
    assert steps["system"] < min(steps["diagonal"], steps["scalar"], steps["identity"])
    assert sweeps["system"] == 2 * steps["system"]
    assert sweeps["identity"] == steps["identity"]


def test_units_that_do_not_read_one_another_take_one_step_where_they_are_linear() -> None:
    system = rotations()
    solution = solve(system, Newton(jacobian="system"))
    assert int(solution.stats.num_steps) == 2
    close(solution.value, solve(system, CachedSequential()).value, 1e-5)


def test_a_window_tells_what_its_system_tells() -> None:
    system = oscillators(Structured)
    solver = Windowed(Newton(jacobian="system"), memory_mib=0.04)
    assert 1 < solver.window_length(system) < STEPS
    solution = solve(system, solver)
    close(solution.value, solve(system, CachedSequential()).value, 2e-6)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Newton(jacobian="system"), "jacobian 'system' needs a StructuredMarkovSystem.*use 'full' or 'diagonal'"),
        (
            Newton(jacobian="block_diagonal", block_size=4),
            "block_size 4 does not divide the 6 features of Oscillators's state; use one of 2, 3, 6",
        ),
    ],
)
def test_a_choice_that_a_system_does_not_have_is_refused(solver: Newton, message: str) -> None:
    with pytest.raises(PairingError, match=message):
        solve(oscillators(Oscillators), solver)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jacobian": "diag"}, "jacobian must be one of full, diagonal, .*, not 'diag'"),
        ({"block_size": 0}, "block_size must be at least 1, not 0"),
        ({"probes": 2}, "probes estimate the jacobians diagonal and scalar, not 'full'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Newton(**options)


def test_complex_blocks_are_refused() -> None:
    @pytree
    @dataclass(frozen=True)
    class Blocks(Rotations):
        def structured_jacobians(self, previous: Array, start: Any) -> tuple[Array, Array]:
            values, found = Rotations.structured_jacobians(self, previous, start)
            return values, found[..., None, None]

    system = rotations()
    with pytest.raises(ValueError, match="complex structured Jacobians have to be the diagonals"):
        structured(Blocks(system.a, system.initial_state), before(system), 0)
