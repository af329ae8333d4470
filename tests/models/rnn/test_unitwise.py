"""Cells whose units do not read one another: their equations, structured Jacobians, systems and first weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.rnn.cell import AffineCell, RecurrentCell
from models.rnn.cells import GRUCell
from models.rnn.gradients import backward_system
from models.rnn.model import RNN, RNNConfig
from models.rnn.systems import AffineRNN, BackwardRNN, ForwardRNN, UnitwiseBackwardRNN, UnitwiseRNN
from models.rnn.unitwise import LRUCell
from solvers import AffineMarkovSystem, Newton, ParallelScan, check_system, solve

KINDS = ("para_gru", "para_lstm", "min_gru", "lru")
every_kind = pytest.mark.parametrize("kind", KINDS)


def random_cell(kind: str, width: int = 3, seed: int = 0) -> Any:
    """A cell of two inputs, all of whose weights are normal."""
    drawn = RNN(RNNConfig(kind, 2, width), rngs=nnx.Rngs(seed)).fold().cell
    leaves, treedef = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(treedef, [jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)])


def point(cell: RecurrentCell, seed: int = 0) -> tuple[Any, jax.Array]:
    """A state and a drive of (2, 3) rows."""
    keys = jax.random.split(jax.random.key(seed))
    width = cell.ravel(cell.initial_state(1)).shape[-1]
    return cell.unravel(jax.random.normal(keys[0], (2, 3, width))), cell.project(jax.random.normal(keys[1], (2, 3, 2)))


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-a))


def assert_close(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


def test_a_para_gru_is_a_gru_whose_matrices_are_diagonal() -> None:
    cell = random_cell("para_gru")
    dense = GRUCell(cell.input_kernel, jnp.concatenate([jnp.diag(row) for row in cell.kernel], axis=-1), cell.bias)
    state, drive = point(cell)
    (new, jacobian), (expected, full) = cell.linearize(state, drive), dense.linearize(state, drive)
    assert_close((new, jacobian.matrix()), (expected, full.matrix()))


def test_para_lstm_by_numpy() -> None:
    cell = random_cell("para_lstm")
    state, drive = point(cell)
    (a_f, a_o, a_g), (p_f, p_o) = np.asarray(cell.kernel), np.asarray(cell.peepholes)
    f, o, g = np.split(np.asarray(drive), 3, axis=-1)
    c, h = np.asarray(state["c"]), np.asarray(state["h"])
    f = sigmoid(f + a_f * h + p_f * c)
    c = f * c + (1 - f) * np.tanh(g + a_g * h)
    assert_close(cell.step(state, drive), {"c": c, "h": sigmoid(o + a_o * h + p_o * c) * np.tanh(c)})


def test_min_gru_by_numpy() -> None:
    cell = random_cell("min_gru")
    state, drive = point(cell)
    z, n = np.split(np.asarray(drive), 2, axis=-1)
    assert_close(cell.step(state, drive), (1 - sigmoid(z)) * n + sigmoid(z) * np.asarray(state))


def test_lru_is_a_complex_recurrence_within_the_unit_circle() -> None:
    cell = random_cell("lru")
    state, drive = point(cell)
    eigenvalues = np.exp(-np.exp(cell.nu) + 1j * np.exp(cell.theta))
    assert np.all(np.abs(eigenvalues) < 1)
    imaginary, real = np.split(np.asarray(drive), 2, axis=-1)
    expected = eigenvalues * (state["real"] + 1j * state["imaginary"]) + real + 1j * imaginary
    assert_close(cell.step(state, drive), {"real": expected.real, "imaginary": expected.imag})


@every_kind
def test_structured_jacobians_are_the_full_ones(kind: str) -> None:
    cell = random_cell(kind)
    _, jacobian = cell.linearize(*point(cell))
    found = jacobian.structured()
    blocks = found[..., None, None] if found.ndim == 3 else found
    units, parts = blocks.shape[-3:-1]
    full = np.zeros((2, 3, units * parts, units * parts), np.float32)
    for unit in range(units):  # feature part * units + unit
        full[..., unit::units, unit::units] = blocks[..., unit, :, :]
    np.testing.assert_array_equal(full, jacobian.matrix())
    np.testing.assert_array_equal(jacobian.transposed().matrix(), np.swapaxes(full, -1, -2))


@every_kind
def test_systems_are_of_the_kind_of_their_cell(kind: str) -> None:
    cell, affine = random_cell(kind), kind in ("min_gru", "lru")
    inputs = jax.random.normal(jax.random.key(1), (9, 2, 2))
    system = ForwardRNN.of(cell, inputs)
    assert type(system) is (AffineRNN if affine else UnitwiseRNN)
    assert isinstance(cell, AffineCell) == isinstance(system, AffineMarkovSystem) == affine
    exact = system.forward_substitution(system.init_cache(), 0, 9)[0]
    solution = solve(system, ParallelScan() if affine else Newton())
    assert_close(solution.value, exact)
    assert not affine or int(solution.stats.num_steps) == 1


@pytest.mark.parametrize("kind", ["para_lstm", pytest.param("lru", marks=pytest.mark.slow)])
def test_gradients_of_solutions_are_those_of_the_scan(kind: str) -> None:
    model = RNN(RNNConfig(kind, 2, 3, 2), rngs=nnx.Rngs(0)).fold()
    inputs = jax.random.normal(jax.random.key(1), (9, 2, 2))

    def loss(model: Any) -> jax.Array:
        found = solve(ForwardRNN.of(model.cell, inputs), Newton(), adjoint=ParallelScan(), throw=False)
        return model.loss(found.value, inputs)

    assert_close(jax.grad(loss)(model), jax.grad(lambda model: model.loss(model.states(inputs), inputs))(model))
    forward = jax.jvp(loss, (model,), (model,))[1]
    assert_close(forward, jax.jvp(lambda model: model.loss(model.states(inputs), inputs), (model,), (model,))[1])


def test_structure_keeps_memory_linear_in_the_features() -> None:
    """An affine cell, solved by a scan of its blocks, holds no D x D matrices: less than 30 numbers a feature."""
    system = ForwardRNN.of(random_cell("lru", 40), jnp.ones((50, 2, 2)))
    one = jax.jit(lambda system: solve(system, ParallelScan(), throw=False).value).lower(system).compile()
    features = 2 * 40
    assert one.memory_analysis().temp_size_in_bytes < 4 * 50 * 2 * features * 30


def test_a_dense_cell_has_no_structure() -> None:
    model, inputs = RNN(RNNConfig("gru", 2, 3, 2), rngs=nnx.Rngs(0)).fold(), jnp.ones((4, 1, 2))
    system = ForwardRNN.of(model.cell, inputs)
    assert type(system) is ForwardRNN
    assert type(backward_system(model, inputs, model.states(inputs), inputs)) is BackwardRNN


def test_a_system_keeps_the_contract() -> None:
    cell = random_cell("para_lstm")
    check_system(ForwardRNN.of(cell, jax.random.normal(jax.random.key(1), (5, 2, 2))), say=lambda line: None)


def test_the_backward_pass_of_a_unitwise_cell_has_transposed_blocks() -> None:
    model = RNN(RNNConfig("para_lstm", 2, 3, 2), rngs=nnx.Rngs(0)).fold()
    inputs = jax.random.normal(jax.random.key(1), (6, 2, 2))
    system = backward_system(model, inputs, model.states(inputs), inputs)
    assert type(system) is UnitwiseBackwardRNN
    previous = jax.random.normal(jax.random.key(2), (4, 2, 6))
    values, blocks = system.structured_jacobians(previous, 2)
    expected, matrices = system.jacobians(previous, 2)
    assert_close(values, expected)
    for unit in range(3):
        assert_close(blocks[..., unit, :, :], matrices[..., unit::3, unit::3])


# first weights


def first(kind: str, **options: Any) -> Any:
    return RNN(RNNConfig(kind, 2, 500, **options), rngs=nnx.Rngs(0)).fold().cell


def test_first_weights_are_the_papers() -> None:
    gru, lstm, lru = first("para_gru"), first("para_lstm"), first("lru")
    deviation = 2 / np.sqrt(5 * 500)
    for weights in (gru.kernel, lstm.kernel, lstm.peepholes):
        assert np.std(weights) == pytest.approx(deviation, rel=0.1)
    assert np.std(first("para_gru", gain=3.0).kernel) == pytest.approx(3 * deviation, rel=0.1)
    assert np.std(first("min_gru", init_scale=0.5).input_kernel) == pytest.approx(0.5, rel=0.1)
    assert np.max(np.abs(gru.input_kernel)) <= np.sqrt(6 / 502)
    rising = np.linspace(0, 1, 500)
    np.testing.assert_allclose(gru.bias, np.concatenate([0 * rising, rising, 0 * rising]), atol=1e-6)
    np.testing.assert_allclose(lstm.bias, np.concatenate([-rising, 0 * rising, 0 * rising]), atol=1e-6)
    sizes = np.exp(-np.exp(np.asarray(lru.nu)))
    assert np.mean(sizes**2) == pytest.approx(0.5, abs=0.05)  # uniform on the disk
    np.testing.assert_allclose(np.exp(lru.gamma), np.sqrt(1 - sizes**2), rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "option"),
    [("para_gru", {"recurrent": "normal"}), ("min_gru", {"gain": 1.0}), ("lru", {"init_scale": 0.1})],
)
def test_options_that_a_cell_has_no_use_for_are_refused(kind: str, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{kind} begins as its paper has it; {next(iter(option))} is an option of"):
        RNNConfig(kind, 2, 3, **option)


def test_weights_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"LRUCell with 2 inputs and 3 hidden units needs weights \(2, 6\), \(3,\), "):
        LRUCell(jnp.zeros((2, 5)), jnp.zeros(3), jnp.zeros(3), jnp.zeros(3))
