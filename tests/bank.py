"""Small systems that between them reach every corner of the solvers' contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from common.blocks import take_block
from common.pytree import pytree
from models import model_class
from models.autoregressive import AutoregressiveSystem, cast_floats
from models.made import MADEConfig
from models.pixelcnnpp import PixelCNNPPConfig
from solvers import from_function


@pytree
@dataclass(frozen=True)
class Chain:
    """x_t = link(x_{t-1}, b_t) with x_{-1} = 0: a block system whose cache is the last value."""

    link: Callable[[Any, Any], Any] = field(metadata={"static": True})
    inputs: jax.Array  # (T, B)
    guess: jax.Array

    block_unit = 1

    @property
    def num_equations(self):
        return self.inputs.shape[0]

    def initial_guess(self):
        return self.guess

    def init_cache(self):
        return jnp.zeros_like(self.inputs[:1].sum(axis=0))

    def sweep(self, x):
        return self.update(x, self.init_cache(), 0, self.num_equations)[0]

    def update(self, x, cache, start, size):
        previous = jnp.concatenate([cache[None], x[: size - 1]]) if size else x
        values = self.link(previous, take_block(self.inputs, start, size) if size else self.inputs)
        return values, values[-1] if size else cache

    def slide(self, x, cache, start, size, keep):
        return self.update(x, cache, start, size)[0], jnp.concatenate([cache[None], x])[keep]

    def prefix_caches(self, x, block_size):
        swept = self.sweep(x)
        return jnp.concatenate([self.init_cache()[None], swept[block_size - 1 : -1 : block_size]])


@pytree
@dataclass(frozen=True)
class PytreeChain:
    """A block system whose state, noise and cache are dicts of leaves with and without features."""

    inputs: dict[str, jax.Array]  # scalar (T, B), features (T, B, 3)

    block_unit = 1

    @property
    def num_equations(self):
        return self.inputs["scalar"].shape[0]

    def initial_guess(self):
        return jax.tree.map(jnp.zeros_like, self.inputs)

    def init_cache(self):
        return jax.tree.map(lambda a: jnp.zeros_like(a[0]), self.inputs)

    def sweep(self, x):
        return self.update(x, self.init_cache(), 0, self.num_equations)[0]

    def update(self, x, cache, start, size):
        before = jax.tree.map(lambda c, a: jnp.concatenate([c[None], a[: size - 1]]), cache, x)
        inputs = take_block(self.inputs, start, size)
        features = 0.5 * jnp.tanh(before["features"]) + before["scalar"][..., None] * 0.1 + inputs["features"]
        values = {"features": features, "scalar": 0.3 * before["features"].sum(axis=-1) + inputs["scalar"]}
        return values, jax.tree.map(lambda a: a[-1], values)

    def slide(self, x, cache, start, size, keep):
        behind = jax.tree.map(lambda c, a: jnp.concatenate([c[None], a])[keep], cache, x)
        return self.update(x, cache, start, size)[0], behind

    def prefix_caches(self, x, block_size):
        swept = self.sweep(x)
        return jax.tree.map(
            lambda first, a: jnp.concatenate([first[None], a[block_size - 1 : -1 : block_size]]),
            self.init_cache(),
            swept,
        )


def pytree_chain(num_equations, batch, seed):
    keys = jax.random.split(jax.random.key(seed))
    return PytreeChain(
        {
            "features": jax.random.normal(keys[0], (num_equations, batch, 3)),
            "scalar": jax.random.normal(keys[1], (num_equations, batch)),
        }
    )


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


def tiny_made(num_equations, batch, seed, dtype=jnp.float32, hidden_sizes=(11, 7)):
    model = model_class("made")(MADEConfig(num_equations, hidden_sizes, 1e-3), rngs=nnx.Rngs(seed))
    model.layers[-1].kernel[...] = 10.0 * model.layers[-1].kernel[...]  # so that pixels really depend on each other
    noise = model.draw_noise(jax.random.key(seed), batch)
    return AutoregressiveSystem(cast_floats(model.fold(), dtype), model.head, cast_floats(noise, dtype))


def tiny_pixelcnnpp(image_shape, batch, seed, features=3):
    options = PixelCNNPPConfig(image_shape, nr_resnet=1, nr_filters=features, nr_logistic_mix=2)
    model = model_class("pixelcnnpp")(options, rngs=nnx.Rngs(seed))
    weight = model.network.output.weight
    weight.scale[...] = 20.0 * weight.scale[...]  # so that pixels really depend on each other
    return AutoregressiveSystem(model.fold(), model.head, model.draw_noise(jax.random.key(seed), batch))


# Every system whose solution is finite, as (num_equations, batch, seed) -> system.
SOLVABLE = {
    "linear": lambda t, b, s: chain(linear_link, t, b, s),
    "contractive": lambda t, b, s: chain(contractive_link, t, b, s),
    "worst_case": lambda t, b, s: chain(counting_link, t, b, s, guess=-1.0),
    "masked_product": masked_product,
    "overflowing": overflowing,
    "pytree": pytree_system,
    "pytree_chain": pytree_chain,
    "tiny_made": tiny_made,
}
