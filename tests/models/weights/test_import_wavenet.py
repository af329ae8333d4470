"""Fast WaveNet's weights: tiny files of the same format, against the published network written plainly."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.wavenet.generation import begin, generate
from models.weights.checkpoint import CheckpointError
from models.weights.load import load_checkpoint
from models.weights.native import save_checkpoint

HIDDEN, CLASSES, T = 6, 9, 40
X0 = 0.25


def published(blocks=2, layers=3, width=2, seed=0):
    """Random weights, named as a file of the published code has them."""
    random = np.random.default_rng(seed)
    state = {}
    for block in range(blocks):
        for layer in range(layers):
            inputs = 1 if block == layer == 0 else HIDDEN
            kernel = random.normal(size=(width, inputs, HIDDEN)) * np.sqrt(2 / (width * inputs))
            state[f"b{block}-l{layer}__w"] = kernel.astype(np.float32)
    state["w"] = (3 * random.normal(size=(1, HIDDEN, CLASSES))).astype(np.float32)
    state["b"] = (0.5 * random.normal(size=CLASSES)).astype(np.float32)
    return state


def forward(state, inputs):
    """The parallel network: each layer a causal filter whose last tap reads the newest value; then relu. In float64."""
    h = np.asarray(inputs, np.float64)[:, None]
    for block in range(1 + max(int(name[1]) for name in state if name.startswith("b") and name != "b")):
        layer = 0
        while (name := f"b{block}-l{layer}__w") in state:
            kernel, reach = state[name], 2**layer * (len(state[name]) - 1)
            padded = np.pad(h, ((reach, 0), (0, 0)))
            taps = [padded[i * 2**layer :][: len(h)] @ kernel[i] for i in range(len(kernel))]
            h, layer = np.maximum(sum(taps), 0), layer + 1
    return h @ state["w"][0] + state["b"]


def greedy(state):
    """Class ids one by one, from the input X0 and nothing before; and what was read."""
    inputs, ids = [X0], []
    for _ in range(T):
        ids.append(int(np.argmax(forward(state, inputs)[-1])))
        inputs.append(np.linspace(-1, 1, CLASSES)[ids[-1]])
    return np.asarray(ids, np.int32), np.asarray(inputs[:-1])


def write(path, state):
    np.savez(path, **state)
    return path


def load(path, **expected):
    return load_checkpoint(str(path), {"name": "wavenet", **expected})


# With these seeds the sample is not constant.
@pytest.mark.parametrize(("blocks", "layers", "width", "seed"), [(2, 3, 2, 5), (1, 4, 2, 2), (2, 2, 3, 3)])
def test_ids_and_logits_are_the_published_ones(tmp_path, blocks, layers, width, seed):
    state = published(blocks, layers, width, seed)
    ids, inputs = greedy(state)
    recorded = {"ids": ids, "x0": np.float32(X0), "inputs": inputs, "logits": forward(state, inputs), "config": "{}"}
    checkpoint = load(write(tmp_path / "a.npz", {**state, **recorded}))
    model = checkpoint.model
    assert checkpoint.name == "wavenet"
    assert model.config.dilations == tuple(2**i for i in range(layers)) * blocks
    assert (model.config.filter_width, model.config.num_hidden, model.config.num_classes) == (width, HIDDEN, CLASSES)
    network = model.fold(T, initial_value=X0)
    found, _ = generate(network, model.greedy, begin(network, jnp.zeros((0, 1), jnp.int32), jax.random.key(0)), T)
    np.testing.assert_array_equal(found[:, 0], ids)
    x = jnp.asarray(ids)[:, None]
    logits = jax.jit(lambda network, x: network.conditionals(x, network.init_cache(1, x.dtype), 0, T, T)[0])(network, x)
    np.testing.assert_allclose(logits[:, 0], forward(state, inputs), atol=1e-4)
    assert len(np.unique(ids)) > 2, "the sample is nearly constant: the test is vacuous"


def test_an_imported_model_is_saved_and_loaded_as_any_other(tmp_path):
    model = load(write(tmp_path / "a.npz", published())).model
    save_checkpoint(tmp_path / "b.safetensors", "wavenet", model, {})
    again = load_checkpoint(str(tmp_path / "b.safetensors")).model
    assert again.config == model.config
    np.testing.assert_array_equal(again.layers[3].kernel[...], model.layers[3].kernel[...])


ENTRY = "b1-l1__w"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("b"), "entry 'b' is missing; expected shape (9,)"),
        (lambda s: s.pop("w"), "entry 'w' is missing; expected shape (1, 6, classes)"),
        (lambda s: s.pop(ENTRY), f"entry '{ENTRY}' is missing; expected 3 layers in 2 blocks"),
        (lambda s: s.pop("b0-l0__w"), "entry 'b0-l0__w' is missing"),
        (lambda s: s.update(v=np.zeros(3)), "unexpected entry 'v' of shape (3,)"),
        (lambda s: s.update({ENTRY: s[ENTRY][..., :5]}), f"entry '{ENTRY}' has shape (2, 6, 5); expected (2, 6, 6)"),
        (lambda s: s.update({ENTRY: s[ENTRY][:1]}), f"entry '{ENTRY}' has shape (1, 6, 6); expected (2, 6, 6)"),
        (lambda s: s.update({"b0-l0__w": np.zeros((2, 2, 6))}), "has shape (2, 2, 6); expected (width, 1, hidden)"),
        (lambda s: s.update({"b0-l0__w": np.zeros((1, 1, 6))}), "filter_width must be at least 2, not 1"),
        (lambda s: s.update(b=np.zeros((1, CLASSES))), "entry 'b' has shape (1, 9); expected (9,)"),
        (lambda s: s.clear(), "entry 'b0-l0__w' is missing; expected 1 layers in 1 blocks"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(tmp_path, change, words):
    state = published()
    change(state)
    if words.startswith("filter_width"):
        state |= {name: a[:1] for name, a in state.items() if name.endswith("__w")}
    with pytest.raises(CheckpointError, match=re.escape(words)):
        load(write(tmp_path / "a.npz", state))


def test_what_is_no_such_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(CheckpointError, match="is damaged, or not an .npz file"):
        load(path)
    write(path, published())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged, or not an .npz file"):
        load(path)


def test_an_architecture_that_a_config_says_must_be_the_files(tmp_path):
    path = write(tmp_path / "a.npz", published())
    assert load(path, sample_rate=8000).model.config.sample_rate == 8000
    for key, value in {"num_hidden": 7, "block": "gated", "dilations": [1, 2]}.items():
        with pytest.raises(CheckpointError, match=re.escape(f"the config says {key}: {value}, the checkpoint {key}:")):
            load(path, **{key: value})
