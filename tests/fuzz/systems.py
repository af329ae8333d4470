"""Triangular systems of few structures, whose programs are compiled once, and random arrays that fill them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from solvers.systems.recurrence import Recurrence
from solvers.trees.blocks import put_block, take_block
from solvers.trees.pytree import pytree

INTEGERS = ("int8", "int16", "int32", "uint8", "uint16", "uint32", "bool")
FLOATS = ("float16", "bfloat16", "float32", "complex64")
WIDE = ("int64", "uint64", "float64", "complex128")  # these need 64 bits to be enabled
DTYPES = (*INTEGERS, *FLOATS, *WIDE)


@pytree
@dataclass(frozen=True)
class Triangle:
    """x_t = link(sum_s<t W_ts x_s + b_t), with blocks behind a cache that is the whole prefix.

    Where ``poisonous`` a sweep multiplies what an equation must not read by zero, so that NaN and infinity in guesses
    spread. Where ``mixing`` samples read their neighbours, as those of a batch should not.
    """

    weights: jax.Array  # (T, T), strictly lower
    offset: jax.Array  # (T,), (T, B) or (T, B, D)
    guess: jax.Array
    link: jax.Array  # the number of the link
    poisonous: jax.Array
    mixing: jax.Array

    block_unit = 1

    @property
    def num_equations(self):
        return self.weights.shape[0]

    def initial_guess(self):
        return self.guess

    def sweep(self, x):
        return self.evaluate(x, self.poisonous)

    def evaluate(self, x, poisonous):
        """All equations, which read what is before them, or by way of zeros all of x."""
        before = jnp.tril(jnp.ones(self.weights.shape, bool), -1) | poisonous
        before, weights = (a.reshape(*a.shape, *(1,) * (x.ndim - 1)) for a in (before, self.weights))
        total = add_up(only(before, multiply(weights, x[None])), axis=1)
        if x.ndim > 1:
            neighbours = jnp.concatenate([jnp.zeros_like(x[:1]), jnp.roll(x, 1, axis=1)[:-1]])
            total = add(total, only(self.mixing, neighbours))
        return follow(self.link, add(total, self.offset))

    def init_cache(self):
        return jnp.zeros_like(self.guess)

    def update(self, x, cache, start, size):
        values = take_block(self.evaluate(put_block(cache, x, start), False), start, size)
        return values, put_block(cache, values, start)

    def slide(self, x, cache, start, size, keep):
        values, _ = self.update(x, cache, start, size)
        inside = (jnp.arange(size) < keep).reshape(-1, *(1,) * (x.ndim - 1))
        return values, put_block(cache, only(inside, x), start)

    def prefix_caches(self, x, block_size):
        starts = jnp.arange(0, self.num_equations, block_size)
        inside = jnp.arange(self.num_equations)[None, :] < starts[:, None]
        return only(inside.reshape(*inside.shape, *(1,) * (x.ndim - 1)), self.sweep(x)[None])


@pytree
@dataclass(frozen=True)
class Components:
    """Two triangles, one of features and one of class ids, each of which reads the other's values before it."""

    features: Triangle
    ids: Triangle

    @property
    def num_equations(self):
        return self.features.num_equations

    def initial_guess(self):
        return {"features": self.features.guess, "ids": self.ids.guess}

    def sweep(self, x):
        features, ids = x["features"], x["ids"]
        read = jnp.concatenate([jnp.zeros_like(ids[:1]), ids[:-1] % 5]).astype(features.dtype)
        read = read.reshape(features.shape[:2])
        positive = (features[:-1, ..., 0].real > 0).astype(ids.dtype).reshape(ids[:-1].shape)
        sign = jnp.concatenate([jnp.zeros_like(ids[:1]), positive])
        return {
            "features": replace(self.features, offset=self.features.offset + read[..., None]).sweep(features),
            "ids": replace(self.ids, offset=add(self.ids.offset, sign)).sweep(ids),
        }


@pytree
@dataclass(frozen=True)
class Segments:
    """Triangles one after the other, each of which reads the sum of all values in those before it."""

    triangles: tuple[Triangle, ...]

    @property
    def num_equations(self):
        return sum(triangle.num_equations for triangle in self.triangles)

    @property
    def num_segments(self):
        return len(self.triangles)

    def initial_guess(self):
        return tuple(triangle.guess for triangle in self.triangles)

    def first_inputs(self):
        first = self.triangles[0].offset
        return jnp.zeros(first.shape[1:2], first.dtype)

    def next_inputs(self, index, inputs, values):
        flat = values.reshape(values.shape[0], *values.shape[1:2], -1)
        return add(inputs, add_up(add_up(flat, -1), 0))

    def segment(self, index, inputs):
        triangle = self.triangles[index]
        read = inputs.reshape(1, *inputs.shape, *(1,) * (triangle.offset.ndim - 1 - inputs.ndim))
        return replace(triangle, offset=add(triangle.offset, read))

    def sweep(self, x):
        inputs, values = self.first_inputs(), []
        for index in range(self.num_segments):
            values.append(self.segment(index, inputs).sweep(x[index]))
            inputs = self.next_inputs(index, inputs, x[index])
        return tuple(values)


@pytree
@dataclass(frozen=True)
class Links(Recurrence):
    """x_t = link(x_{t-1} M + b_t), a recurrence."""

    matrix: jax.Array  # (D, D)
    inputs: jax.Array  # (T, B, D)
    initial_state: jax.Array  # (B, D)
    guess: jax.Array
    link: jax.Array
    mixing: jax.Array

    @property
    def num_equations(self):
        return self.inputs.shape[0]

    def initial_guess(self):
        return self.guess

    def transitions(self, previous, start):
        read = previous + only(self.mixing, jnp.roll(previous, 1, axis=1))
        given = take_block(self.inputs, start, previous.shape[0])
        return follow(self.link, jnp.sum(read[..., :, None] * self.matrix, axis=-2) + given)


@pytree
@dataclass(frozen=True)
class LinksAndIds(Recurrence):
    """A recurrence of features and of class ids, each of which reads both."""

    features: Links
    initial_ids: jax.Array  # (B,)

    @property
    def num_equations(self):
        return self.features.num_equations

    @property
    def initial_state(self):
        return {"features": self.features.initial_state, "ids": self.initial_ids}

    def transitions(self, previous, start):
        features = self.features.transitions(previous["features"], start)
        ids = previous["ids"] + (previous["features"][..., 0].real > 0).astype(previous["ids"].dtype)
        return {"features": features + (previous["ids"][..., None] % 3).astype(features.dtype), "ids": ids}


@pytree
@dataclass(frozen=True)
class Affine(Recurrence):
    """x_t = A_t x_{t-1} + b_t, which tells A and b."""

    a: jax.Array  # (T, B, D, D)
    b: jax.Array  # (T, B, D)
    guess: jax.Array

    @property
    def num_equations(self):
        return self.b.shape[0]

    @property
    def initial_state(self):
        return jnp.zeros_like(self.guess[0])

    def initial_guess(self):
        return self.guess

    def affine(self):
        return self.a, self.b

    def transitions(self, previous, start):
        a, b = take_block((self.a, self.b), start, previous.shape[0])
        return jnp.sum(a * previous[..., None, :], axis=-1) + b


def only(mask, a):
    """The values where the mask holds, else zeros."""
    return jnp.where(mask, a, jnp.zeros_like(a))


def multiply(a, b):
    return a & b if a.dtype == bool else a * b


def add(a, b):
    return a ^ b if a.dtype == bool else a + b


def add_up(a, axis):
    return jnp.sum(a, axis=axis) % 2 == 1 if a.dtype == bool else jnp.sum(a, axis=axis, dtype=a.dtype)


def follow(link, z):
    """The link of a number, applied to any values."""
    if z.dtype == bool:
        links = (lambda z: z, lambda z: ~z)
    elif jnp.issubdtype(z.dtype, jnp.integer):
        links = (lambda z: z, lambda z: z * z, lambda z: jnp.where(z % 2 == 0, z // 2, 3 * z + 1))
    elif jnp.issubdtype(z.dtype, jnp.complexfloating):
        links = (lambda z: z, lambda z: z / (1 + jnp.abs(z)), lambda z: z * z, lambda z: jnp.conj(z) / 2)
    else:
        links = (
            lambda z: z,
            jnp.tanh,
            lambda z: jnp.sin(9 * z),
            lambda z: z * jnp.abs(z),
            lambda z: jnp.round(2 * z),
            lambda z: jnp.where(jnp.sin(9 * z) > 0, z, z / 2),  # a decision, as a chain takes it
        )
    return lax.switch(link % len(links), links, z)


@dataclass(frozen=True)
class Structure:
    """The shapes and dtypes of systems, which random arrays fill."""

    name: str
    fill: Callable[[np.random.Generator], Any] = field(compare=False)
    wide: bool = False
    independent: bool = True  # whether samples can be made to read each other


def values(random, dtype, shape, hostile=False):
    """Small, moderate, large or huge values of one size; hostile ones may be NaN or infinite here and there."""
    if dtype == "bool":
        return jnp.asarray(random.random(shape) < 0.5)
    if jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        low, high = [(0, 2), (0, 100), (limits.max // 2, limits.max), (limits.min, limits.max)][random.integers(4)]
        return jnp.asarray(random.integers(low, high, shape, jnp.dtype(dtype), endpoint=True))
    largest = float(jnp.finfo(dtype).max)
    scale = random.choice([0.0, 1e-3, 1.0, 1.0, 1.0, 30.0, largest**0.5, largest / 8])
    drawn = random.normal(size=shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        drawn = drawn + 1j * random.normal(size=shape)
    drawn = np.clip(np.abs(drawn), 0, 4) * np.sign(drawn) * scale if drawn.dtype != complex else drawn * scale
    if hostile and random.random() < 0.3:
        drawn = np.where(random.random(shape) < 0.3, random.choice([np.nan, np.inf, -np.inf]), drawn)
    return jnp.asarray(drawn, dtype)


def weights(random, dtype, length, moderate=False):
    """Strictly lower weights: a band below the diagonal, or all."""
    if jnp.issubdtype(dtype, jnp.inexact):
        drawn = jnp.asarray(random.normal(size=(length, length)) * random.choice([0.1, 0.5, 1.0, 5.0]), dtype)
    else:
        drawn = values(random, dtype, (length, length))
    drawn = jnp.ones_like(drawn) if random.random() < 0.2 else drawn
    lower = jnp.tril(jnp.ones(drawn.shape, bool), -1)
    band = jnp.triu(jnp.ones(drawn.shape, bool), -1) if random.random() < 0.3 else True
    return jnp.where(lower & band, drawn, jnp.zeros_like(drawn))


def triangle(dtype, length, shape):
    def fill(random):
        return Triangle(
            weights(random, dtype, length),
            values(random, dtype, (length, *shape)),
            values(random, dtype, (length, *shape), hostile=True),
            jnp.int32(random.integers(60)),
            jnp.asarray(random.random() < 0.3),
            jnp.asarray(random.random() < 0.3),
        )

    return fill


def components(dtype, ids, length, batch):
    features, numbers = triangle(dtype, length, (*(batch or (1,)), 2)), triangle(ids, length, batch)
    return lambda random: Components(features(random), numbers(random))


def segments(dtype, lengths, shapes):
    parts = [triangle(dtype, length, shape) for length, shape in zip(lengths, shapes, strict=True)]

    def fill(random):
        # Samples that read each other do so in all segments.
        drawn = [part(random) for part in parts]
        return Segments(tuple(replace(part, mixing=drawn[0].mixing) for part in drawn))

    return fill


def links(dtype, length, batch, features):
    def fill(random):
        return Links(
            jnp.asarray(random.normal(size=(features, features)) * random.choice([0.1, 0.5, 1.0, 5.0]), dtype),
            values(random, dtype, (length, batch, features)),
            values(random, dtype, (batch, features)),
            values(random, dtype, (length, batch, features), hostile=True),
            jnp.int32(random.integers(60)),
            jnp.asarray(random.random() < 0.3),
        )

    return fill


def links_and_ids(dtype, ids, length, batch):
    features = links(dtype, length, batch, 2)
    return lambda random: LinksAndIds(features(random), values(random, ids, (batch,)))


def affine(dtype, length, batch, features):
    def fill(random):
        scale = random.choice([0.1, 0.5, 1.0, 5.0])
        a = random.normal(size=(length, batch, features, features)) * scale
        if jnp.issubdtype(dtype, jnp.complexfloating):
            a = a + 1j * scale * random.normal(size=a.shape)
        return Affine(
            jnp.asarray(a, dtype),
            values(random, dtype, (length, batch, features)),
            values(random, dtype, (length, batch, features), hostile=True),
        )

    return fill


def structures():
    """All structures: lengths from 1 to 12, with and without a batch."""
    shapes = ((3,), (), (2, 2), (1,), (4,), (2, 3))
    found = []
    for i, dtype in enumerate(DTYPES):
        length = 12 - 5 * i % 12
        found.append(Structure(f"{dtype} triangle", triangle(dtype, length, shapes[i % len(shapes)]), dtype in WIDE))
    found += [
        Structure("float32 and int32", components("float32", "int32", 7, (3,))),
        Structure("float16 and uint8, one sample", components("float16", "uint8", 4, ())),
        Structure("complex64 and bool", components("complex64", "int16", 3, (2,))),
        Structure("float64 and int64", components("float64", "int64", 6, (2,)), True),
        Structure("float32 segments", segments("float32", (3, 5, 1), ((2, 3), (2,), (2, 2)))),
        Structure("int32 segments, one sample", segments("int32", (4, 2), ((), ()))),
        Structure("uint8 segments", segments("uint8", (1, 1, 3), ((3,), (3,), (3,)))),
        Structure("complex64 segments", segments("complex64", (3, 2), ((2,), (2, 2)))),
        Structure("int64 segments", segments("int64", (4, 3), ((2,), (2,))), True),
        Structure("float32 recurrence", links("float32", 11, 3, 2)),
        Structure("long float32 recurrence", links("float32", 60, 3, 2)),
        Structure("float16 recurrence", links("float16", 6, 2, 1)),
        Structure("bfloat16 recurrence", links("bfloat16", 1, 2, 2)),
        Structure("complex64 recurrence", links("complex64", 5, 2, 2)),
        Structure("float64 recurrence", links("float64", 9, 1, 3), True),
        Structure("float32 and int32 recurrence", links_and_ids("float32", "int32", 8, 3)),
        Structure("float32 affine", affine("float32", 10, 2, 2)),
        Structure("bfloat16 affine", affine("bfloat16", 4, 2, 1)),
        Structure("complex64 affine", affine("complex64", 5, 2, 2)),
        Structure("float64 affine", affine("float64", 12, 2, 2), True),
    ]
    return found
