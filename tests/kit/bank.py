"""Small systems that between them reach every corner of the solvers' contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models import MODELS
from models.diffusion.model import Diffusion, DiffusionConfig
from models.flow.model import Flow, FlowConfig
from models.language.model import Language, LanguageConfig
from models.made.model import MADEConfig
from models.pixelcnnpp.model import PixelCNNPPConfig
from models.rnn.cells import GRUCell
from models.rnn.systems import ForwardRNN
from models.wavenet.conditioning import Conditioning
from models.wavenet.model import WaveNetConfig
from solvers import SOLVERS, fits, from_function
from solvers.systems.autoregressive import AutoregressiveSystem
from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import take_block
from solvers.trees.pytree import pytree

# The solvers that sample from autoregressive models.
SAMPLING = [name for name, solver in SOLVERS.items() if fits(solver, AutoregressiveSystem)]


def built_once(make):
    """Keep what ``make`` has built: to set up a network takes longer than many a test of it."""

    @cache
    def kept(precision, *args, **options):
        return make(*args, **options)

    @wraps(make)
    def build(*args, **options):
        return kept(jnp.result_type(float), *args, **options)

    return build


@pytree
@dataclass(frozen=True)
class Chain(Recurrence):
    """x_t = link(x_{t-1}, b_t) with x_{-1} = 0."""

    link: Callable[[Any, Any], Any] = field(metadata={"static": True})
    inputs: jax.Array  # (T, B)
    guess: jax.Array

    @property
    def num_equations(self):
        return self.inputs.shape[0]

    @property
    def initial_state(self):
        return jnp.zeros_like(self.inputs[:1].sum(axis=0))

    def initial_guess(self):
        return self.guess

    def transitions(self, previous, start):
        return self.link(previous, take_block(self.inputs, start, previous.shape[0]))


@pytree
@dataclass(frozen=True)
class Driven(Recurrence):
    """x_t = link(x_{t-1}, inputs_t, parameters), whose states and inputs are any pytrees."""

    link: Callable[[Any, Any, Any], Any] = field(metadata={"static": True})
    inputs: Any  # leaves (T, B, ...)
    initial_state: Any  # leaves (B, ...)
    parameters: Any = None

    @property
    def num_equations(self):
        return jax.tree.leaves(self.inputs)[0].shape[0]

    def transitions(self, previous, start):
        size = jax.tree.leaves(previous)[0].shape[0]
        return self.link(previous, take_block(self.inputs, start, size), self.parameters)


@pytree
@dataclass(frozen=True)
class AffineChain(Recurrence):
    """x_t = A_t x_{t-1} + b_t with x_{-1} = 0, which tells its derivatives too."""

    a: jax.Array  # (T, B, D, D)
    b: jax.Array  # (T, B, D)

    @property
    def num_equations(self):
        return self.b.shape[0]

    @property
    def initial_state(self):
        return jnp.zeros(self.b.shape[1:], self.b.dtype)

    def affine(self):
        return self.a, self.b

    def transitions(self, previous, start):
        a, b = take_block((self.a, self.b), start, previous.shape[0])
        return jnp.einsum("tbij,tbj->tbi", a, previous) + b

    def jacobians(self, previous, start):
        return self.transitions(previous, start), take_block(self.a, start, previous.shape[0])

    def jacobian_diagonals(self, previous, start):
        values, a = self.jacobians(previous, start)
        return values, jnp.diagonal(a, axis1=-2, axis2=-1)


def affine_chain(num_equations, batch, seed, features=2, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed))
    a = 0.5 * jax.random.normal(keys[0], (num_equations, batch, features, features), dtype)
    return AffineChain(a, jax.random.normal(keys[1], (num_equations, batch, features), dtype))


def as_affine(system):
    """A Chain whose link is linear in the state as an AffineChain of one feature."""
    offset = system.link(jnp.zeros_like(system.inputs), system.inputs)
    slope = system.link(jnp.ones_like(system.inputs), system.inputs) - offset
    return AffineChain(slope[..., None, None], offset[..., None])


def coupled(num_equations, batch, seed, dtype=jnp.float32):
    """Three features that turn into one another, so that the diagonals of the Jacobians, 0, tell nothing of them."""
    inputs = jax.random.normal(jax.random.key(seed), (num_equations, batch, 3), dtype)
    return Driven(_coupled, inputs, jnp.zeros((batch, 3), dtype), 1.2 * jnp.roll(jnp.eye(3, dtype=dtype), 1, axis=0))


def _coupled(x, b, matrix):
    return jnp.tanh(x @ matrix.T) + 0.3 * b


def pytree_chain(num_equations, batch, seed):
    """A state and noise of leaves with and without features."""
    keys = jax.random.split(jax.random.key(seed))
    inputs = {
        "features": jax.random.normal(keys[0], (num_equations, batch, 3)),
        "scalar": jax.random.normal(keys[1], (num_equations, batch)),
    }
    return Driven(_pytree_chain, inputs, {"features": jnp.zeros((batch, 3)), "scalar": jnp.zeros(batch)})


def _pytree_chain(x, inputs, _):
    features = 0.5 * jnp.tanh(x["features"]) + x["scalar"][..., None] * 0.1 + inputs["features"]
    return {"features": features, "scalar": 0.3 * x["features"].sum(axis=-1) + inputs["scalar"]}


def markov_ids(num_equations, batch, seed):
    """A state of features and of class ids, each of which depends on both."""
    keys = jax.random.split(jax.random.key(seed))
    inputs = jax.random.normal(keys[0], (num_equations, batch, 2))
    first = {"features": jnp.zeros((batch, 2)), "ids": jnp.zeros(batch, jnp.int32)}
    return Driven(_markov_ids, inputs, first, jax.random.normal(keys[1], (5, 2)))


def _markov_ids(x, inputs, table):
    features = 0.7 * jnp.tanh(x["features"]) + table[x["ids"]] + inputs
    return {"features": features, "ids": (x["ids"] + (features[..., 0] > 0) + (x["features"][..., 1] > 0)) % 5}


def expansive(num_equations, batch, seed, gain=40.0):
    """Derivatives up to ``gain`` around a small solution: from other states Newton's steps overflow."""
    inputs = 1e-3 * jax.random.normal(jax.random.key(seed), (num_equations, batch, 1))
    return Driven(_expansive, inputs, jnp.full((batch, 1), 1.0), jnp.float32(gain))


def _expansive(x, b, gain):
    return jnp.sin(gain * x) + b


def tiny_gru(num_equations, batch, seed, hidden_size=3, gain=1.5, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 3)
    wide = 3 * hidden_size
    first, second = (gain * jax.random.normal(keys[i], (n, wide), dtype) for i, n in enumerate((2, hidden_size)))
    cell = GRUCell(first, second, jnp.zeros(wide, dtype))
    return ForwardRNN.of(cell, jax.random.normal(keys[2], (num_equations, batch, 2), dtype))


def one_sample(system, i):
    """Sample ``i`` of a system of the bank by itself."""

    def of(tree, axis):
        return jax.tree.map(lambda a: jax.lax.slice_in_dim(a, i, i + 1, axis=axis), tree)

    if isinstance(system, Driven):
        return replace(system, inputs=of(system.inputs, 1), initial_state=of(system.initial_state, 0))
    if isinstance(system, AffineChain):
        return AffineChain(*of((system.a, system.b), 1))
    return type(system)(system.network, system.head, of(system.noise, 1))


def chain(link, num_equations, batch, seed, guess=0.0, dtype=jnp.float32):
    inputs = jax.random.normal(jax.random.key(seed), (num_equations, batch), dtype)
    return Chain(link, inputs, jnp.full((num_equations, batch), guess, dtype))


def linear_link(x, b):
    return 0.5 * x + b


def contractive_link(x, b):
    return 0.3 * jnp.tanh(x) + b


def counting_link(x, b):
    return x + 1.0 + 0.0 * b


def linear_closed_form(system):
    """x_t = sum_s 0.5^(t-s) b_s."""
    t = jnp.arange(system.num_equations)
    powers = jnp.where(t[:, None] >= t[None, :], 0.5 ** jnp.maximum(t[:, None] - t[None, :], 0).astype(float), 0.0)
    return powers @ system.inputs


def masked_product(num_equations, batch, seed, power=1, guess=0.0, dtype=jnp.float32):
    """x = L x^power + b with L strictly lower triangular: one overflow meets a masked zero in every equation."""
    key_l, key_b = jax.random.split(jax.random.key(seed))
    lower = jnp.tril(jax.random.normal(key_l, (num_equations, num_equations), dtype), -1) / max(1, num_equations)
    offset = 0.5 * jnp.tanh(jax.random.normal(key_b, (num_equations, batch), dtype))
    like = jnp.full((num_equations, batch), guess, dtype)
    return from_function(_masked_product, like, lower, offset, jnp.asarray(power, dtype), check=False)


def _masked_product(x, lower, offset, power):
    return lower @ (jnp.sign(x) * jnp.abs(x) ** power) + offset


def overflowing(num_equations, batch, seed):
    """Guesses reach infinity, then NaN, beyond the frontier; the solution is small."""
    return masked_product(num_equations, batch, seed, power=9, guess=1e4)


def nan_answer(num_equations, batch, seed, where=2):
    """The exact solution of sample 0 is NaN from equation ``where`` on; the other samples' are fine."""
    system = chain(linear_link, num_equations, batch, seed)
    return Chain(system.link, system.inputs.at[where, 0].set(jnp.nan), system.guess)


def pytree_system(num_equations, batch, seed):
    """Two components of every equation, one with features and one of class ids."""
    key = jax.random.key(seed)
    table = jax.random.normal(key, (5, 3))
    noise = jax.random.normal(jax.random.fold_in(key, 1), (num_equations, batch, 3))

    def f(x, table, noise):
        ids, features = x["ids"], x["features"]
        before = jnp.concatenate([jnp.zeros_like(features[:1]), features[:-1]])
        last = jnp.concatenate([jnp.zeros_like(ids[:1]), ids[:-1]])
        new = jnp.tanh(before) + noise + table[last]
        return {"features": new, "ids": jnp.argmax(jnp.pad(new, ((0, 0), (0, 0), (0, 2))), axis=-1)}

    like = {
        "features": jnp.zeros((num_equations, batch, 3)),
        "ids": jnp.zeros((num_equations, batch), jnp.argmax(jnp.zeros(1)).dtype),
    }
    return from_function(f, like, table, noise, check=False)


def cast_floats(tree, dtype):
    """Every floating-point leaf in another precision."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


@built_once
def tiny_made(num_equations, batch, seed, dtype=jnp.float32, hidden_sizes=(11, 7)):
    model = MODELS["made"](MADEConfig(num_equations, hidden_sizes, 1e-3), rngs=nnx.Rngs(seed))
    model.layers[-1].kernel[...] = 10.0 * model.layers[-1].kernel[...]  # so that pixels really depend on each other
    noise = model.draw_noise(jax.random.key(seed), batch)
    return AutoregressiveSystem(cast_floats(model.fold(), dtype), model.head, cast_floats(noise, dtype))


@built_once
def tiny_pixelcnnpp(image_shape, batch, seed, features=3):
    options = PixelCNNPPConfig(image_shape, nr_resnet=1, nr_filters=features, nr_logistic_mix=2)
    model = MODELS["pixelcnnpp"](options, rngs=nnx.Rngs(seed))
    weight = model.network.output.weight
    weight.scale[...] = 20.0 * weight.scale[...]  # so that pixels really depend on each other
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(seed), batch))


@built_once
def tiny_wavenet(num_samples, batch, seed, kind="plain", **options):
    chosen = {"dilations": (2, 1, 3), "num_hidden": 4, "num_skip": 3, "num_classes": 5} | WAVENETS[kind] | options
    model = MODELS["wavenet"](WaveNetConfig(**chosen), rngs=nnx.Rngs(seed))
    model.readout.kernel[...] = 30.0 * model.readout.kernel[...]  # so that samples really depend on each other
    random = np.random.default_rng(seed)
    config = model.config
    frames = jnp.asarray(
        random.normal(size=(batch, -(-num_samples // config.local_hop), config.local_size)), jnp.float32
    )
    given = Conditioning(
        classes=jnp.asarray(random.integers(0, config.global_classes, batch)) if config.global_classes else None,
        frames=frames if config.local_size else None,
    )
    network = model.fold(num_samples, initial_value=0.3, conditioning=given)
    return AutoregressiveSystem(network, model.head, model.draw_noise(jax.random.key(seed), num_samples, batch))


SMALL_TRUNK = {"width": 8, "num_layers": 2, "num_heads": 2}


@built_once
def tiny_language(num_tokens, batch, seed, *, head=None, **options):
    config = LanguageConfig(**{**SMALL_TRUNK, "num_kv_heads": 1, "alphabet": "abcde", "context": num_tokens, **options})
    model = Language(config, rngs=nnx.Rngs(seed))
    model.readout[...] = 10.0 * model.readout[...]  # so that samples really depend on each other
    head = head or model.head
    return AutoregressiveSystem(model.fold(), head, head.draw_noise(jax.random.key(seed), num_tokens, batch))


def tiny_flow(seed, **options):
    """A flow whose blocks change something."""
    shape = {"num_blocks": 2, "image_shape": (4, 4, 1), "patch_size": 2, "positions": "learned"}
    model = Flow(FlowConfig(**{**SMALL_TRUNK, **shape, **options}), rngs=nnx.Rngs(seed))
    if model.config.block == "transformer":
        random = np.random.default_rng(seed)
        for block in model.blocks:
            block.readout[...] = jnp.asarray(random.normal(0, 0.3, block.readout.shape), jnp.float32)
    return model


@built_once
def tiny_flow_block(patches, batch, seed):
    """The equations of one of its blocks, of two by ``patches`` patches."""
    model = tiny_flow(seed, image_shape=(4, 2 * patches, 1))
    return model.equations(jax.random.key(seed), batch).segment(0, model.equations(jax.random.key(seed), batch).noise)


def tiny_diffusion(seed, **options):
    """A diffusion model that says something."""
    shape = {"image_shape": (4, 4, 1), "patch_size": 2, "num_classes": 3}
    model = Diffusion(DiffusionConfig(**{**SMALL_TRUNK, **shape, **options}), rngs=nnx.Rngs(seed))
    random = np.random.default_rng(seed)
    for weights in (model.readout, model.last, *model.modulations):
        weights[...] = jnp.asarray(random.normal(0, 0.2, weights.shape), jnp.float32)
    model.eval()
    return model


WAVENETS = {
    "plain": {},
    "gated": {
        "block": "gated",
        "dilations": (1, 2),
        "filter_width": 3,
        "input": "embedded",
        "global_classes": 3,
        "global_size": 2,
        "local_size": 2,
        "local_hop": 4,
    },
}


# Every system whose solution is finite, as (num_equations, batch, seed) -> system.
SOLVABLE = {
    "linear": lambda t, b, s: chain(linear_link, t, b, s),
    "contractive": lambda t, b, s: chain(contractive_link, t, b, s),
    "worst_case": lambda t, b, s: chain(counting_link, t, b, s, guess=-1.0),
    "masked_product": masked_product,
    "overflowing": overflowing,
    "pytree": pytree_system,
    "pytree_chain": pytree_chain,
    "markov_ids": markov_ids,
    "tiny_gru": tiny_gru,
    "tiny_made": tiny_made,
}
# More of these, on which solvers differ that read derivatives; to others they are chains like those above.
SOLVABLE_BY_DERIVATIVES = {"affine": affine_chain, "coupled": coupled}
