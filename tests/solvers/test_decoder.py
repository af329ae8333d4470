"""Decoders as samplers: the transformer of the documentation, and a recurrent network, whose cache has no positions."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.paths import ROOT
from solvers import (
    SOLVERS,
    Argmax,
    AutoregressiveSystem,
    Decoder,
    Gumbel,
    JacobiGS,
    SlidingGSJacobi,
    Status,
    check_system,
    fits,
    log_likelihood,
    solve,
)

T, B, K = 10, 3, 7
HEAD = Gumbel(K, 0.7)
OPTIONS: dict[str, dict[str, Any]] = {
    name: {"block_size": 4} for name in ("gs_jacobi", "sliding_gs_jacobi", "jacobi_gs")
}  # of which the last one is padded
NAMES = [
    name
    for name, kind in SOLVERS.items()
    if fits(kind, AutoregressiveSystem) and name != "dense_newton"  # which has no use for tokens
]


def transformer() -> tuple[Decoder, Any]:
    """The one of docs/your-own-system.md, smaller."""
    page = (ROOT / "docs" / "your-own-system.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (program,) = (block for block in blocks if "def extend" in block)
    names: dict[str, Any] = {"jax": jax, "jnp": jnp}
    exec(program, names)
    names |= {"LAYERS": 1, "WIDTH": 8, "VOCABULARY": K}
    decoder = Decoder(names["apply"], names["decode"], names["init_cache"], names["extend"], positional=True)
    return decoder, names["init_params"](jax.random.key(0))


def recurrent() -> tuple[Decoder, Any]:
    """h <- tanh(W h + embed[token]); logits = h @ out: a cache that cannot run ahead."""
    keys = jax.random.split(jax.random.key(1), 3)
    shapes = {"embed": (K, 6), "w": (6, 6), "out": (6, K)}
    params = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}

    def decode(params: Any, h: jax.Array, token: jax.Array, position: Any) -> Any:
        h = jnp.tanh(h @ params["w"] + params["embed"][token])
        return h @ params["out"], h

    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        def body(h: jax.Array, token: jax.Array) -> Any:
            logits, h = decode(params, h, token, 0)
            return h, logits

        return jnp.swapaxes(jax.lax.scan(body, jnp.zeros((tokens.shape[0], 6)), tokens.T)[1], 0, 1)

    return Decoder(apply, decode, lambda params, batch_size, length: jnp.zeros((batch_size, 6))), params


TRANSFORMER, RECURRENT = transformer(), recurrent()
KINDS = {
    "extends": TRANSFORMER,
    "two functions": (dataclasses.replace(TRANSFORMER[0], extend=None, positional=False), TRANSFORMER[1]),
    "recurrent": RECURRENT,
}


def sampler(kind: str, head: Any = HEAD, prompt_length: int = 1) -> AutoregressiveSystem:
    decoder, params = KINDS[kind]
    prompt = jax.random.randint(jax.random.key(2), (B, prompt_length), 0, K)
    return decoder.sampler(params, prompt, head, head.draw_noise(jax.random.key(3), T, B))


def naive(system: AutoregressiveSystem) -> np.ndarray:
    """Token by token, from nothing but ``apply``."""
    network, tokens = system.network, np.asarray(system.network.prompt)
    padding = np.zeros((len(tokens), T), np.int64)  # one shape, one program
    apply = jax.jit(network.decoder.apply)
    for t in range(T):
        at = tokens.shape[1] - 1
        logits = apply(network.params, jnp.asarray(np.concatenate([tokens, padding[:, t:]], 1)))[:, at]
        noise = system.noise["gumbel_noise"][t]
        scores = logits + (system.head.temperature * noise if isinstance(system.head, Gumbel) else 0.0)
        tokens = np.concatenate([tokens, np.argmax(scores, -1)[:, None]], 1)
    return tokens[:, -T:].T


@pytest.mark.parametrize("kind", KINDS)
def test_all_solvers_give_the_text_that_plain_sampling_gives(kind: str) -> None:
    system = sampler(kind, prompt_length=3)
    expected = naive(system)
    assert len(np.unique(expected)) > 2
    for name in NAMES:
        solution = solve(system, SOLVERS[name](**OPTIONS.get(name, {})))
        assert solution.outcome is Status.CONVERGED, name
        np.testing.assert_array_equal(solution.value, expected, name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_equations_keep_the_contract(kind: str) -> None:
    system = sampler(kind)
    assert check_system(system, block_size=4, say=lambda _: None).satisfied[-1] == "ForwardSubstitution"


@pytest.mark.parametrize("kind", ["extends", "recurrent"])
def test_windows_leave_the_cache_of_what_is_behind_them(kind: str) -> None:
    system = sampler(kind, prompt_length=2)
    x = solve(system, SOLVERS["cached_sequential"]()).value
    spoiled = x.at[3:].set(0)  # a window whose first 3 guesses are right
    _, cache = jax.jit(lambda x, keep: system.slide(x, system.init_cache(), 0, 6, keep))(spoiled[:6], 3)
    values, _ = system.forward_substitution(cache, 3, T - 3)
    np.testing.assert_array_equal(values, x[3:])


def test_greedy_text_and_its_likelihood() -> None:
    system = sampler("extends", head=Argmax(K))
    x = solve(system, SlidingGSJacobi(4)).value
    np.testing.assert_array_equal(x, naive(system))
    swept = log_likelihood(system.network, system.head, x)
    assert swept.shape == (T, B)
    assert float(jnp.min(jnp.exp(swept))) >= 1 / K - 1e-6  # the likeliest of K


def test_a_sample_does_not_depend_on_its_batch() -> None:
    system = sampler("extends")
    decoder, params = KINDS["extends"]
    whole = solve(system, JacobiGS(4)).value
    for sample in range(B):
        noise = {name: array[:, sample : sample + 1] for name, array in system.noise.items()}
        one = decoder.sampler(params, system.network.prompt[sample : sample + 1], system.head, noise)
        np.testing.assert_array_equal(solve(one, JacobiGS(4)).value[:, 0], whole[:, sample])


@pytest.mark.parametrize(
    ("changes", "prompt", "sentence"),
    [
        ({}, jnp.zeros((2, 1), jnp.int32), r"prompt should be tokens \(3, P\), one or more each, not \(2, 1\)"),
        ({}, jnp.zeros((3, 0), jnp.int32), r"prompt should be tokens \(3, P\)"),
        ({"apply": lambda params, tokens: params["out"][tokens[:, 0]]}, None, r"apply should give logits \(3, 1, K\)"),
        (
            {"decode": lambda params, cache, token, position: (jnp.zeros((3, 1, K)), cache)},
            None,
            r"decode should give logits \(3, 7\), not \(3, 1, 7\)",
        ),
        (
            {"extend": lambda params, cache, tokens, position: (jnp.zeros((3, 1, K)), cache[:1])},
            None,
            "extend should give a cache laid out as it was",
        ),
    ],
)
def test_functions_that_do_not_fit_are_refused(changes: Any, prompt: Any, sentence: str) -> None:
    decoder, params = dataclasses.replace(RECURRENT[0], **changes), RECURRENT[1]
    head = Gumbel(K)
    noise = head.draw_noise(jax.random.key(0), T, B)
    with pytest.raises(ValueError, match=sentence):
        decoder.sampler(params, jnp.zeros((B, 1), jnp.int32) if prompt is None else prompt, head, noise)
