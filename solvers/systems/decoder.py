"""Decoders as causal networks: the two functions that every language model has make a sampler for all solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..trees.blocks import Start
from ..trees.pytree import pytree
from .autoregressive import AutoregressiveSystem, Head, Noise

Tokens = Int[Array, "B L"]
Logits = Float[Array, "B L K"]


@dataclass(frozen=True)
class Decoder:
    """A decoder-only network, as the functions that it is trained and sampled with.

    Positions count from the first token of the prompt. All functions are pure: parameters and cache are arguments.

    Args:
        apply: (params, tokens (B, L)) -> logits (B, L, K): at each position those of the token that follows it.
        decode: (params, cache, token (B,), position) -> (logits (B, K), cache): one token more.
        init_cache: (params, batch_size, length) -> the cache of no tokens, with room for ``length`` of them.
        extend: (params, cache, tokens (B, S), position) -> (logits (B, S, K), cache): several tokens in one pass, the
            first of them at ``position``. Without it a block is decoded token by token: right, and no faster than that.
        positional: the cache has a place for each position: a call writes those of its own tokens and reads none behind
            them, as with keys and values under a causal mask. A cache that has run ahead then serves as it is, which
            makes ``sliding_gs_jacobi`` and ``jacobi_gs`` cheap; where it does not, tokens are decoded again.
    """

    apply: Callable[[Any, Tokens], Logits]
    decode: Callable[[Any, Any, Int[Array, " B"], Start], tuple[Float[Array, "B K"], Any]]
    init_cache: Callable[[Any, int, int], Any]
    extend: Callable[[Any, Any, Tokens, Start], tuple[Logits, Any]] | None = None
    positional: bool = False

    def sampler(self, params: Any, prompt: Tokens, head: Head, noise: Noise) -> AutoregressiveSystem:
        """The tokens that follow a prompt, as equations: x_t = head.sample(logits after prompt and x_0 .. x_{t-1}).

        Args:
            params: of the network, a pytree: leaves of the system.
            prompt: tokens (B, P), at least one: a start token where there is nothing else.
            head: ``Gumbel(K, temperature)`` or ``Argmax(K)``, or another output distribution over logits.
            noise: ``head.draw_noise(key, T, B)``, which says how many tokens are wanted.

        Raises:
            ValueError: prompt and noise do not go together, or a function gives another layout than it should.
        """
        num_tokens, batch_size = jax.tree.leaves(noise)[0].shape[:2]
        if prompt.ndim != 2 or prompt.shape[0] != batch_size or not prompt.shape[1]:
            raise ValueError(f"prompt should be tokens ({batch_size}, P), one or more each, not {prompt.shape}")
        network = DecoderNetwork(self, params, jnp.asarray(prompt, jnp.int32), num_tokens)
        _check_layouts(network)
        return AutoregressiveSystem(network, head, noise)


class DecoderCache(NamedTuple):
    """All tokens before an equation: those that are in the decoder's cache, and the last one, which is not yet."""

    inner: Any
    last: Int[Array, " B"]


class DecoderBlock(NamedTuple):
    """A block on its way, token by token."""

    cache: DecoderCache
    start: Int[Array, ""]
    values: Int[Array, "S B"]


@pytree
@dataclass(frozen=True)
class DecoderNetwork:
    """A decoder behind a prompt, as a CausalNetwork: equation t is the token at position P + t."""

    decoder: Decoder = field(metadata={"static": True})
    params: Any
    prompt: Int[Array, "B P"]
    num_equations: int = field(metadata={"static": True})

    @property
    def block_unit(self) -> int:
        """Any token may begin a block."""
        return 1

    def init_cache(self, batch_size: int, dtype: Any) -> DecoderCache:
        """The cache of the prompt."""
        length = self.prompt.shape[1] - 1 + self.num_equations
        inner = self.decoder.init_cache(self.params, batch_size, length)
        if self.prompt.shape[1] > 1:
            _, inner = self._pass(inner, self.prompt[:, :-1].T, 0, self.decoder.extend is not None)
        return DecoderCache(inner, self.prompt[:, -1])

    def conditionals(
        self, x: Int[Array, "S B"], cache: DecoderCache, start: Start, size: int, keep: Start
    ) -> tuple[Float[Array, "S B K"], DecoderCache]:
        """Logits of a block, and the cache after the tokens that its first ``keep`` equations read."""
        tokens = jnp.concatenate([cache.last[None], x[:-1].astype(cache.last.dtype)])
        logits, inner = self._behind(cache.inner, tokens, start)
        if size == self.num_equations:  # then nothing but the prompt is before it
            logits = self._whole(tokens)
        if not self.decoder.positional and not (isinstance(keep, int) and keep == size):
            inner = self._behind_some(cache.inner, tokens, start, keep)
        return logits, DecoderCache(inner, cache.last)

    def record(self, values: Int[Array, "S B"], cache: DecoderCache, start: Start, keep: Start) -> DecoderCache:
        """The cache whose last token is the last of the first ``keep`` values."""
        return cache._replace(last=jnp.concatenate([cache.last[None], values])[keep])

    def prefix_caches(self, x: Int[Array, "T B"], block_size: int) -> DecoderCache:
        """Caches at all multiples of block_size: of one pass if they may run ahead, else of a pass over the blocks."""
        first = self.init_cache(x.shape[1], x.dtype)
        tokens = jnp.concatenate([first.last[None], x[:-1]])
        count = -(-self.num_equations // block_size)
        lasts = tokens[::block_size]
        if self.decoder.positional:
            _, inner = self._behind(first.inner, tokens, 0)
            return DecoderCache(jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), inner), lasts)
        whole = tokens[: (count - 1) * block_size].reshape(count - 1, block_size, tokens.shape[1])

        def behind(inner: Any, block: tuple[Array, Array]) -> tuple[Any, Any]:
            _, inner = self._behind(inner, *block)
            return inner, inner

        _, inners = lax.scan(behind, first.inner, (whole, block_size * jnp.arange(count - 1)))
        return DecoderCache(jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first.inner, inners), lasts)

    def stretch(self, size: int, batch_size: int) -> int:
        """All of it: nothing in a block is computed before its tokens are known."""
        return size

    def open_block(self, cache: DecoderCache, start: Start, size: int) -> DecoderBlock:
        """A block of which no token is known."""
        return DecoderBlock(cache, jnp.asarray(start), jnp.zeros((size, *cache.last.shape), cache.last.dtype))

    def step_block(self, block: DecoderBlock, i: Int[Array, ""]) -> tuple[Float[Array, "1 B K"], DecoderBlock]:
        """Logits of the block's token i, by one call of ``decode``."""
        position = self._position(block.start + i)
        logits, inner = self.decoder.decode(self.params, block.cache.inner, block.cache.last, position)
        return logits[None], block._replace(cache=block.cache._replace(inner=inner))

    def record_step(self, block: DecoderBlock, value: Int[Array, "1 B"], i: Int[Array, ""]) -> DecoderBlock:
        """The block with its token i, which the next one reads."""
        values = lax.dynamic_update_slice_in_dim(block.values, value, i, 0)
        return block._replace(cache=block.cache._replace(last=value[0]), values=values)

    def close_block(self, cache: DecoderCache, block: DecoderBlock) -> tuple[Int[Array, "S B"], DecoderCache]:
        """The block's tokens and the cache after it."""
        return block.values, block.cache

    def _position(self, t: Start) -> Start:
        """Where the token stands that equation t reads, the one before its own."""
        return self.prompt.shape[1] - 1 + t

    def _whole(self, tokens: Int[Array, "T B"]) -> Float[Array, "T B K"]:
        """Logits of all equations from one call of ``apply``; ``tokens`` begin with the last one of the prompt."""
        given = jnp.concatenate([self.prompt[:, :-1], tokens.T], axis=1)
        return jnp.swapaxes(self.decoder.apply(self.params, given)[:, self.prompt.shape[1] - 1 :], 0, 1)

    def _behind(self, inner: Any, tokens: Int[Array, "S B"], start: Start) -> tuple[Float[Array, "S B K"], Any]:
        """Logits after each of a block's tokens and the cache after all; equations past T are decoded one by one.

        A cache has no room for such padding, and a pass over several tokens at once would write it over others.
        """
        size, position = tokens.shape[0], self._position(start)
        if size == 1 or self.decoder.extend is None:
            return self._pass(inner, tokens, position, False)
        if self.num_equations % size == 0:
            return self._pass(inner, tokens, position, True)
        result: tuple[Array, Any] = lax.cond(
            start + size <= self.num_equations,
            lambda inner, position: self._pass(inner, tokens, position, True),
            lambda inner, position: self._pass(inner, tokens, position, False),
            *(inner, jnp.asarray(position)),
        )
        return result

    def _pass(
        self, inner: Any, tokens: Int[Array, "S B"], position: Start, at_once: bool
    ) -> tuple[Float[Array, "S B K"], Any]:
        """Logits after each token and the cache after all, in one call of ``extend`` or by ``decode`` in turn."""
        if at_once:
            assert self.decoder.extend is not None
            logits, inner = self.decoder.extend(self.params, inner, tokens.T, position)
            return jnp.swapaxes(logits, 0, 1), inner

        def body(inner: Any, given: tuple[Array, Array]) -> tuple[Any, Array]:
            logits, inner = self.decoder.decode(self.params, inner, *given)
            return inner, logits

        inner, logits = lax.scan(body, inner, (tokens, position + jnp.arange(tokens.shape[0])))
        return logits, inner

    def _behind_some(self, inner: Any, tokens: Int[Array, "S B"], start: Start, keep: Start) -> Any:
        """The cache after the first ``keep`` of a block's tokens, by ``decode`` in turn."""

        def body(i: Int[Array, ""], inner: Any) -> Any:
            return self.decoder.decode(self.params, inner, tokens[i], self._position(start + i))[1]

        return lax.fori_loop(0, keep, body, inner)


def _check_layouts(network: DecoderNetwork) -> None:
    """Raise ValueError, naming the function, unless logits and caches are laid out as they should."""
    decoder, params, (batch_size, length) = network.decoder, network.params, network.prompt.shape
    whole = jax.eval_shape(decoder.apply, params, network.prompt)
    if len(whole.shape) != 3 or whole.shape[:2] != (batch_size, length):
        raise ValueError(f"apply should give logits ({batch_size}, {length}, K) for as many tokens, not {whole.shape}")
    cache = jax.eval_shape(lambda params: decoder.init_cache(params, batch_size, length), params)
    ways = {"decode": (decoder.decode, network.prompt[:, 0], (batch_size, whole.shape[2]))}
    if decoder.extend is not None:
        ways["extend"] = (decoder.extend, network.prompt, whole.shape)
    for name, (function, tokens, expected) in ways.items():
        logits, following = jax.eval_shape(function, params, cache, tokens, jnp.int32(0))
        if logits.shape != expected:
            raise ValueError(f"{name} should give logits {expected}, not {logits.shape}")
        before, after = (jax.tree.map(lambda a: f"{a.dtype}{a.shape}", tree) for tree in (cache, following))
        if before != after:
            raise ValueError(f"{name} should give a cache laid out as it was, {before}, not {after}")
