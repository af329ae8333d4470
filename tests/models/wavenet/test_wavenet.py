"""WaveNet: greedy samples by every solver, conditioning, inputs, what the compiler makes of it, and refusals."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import ModelError, model_config
from models.wavenet.conditioning import Conditioning
from models.wavenet.model import WaveNet, WaveNetConfig
from solvers import (
    Anderson,
    CachedSequential,
    DenseNewton,
    GSJacobi,
    Jacobi,
    JacobiGS,
    Sequential,
    SlidingGSJacobi,
    Status,
    TriangularAnderson,
    solve,
)
from solvers.heads.categorical import Argmax
from tests.kit.bank import SAMPLING, WAVENETS, tiny_wavenet
from tests.kit.compiled_text import while_bodies

T, B = 14, 2
GLOBAL = {"global_classes": 3, "global_size": 2}
LOCAL = {"local_size": 2, "local_hop": 4}

sweep_logits = jax.jit(
    lambda network, x: network.conditionals(x, network.init_cache(x.shape[1], x.dtype), 0, x.shape[0], x.shape[0])[0]
)


def build(**options):
    chosen = {"dilations": (2, 1), "num_hidden": 3, "num_skip": 8, "num_classes": 5} | options
    return WaveNet(WaveNetConfig(**chosen), rngs=nnx.Rngs(0))


def random_ids(length, batch, seed=0, num_classes=5):
    return jnp.asarray(np.random.default_rng(seed).integers(0, num_classes, (length, batch)), jnp.int32)


def logits(model, x, **options):
    return np.asarray(sweep_logits(model.fold(x.shape[0], **options), x))


# Solvers


@pytest.fixture(scope="module", params=WAVENETS)
def greedy(request):
    system = tiny_wavenet(T, B, 5 if request.param == "plain" else 0, request.param)
    return replace(system, head=Argmax(5), noise=Argmax(5).draw_noise(jax.random.key(0), T, B))


@pytest.fixture(scope="module")
def naive(greedy):
    return solve(greedy, Sequential()).value


ON = {
    "jacobi": Jacobi(),
    "cached_sequential": CachedSequential(chunk_size=5),
    "gs_jacobi": GSJacobi(block_size=5),
    "sliding_gs_jacobi": SlidingGSJacobi(block_size=5),
    "jacobi_gs": JacobiGS(block_size=5),
    "anderson": Anderson(),
    "triangular_anderson": TriangularAnderson(),
}


def test_every_solver_is_tried():
    assert {"sequential", "dense_newton", *ON} == set(SAMPLING)


def test_class_ids_have_no_derivatives(greedy):
    with pytest.raises(ValueError, match="no floating-point values, so the system has no derivatives; use jacobi"):
        solve(greedy, DenseNewton())


@pytest.mark.parametrize("name", ON)
def test_every_solver_gives_the_naive_greedy_sample(greedy, naive, name):
    solution = solve(greedy, ON[name])
    assert solution.outcome is Status.CONVERGED
    np.testing.assert_array_equal(solution.value, naive)
    assert len(np.unique(naive)) > 1, "the sample is constant: the test is vacuous"


# What the compiler makes of it


def elements(shape):
    return int(np.prod([int(n) for n in shape.split(",") if n] or [1]))


@pytest.mark.parametrize("batch", [1, 3])
def test_no_queue_is_copied_in_a_loop(batch):
    """In the compiled text of forward substitution; the outer loop writes a stretch's inputs into the queues."""
    system = tiny_wavenet(64, batch, 0, dilations=(1, 64, 128, 32), num_hidden=8)
    queues = system.init_cache().queues
    function = jax.jit(lambda system, cache: system.forward_substitution(cache, 0, 64), donate_argnums=1)
    # Tests compile with optimizations off; what users get is what counts here.
    options = {"xla_backend_optimization_level": 3}
    text = function.lower(system, system.init_cache()).compile(compiler_options=options).as_text()
    bodies = while_bodies(text)
    size = ",".join(map(str, queues.shape))
    assert any(f"f32[{size}]" in line for body in bodies.values() for line in body), "no loop carries the queues"
    copies = [match for body in bodies.values() for x in body for match in re.findall(r"\[([\d,]*)\]\S* copy\(", x)]
    assert all(elements(shape) < queues.size for shape in copies), f"copied in a loop: {copies}"


# The network


@pytest.mark.parametrize("options", [{}, {"block": "gated", "filter_width": 3, "dilations": (1, 3)}])
def test_an_equation_depends_on_the_receptive_field_and_nothing_else(options):
    model = build(**options)
    field = model.config.receptive_field
    assert model.fold().receptive_field == field
    length = field + 3
    x = random_ids(length, 1)
    last = logits(model, x)[-1]  # equation t reads x_{t-1} and before
    changed = {back: logits(model, x.at[-1 - back].set((x[-1 - back] + 2) % 5))[-1] for back in (0, field, field + 1)}
    np.testing.assert_array_equal(changed[0], last)
    np.testing.assert_array_equal(changed[field + 1], last)
    assert np.any(changed[field] != last), "it reads less than it says"


@pytest.mark.parametrize("block", ["plain", "gated"])
def test_one_hot_is_an_identity_embedding(block):
    one_hot = build(block=block, input="one_hot", num_hidden=5)
    embedded = build(block=block, input="embedded", num_hidden=5)
    embedded.embedding[...] = jnp.eye(5)
    for path, value in nnx.to_flat_state(nnx.state(one_hot)):
        dict(nnx.to_flat_state(nnx.state(embedded)))[path][...] = value[...]
    x = random_ids(T, B)
    np.testing.assert_allclose(
        logits(embedded, x, initial_value=0.4), logits(one_hot, x, initial_value=0.4), rtol=1e-5, atol=1e-6
    )
    assert np.any(logits(one_hot, x) != logits(one_hot, x, initial_value=0.4))


def test_a_scalar_is_its_class_between_minus_one_and_one():
    """The first layer by hand: two taps, of which the older one reads the sample two steps before."""
    model = build(dilations=(2, 1))
    x = random_ids(T, 1)
    values = np.concatenate([[0.3], np.linspace(-1, 1, 5)[x[:-1, 0]]])
    first = np.asarray(model.first[...])[:, 0]
    h = np.maximum(values[:, None] * first[0] + np.pad(values, (2, 0))[:-2, None] * first[1], 0)
    kernel = np.asarray(model.layers[0].kernel[...])
    h = np.maximum(h @ kernel[0] + np.pad(h, ((1, 0), (0, 0)))[:-1] @ kernel[1], 0)
    expected = h @ np.asarray(model.readout.kernel[...]) + np.asarray(model.readout.bias[...])
    np.testing.assert_allclose(logits(model, x, initial_value=0.3)[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_quantization_says_what_the_classes_sound_like():
    soft = jnp.asarray([-0.9, -0.02, 0.0, 0.02, 0.9])
    errors = {}
    for kind in ("linear", "mu_law"):
        model = build(num_classes=32, quantization=kind)
        ids = model.from_sound(soft)
        assert ids.dtype == jnp.int32
        np.testing.assert_array_equal(model.from_sound(model.to_sound(ids)), ids)
        errors[kind] = np.abs(np.asarray(model.to_sound(ids)) - soft)
    assert errors["linear"].max() <= 1 / 31 + 1e-6
    assert errors["mu_law"][1] < errors["linear"][1]
    assert errors["mu_law"][3] < errors["linear"][3]


# Conditioning


def test_classes_act_on_their_own_sample():
    model, x = build(**GLOBAL), random_ids(T, B)
    first, other = (logits(model, x, conditioning=Conditioning(classes=jnp.asarray(c))) for c in ([0, 1], [0, 2]))
    np.testing.assert_array_equal(first[:, 0], other[:, 0])
    assert np.all(np.any(first[:, 1] != other[:, 1], axis=-1)), "some step does not hear the class"
    table = np.asarray(model.conditioning.embedding[...])
    as_vectors = build(global_size=2)
    as_vectors.conditioning.whole[...] = model.conditioning.whole[...]
    given = Conditioning(vectors=jnp.asarray(table[[0, 1]]))
    np.testing.assert_allclose(logits(as_vectors, x, conditioning=given), first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", ["plain", "gated"])
def test_a_frame_acts_from_its_first_sample_on(block):
    """Frame f is for samples [4 f, 4 f + 4); later ones hear it through the queues, earlier ones do not."""
    model, x = build(block=block, **LOCAL), random_ids(T, B)
    frames = jnp.asarray(np.random.default_rng(1).normal(size=(B, 4, 2)), jnp.float32)
    first = logits(model, x, conditioning=Conditioning(frames=frames))
    for f in (0, 1, 3):
        other = logits(model, x, conditioning=Conditioning(frames=frames.at[0, f].add(3.0)))
        np.testing.assert_array_equal(other[: 4 * f], first[: 4 * f])
        np.testing.assert_array_equal(other[:, 1], first[:, 1])
        assert np.all(np.any(other[4 * f : 4 * f + 4, 0] != first[4 * f : 4 * f + 4, 0], axis=-1))
    field = model.config.receptive_field
    if 4 + field <= T:
        other = logits(model, x, conditioning=Conditioning(frames=frames.at[0, 0].add(3.0)))
        np.testing.assert_allclose(other[3 + field :], first[3 + field :], atol=1e-6)


ones = jnp.ones


@pytest.mark.parametrize(
    ("options", "given", "words"),
    [
        (GLOBAL, None, "the network needs classes of shape (batch)"),
        ({"global_size": 2}, None, "the network needs vectors of shape (batch, 2)"),
        (LOCAL, None, "the network needs frames of shape (batch, at least 4, 2)"),
        ({}, {"classes": ones(2, jnp.int32)}, "the network takes no classes"),
        (GLOBAL, {"classes": ones(2, jnp.int32), "vectors": ones((2, 2))}, "the network takes no vectors"),
        ({}, {"frames": ones((2, 4, 2))}, "the network takes no frames"),
        (LOCAL, {"frames": ones((2, 3, 2))}, "frames should have the shape (batch, at least 4, 2) for 14 samples, not"),
        (LOCAL, {"frames": ones((2, 4, 3))}, "frames should have the shape (batch, at least 4, 2) for 14 samples, not"),
        ({"global_size": 2}, {"vectors": ones((2, 3))}, "should have the shape (batch, 2) for 14 samples, not [2, 3]"),
        (GLOBAL, {"classes": jnp.asarray([0, 3])}, "classes should be whole numbers from 0 to 2, not [0, 3]"),
        (GLOBAL, {"classes": jnp.asarray([-1, 0])}, "classes should be whole numbers from 0 to 2, not [-1, 0]"),
        ({"global_size": 2}, {"vectors": jnp.full((2, 2), jnp.nan)}, "vectors should be finite"),
        (LOCAL, {"frames": jnp.full((2, 4, 2), jnp.inf)}, "frames should be finite"),
        (
            {**GLOBAL, **LOCAL},
            {"classes": ones(3, jnp.int32), "frames": ones((2, 4, 2))},
            "the parts disagree on the batch size: {'classes': 3, 'frames': 2}",
        ),
    ],
)
def test_conditioning_that_does_not_fit_is_refused(options, given, words):
    conditioning = None if given is None else Conditioning(**given)
    with pytest.raises(ValueError, match=re.escape(words)):
        build(**options).fold(T, conditioning=conditioning)


# Configs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dilations": []}, "dilations must hold one or more positive numbers, not []"),
        ({"dilations": [1, -2]}, "dilations must hold one or more positive numbers, not [1, -2]"),
        ({"dilations": [1]}, "dilations of a plain network must hold at least two numbers, not [1]"),
        ({"filter_width": 1}, "filter_width must be at least 2, not 1"),
        ({"num_hidden": 0}, "num_hidden must be at least 1, not 0"),
        ({"num_classes": 1}, "num_classes must be at least 2, not 1"),
        ({"local_size": -1}, "local_size must be at least 0, not -1"),
        ({"local_hop": 0}, "local_hop must be at least 1, not 0"),
        ({"sample_rate": 0}, "sample_rate must be at least 1, not 0"),
        ({"global_classes": 3}, "global_classes 3 need a global_size, that of their embedding"),
        ({"quantization": "mulaw"}, "quantization should be 'linear' or 'mu_law', not 'mulaw'"),
        ({"input": "raw"}, "input should be 'scalar', 'one_hot' or 'embedded', not 'raw'"),
        ({"dilation": [1, 2]}, "did you mean 'dilations'?"),
    ],
)
def test_impossible_architectures_are_refused(options, words):
    with pytest.raises(ModelError, match=re.escape(words)):
        model_config({"name": "wavenet", **options})
