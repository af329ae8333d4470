"""Streams in chunks of any size against the full pass, states on disk, and streams that learn something."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from models import MODELS, ModelError, model_config
from models.wavenet.generation import begin, generate
from models.wavenet.model import WaveNet, WaveNetConfig
from models.weights.stream_state import FORMAT, StateError, digest, load_state, save_state

T, B, ROOM = 41, 2, 16  # the longest chunk

NETS = [("plain", 2), ("plain", 3), ("gated", 2), ("gated", 3)]
each_net = pytest.mark.parametrize(("block", "width"), NETS, ids=[f"{block}-{width}" for block, width in NETS])

fold = jax.jit(lambda model: model.fold())


@jax.jit
def full(net, x):
    """A whole sequence at once."""
    return net(x, net.init_state(x.shape[1]))[0]


whole_chunk = jax.jit(lambda net, x, state: net(x, state))
counted_chunk = jax.jit(lambda net, x, state, count: net(x, state, count))


def build(block, width, seed=0, **options):
    chosen = {
        "block": block,
        "filter_width": width,
        "num_inputs": 2,
        "num_outputs": 3,
        "dilations": [1, 5, 2],
        "num_hidden": 4,
        "num_skip": 3,
    }
    model = MODELS["streaming"](model_config({"name": "streaming", **chosen, **options}), rngs=nnx.Rngs(seed))
    model.readout.kernel[...] = 30.0 * model.readout.kernel[...]  # so that outputs are of the order of 1
    return model


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def in_chunks(net, x, sizes, state):
    """Outputs by chunks of these sizes, which one program serves."""
    outputs, start = [], 0
    for size in sizes:
        padded = np.full((ROOM, *x.shape[1:]), 7.0, np.float32)  # what fills up must not matter
        padded[:size] = x[start : start + size]
        y, state = counted_chunk(net, padded, state, jnp.int32(size))
        outputs.append(y[:size])
        start += size
    return np.concatenate(outputs), state


def splits(total):
    """Sizes that add up to ``total``, of which some are 0 or 1."""
    return st.lists(st.integers(0, ROOM), min_size=1, max_size=12).map(partial(_completed, total=total))


def _completed(sizes, total):
    kept, left = [], total
    for size in sizes:
        kept.append(min(size, left))
        left -= kept[-1]
    return kept + [ROOM] * (left // ROOM) + ([left % ROOM] if left % ROOM else [])


@each_net
@settings(max_examples=12)
@given(sizes=splits(T), seed=st.integers(0, 100))
def test_chunks_of_any_size_give_the_full_pass(block, width, sizes, seed):
    net, x = fold(build(block, width)), noise(T, B, 2, seed=seed)
    expected = full(net, x)
    outputs, _ = in_chunks(net, x, sizes, net.init_state(B))
    assert outputs.shape == (T, B, 3)
    assert np.std(expected) > 0.1, "flat: the test is vacuous"
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize(("block", "width"), [("plain", 3), ("gated", 2)])
def test_chunks_of_known_size_leave_the_same_state(block, width):
    """Without a count, with sizes 0 and 1 and one that is longer than every queue."""
    net, x = fold(build(block, width)), noise(T, B, 2)
    state, outputs, start = net.init_state(B), [], 0
    for size in (0, 1, 1, 0, 13, 26):
        y, state = whole_chunk(net, x[start : start + size], state)
        outputs.append(y)
        start += size
    np.testing.assert_allclose(np.concatenate(outputs), full(net, x), atol=1e-5)
    _, other = in_chunks(net, x, [16, 16, 9], net.init_state(B))
    assert int(state.time) == int(other.time) == T
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@each_net
def test_an_output_depends_on_the_receptive_field_and_nothing_else(block, width):
    model = build(block, width)
    net, field = fold(model), model.config.receptive_field
    length = field + 3
    x = noise(length, 1, 2)
    here = {i: np.asarray(full(net, x.at[i].add(5.0)))[-1] for i in (length - 1, length - field, length - field - 1)}
    last = np.asarray(full(net, x))[-1]
    assert np.any(here[length - 1] != last)
    assert np.any(here[length - field] != last), "it reads less than it says"
    np.testing.assert_array_equal(here[length - field - 1], last)


def test_a_state_is_its_queues_and_what_the_first_filter_reads():
    net = fold(build("gated", 3))
    state = net.init_state(B)
    assert state.queues.shape == (2 * (1 + 5 + 2), B, 4)
    assert state.recent.shape == (2, B, 2)
    assert len(jax.tree.leaves(state)) == 3


@pytest.mark.parametrize(("block", "first"), [("plain", 3), ("gated", 1)])
def test_a_wavenet_listens_as_it_speaks(block, first):
    """Logits of the next sample on sound that is given, against the equations of the model."""
    options = WaveNetConfig(block=block, dilations=(3, 1, 2), num_hidden=4, num_skip=3, num_classes=6)
    model = WaveNet(options, rngs=nnx.Rngs(0))
    net = jax.jit(lambda model: model.stream())(model)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 6, (T, 1)), jnp.int32)
    equations = jax.jit(lambda network, x: network.conditionals(x, network.init_cache(1, x.dtype), 0, T, T)[0])
    expected = equations(model.fold(T), ids)
    heard = jnp.concatenate([jnp.zeros((1, 1)), model.to_sound(ids)[:-1]])[..., None]  # 0 stands before the first
    np.testing.assert_allclose(full(net, heard), expected, atol=1e-5)
    assert net.init_state().recent.shape[0] == first


@pytest.mark.parametrize("options", [{"input": "one_hot"}, {"quantization": "mu_law"}])
def test_a_wavenet_that_reads_classes_does_not_listen(options):
    model = WaveNet(WaveNetConfig(dilations=(1, 2), num_hidden=2, num_classes=4, **options), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="input: scalar and quantization: linear"):
        model.stream()


@each_net
def test_a_restored_state_goes_on_bit_for_bit(block, width, tmp_path):
    model = build(block, width)
    net, x = fold(model), noise(T, B, 2)
    _, state = in_chunks(net, x[:20], [16, 4], net.init_state(B))
    save_state(tmp_path / "new" / "state.safetensors", state, model)
    straight, end = in_chunks(net, x[20:], [5, 16], state)
    restored = load_state(tmp_path / "new" / "state.safetensors", net.init_state(B), build(block, width))
    resumed, other = in_chunks(net, x[20:], [5, 16], restored)
    np.testing.assert_array_equal(resumed, straight)
    jax.tree.map(np.testing.assert_array_equal, end, other)


def test_a_generation_goes_on_from_its_file(tmp_path):
    """The random key is restored too, whatever its kind."""
    model = WaveNet(WaveNetConfig(dilations=(2, 1), num_hidden=3, num_classes=5), rngs=nnx.Rngs(0))
    network, path = fold(model), tmp_path / "g.safetensors"
    nothing = jnp.zeros((0, 1), jnp.int32)
    for impl in ("threefry2x32", "rbg"):
        _, state = generate(network, model.head, begin(network, nothing, jax.random.key(3, impl=impl)), 7)
        save_state(path, state, model)
        like = begin(network, nothing, jax.random.key(0, impl=impl))
        restored = load_state(path, like, model)
        straight, _ = generate(network, model.head, state, 7)
        resumed, _ = generate(network, model.head, restored, 7)
        np.testing.assert_array_equal(straight, resumed)
    with pytest.raises(StateError, match=r"entry 'key' is uint32 of shape \(4,\); expected uint32 of shape \(2,\)"):
        load_state(path, begin(network, nothing, jax.random.key(0)), model)


def tampered(path, change):
    entries = load_file(path)
    change(entries)
    metadata = {"format": FORMAT, "model": digest(build("plain", 2))}
    save_file(entries, path, metadata)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda e: e.pop("time"), "entry 'time' is missing; expected int32 of shape ()"),
        (lambda e: e.update(more=np.zeros(2, np.float32)), "unexpected entry 'more', float32 of shape (2,)"),
        (lambda e: e.update(recent=e["recent"][:, :1].copy()), "'recent' is float32 of shape (1, 1, 2); expected"),
        (lambda e: e.update(queues=e["queues"].astype(np.float16)), "'queues' is float16 of shape (8, 2, 4)"),
        (lambda e: e.update(queues=e["queues"] + np.nan), "'queues' holds NaN or infinity"),
    ],
)
def test_entries_that_do_not_fit_are_named(tmp_path, change, words):
    model, path = build("plain", 2), tmp_path / "s.safetensors"
    save_state(path, fold(model).init_state(B), model)
    tampered(path, change)
    with pytest.raises(StateError, match=re.escape(words)):
        load_state(path, fold(model).init_state(B), model)


def test_a_state_of_no_use_does_not_replace_a_good_one(tmp_path):
    model, path = build("plain", 2), tmp_path / "s.safetensors"
    good = fold(model).init_state(B)
    save_state(path, good, model)
    before = path.read_bytes()
    broken = jax.tree.map(lambda leaf: leaf + np.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, good)
    with pytest.raises(StateError, match=r"s.safetensors was not written: entry '\w+' holds NaN or infinity"):
        save_state(path, broken, model)
    assert path.read_bytes() == before


def test_files_that_hold_no_such_state_are_refused(tmp_path):
    model, path = build("plain", 2), tmp_path / "s.safetensors"
    like = fold(model).init_state(B)
    save_state(path, like, model)
    for other in (build("plain", 2, seed=1), build("plain", 2, dilations=[5, 1, 2]), build("gated", 2)):
        with pytest.raises(StateError, match="state of another network, or of one with other weights"):
            load_state(path, like, other)
    with pytest.raises(StateError, match="nowhere' does not exist"):
        load_state(tmp_path / "nowhere", like, model)
    with pytest.raises(StateError, match="is a folder"):
        load_state(tmp_path, like, model)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StateError, match="is damaged"):
        load_state(path, like, model)
    save_file({"a": np.zeros(1, np.float32)}, path)
    with pytest.raises(StateError, match="holds no saved state: its format is None"):
        load_state(path, like, model)


@partial(jax.jit, static_argnames=("loss", "steps", "graph"))
def fit(graph, params, x, y, loss, steps):
    """Parameters after some steps of Adam on a single sequence."""
    optimizer = optax.adam(0.02)

    def objective(params):
        return loss(full(nnx.merge(graph, params).fold(), x), y)

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(objective)(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


def squared(outputs, y):
    return jnp.mean((outputs - y) ** 2)


def cross_entropy(outputs, y):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, y))


def test_a_stream_learns_an_echo():
    """y_t = x_t + x_{t-3} / 2, held out, chunk by chunk."""
    model = build("gated", 2, num_inputs=1, num_outputs=1, num_hidden=8, num_skip=8)
    graph, params = nnx.split(model)

    def echo(x):
        return x + 0.5 * jnp.concatenate([jnp.zeros_like(x[:3]), x[:-3]])

    x = noise(200, 1, 1, seed=1)
    params, _ = fit(graph, params, x, echo(x), squared, 250)
    net, heard = fold(nnx.merge(graph, params)), noise(T, 1, 1, seed=2)
    outputs, _ = in_chunks(net, heard, [1] * 9 + [16, 16], net.init_state(1))
    wanted = np.asarray(echo(heard))
    assert np.mean((outputs - wanted) ** 2) < 0.05 * np.var(wanted)


def test_a_stream_learns_to_detect_an_event():
    """Two classes: whether a click was heard within the last four steps."""
    model = build("plain", 2, num_inputs=1, num_outputs=2, num_hidden=8, dilations=[1, 2])
    graph, params = nnx.split(model)

    def clicks(seed, length):
        heard = (np.random.default_rng(seed).random((length, 1)) < 0.1).astype(np.float32)
        recent = sum(np.pad(heard, ((lag, 0), (0, 0)))[:length] for lag in range(4)) > 0
        return jnp.asarray(heard[..., None]), jnp.asarray(recent.astype(np.int32))

    params, _ = fit(graph, params, *clicks(0, 300), cross_entropy, 250)
    heard, wanted = clicks(1, T * 4)
    net = fold(nnx.merge(graph, params))
    outputs, _ = in_chunks(net, heard, [16] * 10 + [4], net.init_state(1))
    right = np.mean(np.argmax(outputs, axis=-1) == wanted)
    assert 0.2 < np.mean(wanted) < 0.8
    assert right > 0.95


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dilations": []}, "dilations must hold one or more positive numbers, not []"),
        ({"dilations": [1, 0]}, "dilations must hold one or more positive numbers, not [1, 0]"),
        ({"filter_width": 1}, "filter_width must be at least 2, not 1"),
        ({"num_inputs": 0}, "num_inputs must be at least 1, not 0"),
        ({"block": "gate"}, "block should be 'plain' or 'gated', not 'gate'"),
        ({"num_output": 2}, "did you mean 'num_outputs'?"),
    ],
)
def test_impossible_architectures_are_refused(options, words):
    with pytest.raises(ModelError, match=re.escape(words)):
        model_config({"name": "streaming", **options})
