"""Recurrent networks: cells and their derivatives, the systems of both passes, gradients, first weights, bad input."""

import re
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from common.options import build_options
from models import SYSTEMS
from models.rnn.cell import UnitwiseCell
from models.rnn.cells import ElmanCell, GRUCell, LSTMCell
from models.rnn.gradients import backward_system, output_gradients, parameter_gradients
from models.rnn.model import CELLS, RNN, RNNConfig
from models.rnn.systems import BackwardRNN, ForwardRNN
from models.rnn.unitwise import LRUCell, MinGRUCell, ParaGRUCell, ParaLSTMCell
from solvers import SOLVERS, BlockSystem, ForwardSubstitution, SlidingBlockSystem, check_system, fits, solve
from solvers.linear import linearize
from solvers.system import AffineMarkovSystem, LinearizedMarkovSystem
from solvers.systems.recurrence import shifted

KINDS = {
    "softplus": (ElmanCell, "softplus"),
    "tanh": (ElmanCell, "tanh"),
    "linear": (ElmanCell, "linear"),
    "gru": (GRUCell,),
    "lstm": (LSTMCell,),
    "para_gru": (ParaGRUCell,),
    "para_lstm": (ParaLSTMCell,),
    "min_gru": (MinGRUCell,),
    "lru": (LRUCell,),
}
UNITWISE = [kind for kind in KINDS if issubclass(KINDS[kind][0], UnitwiseCell)]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_pass = pytest.mark.parametrize("direction", ["forward", "backward"])
seeds = st.integers(0, 1000)


def random_cell(kind, num_inputs=2, width=3, seed=0, dtype=jnp.float32):
    cell, *rest = KINDS[kind]
    if kind in UNITWISE:
        drawn = RNN(RNNConfig(kind, num_inputs, width), rngs=nnx.Rngs(seed)).fold().cell
        return random_like(jax.tree.map(lambda a: a.astype(dtype), drawn), seed)
    keys = jax.random.split(jax.random.key(seed), 3)
    wide = cell.num_gates * width
    shapes = [(num_inputs, wide), (width, wide), (wide,)]
    draws = [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]
    return cell(draws[0], 0.9 * draws[1] / np.sqrt(width), draws[2], *rest)


def random_state(cell, rows, seed, scale=1.0):
    features = jax.random.normal(jax.random.key(seed), (*rows, cell.ravel(cell.initial_state(1)).shape[-1]))
    return cell.unravel(scale * features)


def random_inputs(num_equations, batch, num_inputs, seed, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), (num_equations, batch, num_inputs), dtype)


def random_rnn(kind, num_inputs=2, width=3, seed=0):
    name, activation = ("elman", kind) if kind not in CELLS else (kind, None)
    config = RNNConfig(name, num_inputs, width, activation=activation, init_scale=None if kind == "lru" else 0.5)
    return RNN(config, rngs=nnx.Rngs(seed)).fold()


states_of = jax.jit(lambda model, inputs: model.states(inputs))
backward_of = jax.jit(backward_system)
gradients_of = jax.jit(parameter_gradients)
sweep = jax.jit(lambda system, x: system.sweep(x))
slide = jax.jit(lambda system, *args: system.slide(*args[:3], 3, args[3]))


@cache
def forward(kind, num_equations, batch, seed):
    return ForwardRNN.of(random_cell(kind, seed=seed), random_inputs(num_equations, batch, 2, seed))


@cache
def backward(kind, num_equations, batch, seed):
    model, inputs = random_rnn(kind, seed=seed), random_inputs(num_equations, batch, 2, seed)
    return backward_of(model, inputs, states_of(model, inputs), inputs[::-1])


PASSES = {"forward": forward, "backward": backward}


def random_like(x, seed):
    leaves, treedef = jax.tree.flatten(x)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(
        treedef, [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    )


def assert_close(a, b, rtol=1e-5, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def assert_relative(found, expected, bound):
    """Leaf by leaf, the largest deviation against the largest value."""

    def check(a, b):
        assert np.max(np.abs(a - b), initial=0.0) <= bound * max(np.max(np.abs(b), initial=0.0), 1e-6)

    jax.tree.map(check, found, expected)


# cells


@jax.jit
def derivatives(cell, state, drive, v):
    """What a cell says of its derivatives, and what JAX says: (state, J, diagonal, J^T v) of each."""

    def flat(x):
        return cell.ravel(cell.step(cell.unravel(x), drive))

    new, jacobian = cell.linearize(state, drive)
    mine = (cell.ravel(new), jacobian.matrix(), jacobian.diagonal(), jacobian.pull(v))
    x = cell.ravel(state)

    def row(x, drive):
        return cell.ravel(cell.step(cell.unravel(x), drive))

    matrix = jax.vmap(jax.vmap(jax.jacfwd(row)))(x, drive)
    diagonal = jnp.diagonal(matrix, axis1=-2, axis2=-1)
    theirs = (flat(x), matrix, diagonal, jax.vjp(flat, x)[1](v)[0])
    return mine, theirs


@every_kind
@settings(max_examples=5)
@given(sizes=st.sampled_from([(1, 1), (2, 5)]), seed=seeds)
def test_derivatives_by_hand_are_those_of_a_step(kind, sizes, seed):
    cell = random_cell(kind, *sizes, seed)
    state = random_state(cell, (2, 3), seed)
    drive = cell.project(random_inputs(2, 3, sizes[0], seed + 1))
    v = cell.ravel(random_state(cell, (2, 3), seed + 2))
    mine, theirs = derivatives(cell, state, drive, v)
    assert_close(mine, theirs)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_steps_are_flax_s(kind):
    cell = random_cell(kind, num_inputs=3, width=4)
    inputs, state = random_inputs(5, 2, 3, 0)[0], random_state(cell, (2,), 1)
    if kind == "gru":
        theirs = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))
        theirs.dense_i.kernel[...], theirs.dense_i.bias[...] = cell.input_kernel, cell.bias
        theirs.dense_h.kernel[...] = cell.kernel
        expected, _ = theirs(state, inputs)
    else:
        theirs = nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0))
        for g, name in enumerate("ifgo"):
            here = slice(4 * g, 4 * g + 4)
            getattr(theirs, f"i{name}_" if name == "f" else f"i{name}").kernel[...] = cell.input_kernel[:, here]
            getattr(theirs, f"h{name}").kernel[...] = cell.kernel[:, here]
            getattr(theirs, f"h{name}").bias[...] = cell.bias[here]
        (c, h), _ = theirs((state["c"], state["h"]), inputs)
        expected = {"c": c, "h": h}
    assert_close(cell.step(state, cell.project(inputs)), expected, 1e-6, 1e-6)


def test_elman_by_numpy():
    cell = random_cell("softplus", 2, 3)
    x, h = np.array([[0.3, -1.0]]), np.array([[0.1, -0.2, 0.5]])
    expected = np.log1p(np.exp(x @ np.asarray(cell.input_kernel) + np.asarray(cell.bias) + h @ np.asarray(cell.kernel)))
    assert_close(cell.step(jnp.asarray(h), cell.project(jnp.asarray(x))), expected, 1e-6, 1e-6)


@jax.jit
def everything(cell, state, drive):
    new, jacobian = cell.linearize(state, drive)
    return new, jacobian.matrix(), jacobian.diagonal()


@every_kind
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_values_stay_finite(kind, size):
    cell = random_cell(kind)
    everywhere = cell.project(jnp.full((1, 2, 2), size))
    state = jax.tree.map(lambda a: jnp.full((1, *a.shape), size), cell.initial_state(2))
    for drive in (everywhere, -everywhere):
        for leaf in jax.tree.leaves(everything(cell, state, drive)):
            assert np.all(np.isfinite(leaf))


def test_an_infinite_entry_does_not_spoil_its_neighbours():
    _, jacobian = random_cell("gru").linearize(jnp.zeros((1, 3)), jnp.zeros((1, 9)))
    spoiled = jacobian.map_rows(lambda a: a.at[..., 0].set(jnp.inf)).matrix()
    np.testing.assert_array_equal(spoiled[:, 1:], jacobian.matrix()[:, 1:])


# systems


@pytest.mark.parametrize(("direction", "kind"), [("forward", "gru"), ("backward", "lstm")])
def test_systems_keep_the_contract(direction, kind):
    check_system(PASSES[direction](kind, 7, 2, 3))


def test_protocols_of_instances_and_of_classes():
    for kind in (ForwardRNN, BackwardRNN):
        assert f"{kind.__module__}:{kind.__name__}" in SYSTEMS.places.values()
    systems = [*(PASSES[name]("gru", 3, 1, 0) for name in PASSES), ForwardRNN, BackwardRNN]
    for system in systems:
        for protocol in (BlockSystem, SlidingBlockSystem, ForwardSubstitution, LinearizedMarkovSystem):
            assert isinstance(system, protocol)
    assert [isinstance(system, AffineMarkovSystem) for system in systems] == [False, True, False, True]


@jax.jit
def rows(system, hidden, previous, start):
    """Transitions, Jacobians and diagonals as the system tells them, and by differentiating ``hidden``'s transition."""
    told = (*linearize.jacobians(system, previous, start), linearize.diagonals(system, previous, start)[1])
    new, matrices = linearize.jacobians(SimpleNamespace(transition=hidden), previous, start)
    return told, (new, matrices, jnp.diagonal(matrices, axis1=-2, axis2=-1))


@every_pass
@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_rows_of_derivatives_are_those_of_the_transitions(direction, kind):
    system = PASSES[direction](kind, 6, 2, 1)
    previous = jax.tree.map(lambda a: a[:3], random_like(system.initial_guess(), 5))
    hidden = jax.tree_util.Partial(type(system).transition, system)
    assert_close(*rows(system, hidden, previous, jnp.int32(2)))


@pytest.mark.parametrize("kind", ["tanh", "lstm"])
def test_the_backward_pass_is_affine(kind):
    system = backward(kind, 5, 2, 1)
    x = random_like(system.initial_guess(), 2)
    a, b = system.affine()
    expected = jnp.einsum("tbij,tbj->tbi", a, shifted(system.initial_state, x)) + b
    assert_close(system.sweep(x), expected)
    assert_close(system.in_time(system.in_time(x)), x)


@every_pass
def test_samples_are_independent(direction):
    system = PASSES[direction]("lstm", 5, 3, 1)
    x = random_like(system.initial_guess(), 2)
    spoiled = jax.tree.map(lambda a: a.at[:, 1].set(jnp.nan), x)
    swept, other = sweep(system, x), sweep(system, spoiled)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, ::2], b[:, ::2]), swept, other)
    assert all(np.any(np.isnan(leaf[:, 1])) for leaf in jax.tree.leaves(other))


@every_pass
@settings(max_examples=8)
@given(start=st.integers(0, 4), keep=st.integers(0, 3), seed=seeds)
def test_a_window_that_slides_leaves_the_cache_of_where_it_goes(direction, start, keep, seed):
    system = PASSES[direction]("gru", 7, 2, 1)
    x = random_like(system.initial_guess(), seed)
    cache = shifted(system.initial_state, x)[start]
    values, behind = slide(system, x[start : start + 3], cache, jnp.int32(start), jnp.int32(keep))
    assert_close(values, sweep(system, x)[start : start + 3])
    np.testing.assert_array_equal(behind, shifted(system.initial_state, x)[start + keep] if start + keep < 7 else x[-1])


def test_the_initial_state_is_read():
    cell, inputs = random_cell("lstm"), random_inputs(4, 2, 2, 0)
    whole = ForwardRNN.of(cell, inputs)
    states, _ = whole.forward_substitution(whole.init_cache(), 0, 4)
    rest = ForwardRNN.of(cell, inputs[2:], jax.tree.map(lambda a: a[1], states))
    again, _ = rest.forward_substitution(rest.init_cache(), 0, 2)
    assert_close(again, jax.tree.map(lambda a: a[2:], states))


@every_pass
def test_float64_stays_float64(x64, direction):
    inputs = random_inputs(4, 2, 2, 0, jnp.float64)
    model = random_rnn("lstm")
    system = ForwardRNN.of(model.cell, inputs)
    if direction == "backward":
        system = backward_of(model, inputs, states_of(model, inputs), inputs)
    solution = solve(system, SOLVERS["cached_sequential"]())
    assert {leaf.dtype for leaf in jax.tree.leaves(solution.value)} == {jnp.dtype("float64")}


# gradients


@jax.jit
def gradients(model, inputs, targets):
    """By the solved adjoint, with a scan, and by jax.grad: of the parameters; of the states."""
    states = model.states(inputs)
    system = backward_system(model, inputs, states, targets)
    adjoint = system.in_time(system.forward_substitution(system.init_cache(), 0, system.num_equations)[0])
    mine = parameter_gradients(model, inputs, states, adjoint, targets)
    theirs = jax.grad(lambda model: model.loss(model.states(inputs), targets))(model)

    def nudged(nudges):
        """The loss where every state is nudged: its derivatives are total ones."""

        def body(state, row):
            drive, nudge = row
            new = jax.tree.map(jnp.add, model.cell.step(state, drive), nudge)
            return new, new

        start = model.cell.initial_state(inputs.shape[1])
        return model.loss(jax.lax.scan(body, start, (model.cell.project(inputs), nudges))[1], targets)

    totals = jax.grad(nudged)(jax.tree.map(jnp.zeros_like, states))
    return (mine, model.cell.unravel(adjoint)), (theirs, totals)


@pytest.mark.parametrize("kind", ["softplus", "gru", "lstm"])
@pytest.mark.parametrize(("num_equations", "batch"), [(1, 3), (2, 1), (30, 3)])
def test_gradients_are_jax_s(kind, num_equations, batch):
    inputs = random_inputs(num_equations, batch, 2, 4)
    mine, theirs = gradients(random_rnn(kind), inputs, jnp.roll(inputs, 1, axis=0))
    assert_relative(mine, theirs, 1e-5)


FITTING = [name for name, solver in SOLVERS.items() if fits(solver, BackwardRNN)]


@pytest.mark.parametrize("name", FITTING)
def test_every_solver_gives_the_gradients(name):
    model, inputs = random_rnn("gru"), random_inputs(30, 3, 2, 4)
    states = states_of(model, inputs)
    # The gradients are small, and tolerances absolute for values below 1.
    solution = solve(backward_of(model, inputs, states, inputs), SOLVERS[name](), tol=1e-8)
    mine = gradients_of(model, inputs, states, BackwardRNN.in_time(solution.value))
    assert_relative(mine, gradients(model, inputs, inputs)[1][0], 1e-5)


def test_published_network_s_gradients():
    """T = 100, one input, 128 hidden units, as in the published experiment."""
    model = RNN(RNNConfig("elman", 1, 128), rngs=nnx.Rngs(0)).fold()
    inputs = jax.random.uniform(jax.random.key(1), (100, 1, 1))
    mine, theirs = gradients(model, inputs, inputs)
    assert_relative(mine, theirs, 1e-5)


def test_gradients_of_nothing_are_zero():
    model, inputs = random_rnn("gru"), jnp.zeros((0, 2, 2))
    states = states_of(model, inputs)
    solution = solve(backward_of(model, inputs, states, inputs), SOLVERS["jacobi"]())
    for leaf in jax.tree.leaves(gradients_of(model, inputs, states, solution.value)):
        np.testing.assert_array_equal(leaf, 0.0)


@pytest.mark.parametrize("num_equations", [0, 1])
@every_pass
def test_short_sequences_solve(direction, num_equations):
    system = PASSES[direction]("lstm", num_equations, 2, 0)
    for name in ("jacobi", "cached_sequential"):
        value = solve(system, SOLVERS[name]()).value
        assert_close(value, sweep(system, value), 0.0, 0.0)
    if direction == "backward":
        a, b = system.affine()
        assert (a.shape, b.shape) == ((num_equations, 2, 6, 6), (num_equations, 2, 6))


# first weights


def recurrent(**options):
    return RNN(RNNConfig(num_inputs=2, **options), rngs=nnx.Rngs(0)).cell.kernel[...]


def test_published_weights():
    model = RNN(RNNConfig("elman", 1, 128), rngs=nnx.Rngs(0))
    assert model.cell.activation == "softplus"
    for kernel in (model.cell.kernel, model.cell.input_kernel, model.kernel):
        assert np.std(kernel[...]) == pytest.approx(0.1, rel=0.2)
    assert not np.any(model.cell.bias[...])
    assert not np.any(model.bias[...])


def test_recurrent_weights():
    kernel = recurrent(cell="elman", hidden_size=6, gain=0.5, recurrent="orthogonal")
    np.testing.assert_allclose(kernel @ kernel.T, 0.25 * np.eye(6), atol=1e-6)
    kernel = recurrent(cell="elman", hidden_size=100, gain=3.0)
    assert np.std(kernel) == pytest.approx(0.3, rel=0.05)
    gru, lstm = (recurrent(cell=cell, hidden_size=6) for cell in ("gru", "lstm"))
    np.testing.assert_allclose(gru @ gru.T, np.eye(6), atol=1e-6)
    for gate in np.split(np.asarray(lstm), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-6)


@pytest.mark.parametrize(("gain", "recurrent", "grows"), [(0.5, "orthogonal", False), (3.5, "normal", True)])
def test_small_gains_forget_and_large_ones_are_chaotic(gain, recurrent, grows):
    config = RNNConfig("elman", 2, 64, activation="tanh", gain=gain, recurrent=recurrent)
    cell = RNN(config, rngs=nnx.Rngs(0)).fold().cell
    system = ForwardRNN.of(cell, random_inputs(60, 1, 2, 0))
    run = jax.jit(lambda system, state: system.forward_substitution(state, 0, 60)[0])
    near = jnp.full((1, 64), 1e-4)
    distance = np.linalg.norm(run(system, near) - run(system, -near), axis=(1, 2))
    assert (distance[-1] > 1.0) if grows else (distance[-1] < 1e-6)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_names_of_parameters(cell):
    state = nnx.to_pure_dict(nnx.state(RNN(RNNConfig(cell, 2, 3, 5), rngs=nnx.Rngs(0)), nnx.Param))
    wide = CELLS[cell].folded.num_gates * 3
    shapes = jax.tree.map(jnp.shape, state)
    assert shapes == {
        "bias": (5,),
        "cell": {"bias": (wide,), "input_kernel": (2, wide), "kernel": (3, wide)},
        "kernel": (3, 5),
    }


# bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "gruu"}, "unknown cell 'gruu'; did you mean 'gru'?"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, not 0"),
        ({"num_inputs": 0}, "num_inputs must be at least 1, not 0"),
        ({"num_outputs": -1}, "num_outputs must be at least 1, not -1"),
        ({"hidden_size": "many"}, "hidden_size should be a whole number"),
        ({"activation": "tanhh"}, "unknown activation 'tanhh'; did you mean 'tanh'?"),
        ({"cell": "gru", "activation": "tanh"}, "gru has activations of its own"),
        ({"recurrent": "orthogonl"}, "did you mean 'orthogonal'?"),
        ({"init_scale": 0.1, "gain": 2.0}, "give either it or gain"),
        ({"gain": -1.0}, "gain must be a number from 0, not -1.0"),
        ({"gain": float("nan")}, "gain must be a number from 0, not nan"),
        ({"hidden": 3}, "did you mean 'hidden_size'?"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build_options(RNNConfig, {"cell": "elman", "num_inputs": 1, "hidden_size": 2, **options})


def test_cells_of_weights_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match=r"GRUCell with 2 inputs and 3 hidden units needs weights \(2, 9\)"):
        GRUCell(jnp.zeros((2, 8)), jnp.zeros((3, 8)), jnp.zeros(8))
    with pytest.raises(ValueError, match="needs inputs and hidden units, not 1 and 0"):
        ElmanCell(jnp.zeros((1, 0)), jnp.zeros((0, 0)), jnp.zeros(0))
    with pytest.raises(ValueError, match="did you mean 'softplus'"):
        ElmanCell(jnp.zeros((1, 2)), jnp.zeros((2, 2)), jnp.zeros(2), "softpluss")


def test_inputs_that_make_no_sense_are_refused():
    cell = random_cell("lstm")
    with pytest.raises(ValueError, match=r"inputs must be laid out as \(T, batch, 2\), not \(4, 2\)"):
        ForwardRNN.of(cell, jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"the inputs must be finite; the value at \(1, 0, 1\) is nan"):
        ForwardRNN.of(cell, jnp.zeros((4, 1, 2)).at[1, 0, 1].set(jnp.nan))
    with pytest.raises(ValueError, match="the initial state must be laid out as"):
        ForwardRNN.of(cell, jnp.zeros((4, 1, 2)), jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="the initial state must be finite"):
        ForwardRNN.of(cell, jnp.zeros((4, 1, 2)), jax.tree.map(lambda a: a + jnp.inf, cell.initial_state(1)))


def test_nothing_is_looked_at_while_tracing():
    cell, inputs = random_cell("gru"), jnp.full((3, 1, 2), jnp.nan)
    swept = jax.jit(lambda inputs: ForwardRNN.of(cell, inputs).sweep(jnp.zeros((3, 1, 3))))(inputs)
    assert np.all(np.isnan(swept))


def test_a_backward_pass_of_other_shapes_is_refused():
    model, inputs = random_rnn("gru"), random_inputs(4, 2, 2, 0)
    states, drive = states_of(model, inputs), model.cell.project(inputs)
    b = output_gradients(model, states, inputs)
    with pytest.raises(ValueError, match=r"the drive must be laid out as \(T, batch, 9\), not \(4, 2, 3\)"):
        BackwardRNN.of(model.cell, states, states, b)
    with pytest.raises(ValueError, match=r"the states must be laid out as \(4, 2, 3\), not \(3, 2, 3\)"):
        BackwardRNN.of(model.cell, states[1:], drive, b)
    with pytest.raises(ValueError, match="the output gradients must be laid out as"):
        BackwardRNN.of(model.cell, states, drive, b[:, :1])


def test_targets_that_would_broadcast_are_refused():
    model, inputs = random_rnn("gru"), random_inputs(4, 2, 2, 0)
    with pytest.raises(ValueError, match="targets must be laid out as"):
        model.loss(states_of(model, inputs), inputs[..., :1])
