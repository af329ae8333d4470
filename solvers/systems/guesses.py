"""Guesses for any system: what its values behind the exact prefix may be, which solvers then begin their steps with.

Predictive sampling (Wiggers and Hoogeboom, "Predictive Sampling with Forecasting Autoregressive Models", ICML 2020,
arXiv 2002.09928) and lookahead decoding (Fu et al., "Break the Sequential Dependency of LLM Inference Using Lookahead
Decoding", ICML 2024, arXiv 2402.02057) are Jacobi's iteration with such guesses. They change neither answers nor the
bounds on steps; see GuessingSystem.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from ..equations import is_segmented
from ..trees.pytree import pytree
from .autoregressive import AutoregressiveSystem, Head, Noise


class Guesses(ABC):
    """A way to guess; a frozen dataclass that is registered as a pytree (``pytree``)."""

    @property
    def sweeps(self) -> float:
        """The work of guessing once, in units of a full sweep; it is added to ``Stats.sweep_equivalents``."""
        return 0.0

    @abstractmethod
    def check(self, system: Any) -> None:
        """Raise ValueError, one sentence, where these guesses do not go with a system."""

    @abstractmethod
    def guess(self, system: Any, x: Any, y: Any, frontier: Int[Array, " B"]) -> Any:
        """The guesses for the next step, laid out as y; see GuessingSystem.guess."""


@runtime_checkable
class NoiseFreeHead(Head, Protocol):
    """An output distribution that knows the noise under which a sample is the value in its middle."""

    def noise_free(self, noise: Noise) -> Noise:
        """That noise, laid out as ``noise``; the head documents which value comes of it."""


@pytree
@dataclass(frozen=True)
class RepeatLast(Guesses):
    """All values that are not known yet are guessed to be as the last one that is."""

    def check(self, system: Any) -> None:
        """Raise ValueError where equations are segments of different shapes."""
        _check_alike(system, "repeat_last")

    def guess(self, system: Any, x: Any, y: Any, frontier: Int[Array, " B"]) -> Any:
        """y_{frontier - 1}, everywhere; of a sample of which nothing is known, y."""
        return jax.tree.map(_by_sample(_last_repeated, frontier), y)


@pytree
@dataclass(frozen=True)
class NGram(Guesses):
    """A sequence is guessed to go on as it did after the last time that its last n values stood there in a row.

    What followed is taken up to the end of what is known, and then over again. A sample whose last n values stood
    nowhere before is left as it is. Values are compared bit for bit, and have to be whole numbers, such as class ids.
    """

    n: int = field(default=1, metadata={"static": True})

    def __post_init__(self) -> None:
        """Refuse n below 1."""
        if self.n < 1:
            raise ValueError(f"n must be at least 1, not {self.n}")

    def check(self, system: Any) -> None:
        """Raise ValueError where a state is not one array (T, batch) of whole numbers."""
        leaves = jax.tree.leaves(jax.eval_shape(system.initial_guess))
        if len(leaves) != 1 or leaves[0].ndim > 2 or jnp.issubdtype(leaves[0].dtype, jnp.inexact):
            found = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves)
            raise ValueError(f"n_gram goes with sequences of class ids, whole numbers (T, batch); the state is {found}")

    def guess(self, system: Any, x: Any, y: Any, frontier: Int[Array, " B"]) -> Any:
        """What followed the last n values, for each sample."""
        return jax.tree.map(_by_sample(lambda y, known: _followed(y, known, self.n), frontier), y)


@pytree
@dataclass(frozen=True)
class NoiseFree(Guesses):
    """Values are guessed to be those in the middle of their conditionals, as the last step had them, without noise.

    That is head.sample(network(x_0 .. x_{t-1})_t, head.noise_free(noise)_t) for the state x that the last step began
    with: the conditionals of the step's own values. So no evaluation waits for another; but they are computed anew,
    which is one sweep a step (``sweeps``). In the cited paper this is the forecast without reparametrization: the noise
    of the sample is known, and these guesses take no notice of it.
    """

    @property
    def sweeps(self) -> float:
        """One."""
        return 1.0

    def check(self, system: Any) -> None:
        """Raise ValueError where a system is no AutoregressiveSystem, or its head is no NoiseFreeHead."""
        if not isinstance(system, AutoregressiveSystem):
            raise ValueError(f"noise_free goes with an AutoregressiveSystem, not with {type(system).__name__}")
        if not isinstance(system.head, NoiseFreeHead):
            raise ValueError(f"noise_free needs a head that has it; {type(system.head).__name__} has no noise_free")

    def guess(self, system: AutoregressiveSystem, x: Any, y: Any, frontier: Int[Array, " B"]) -> Any:
        """One sweep over x, without noise."""
        return dataclasses.replace(system, noise=system.head.noise_free(system.noise)).sweep(x)


@dataclass(frozen=True)
class GuessedSystem:
    """The equations of ``inner``, and guesses. It has whatever ``inner`` has; see ``with_guesses``."""

    inner: Any
    guesses: Any

    @property
    def guess_sweeps(self) -> float:
        """The work of guessing once, in full sweeps."""
        return float(self.guesses.sweeps)

    def guess(self, x: Any, y: Any, frontier: Int[Array, " B"]) -> Any:
        """The guesses for the next step; see GuessingSystem."""
        return self.guesses.guess(self.inner, x, y, frontier)


@dataclass(frozen=True)
class StartedSystem:
    """The equations of ``inner``, and another first guess. It has whatever else ``inner`` has."""

    inner: Any
    first: Any

    def initial_guess(self) -> Any:
        """The first guess that was given."""
        return self.first


def with_guesses(system: Any, guesses: Guesses) -> Any:
    """The same equations, whose values are guessed on the way: a system with every protocol that ``system`` satisfies.

    Raises ValueError where these guesses do not go with the system.
    """
    guesses.check(system)
    return _over(GuessedSystem, system, guesses)


def with_first_guess(system: Any, first: Any) -> Any:
    """The same equations, which solvers begin at the state ``first``: a system with every protocol of ``system``.

    Where ``first`` is the solution of neighbouring equations, such as those of slightly other weights, it
    is a warm start. Raises ValueError where ``first`` is not laid out as the system's own first guess.
    """
    first = jax.tree.map(jnp.asarray, first)
    wanted, found = (
        jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", tree)
        for tree in (jax.eval_shape(system.initial_guess), first)
    )
    if wanted != found:
        raise ValueError(f"the first guess must be laid out as {wanted}, not {found}")
    return _over(StartedSystem, system, first)


def _over(kind: type, system: Any, added: Any) -> Any:
    """An instance of ``kind`` around a system, with the system's other public members.

    Not with ``partition_specs``, which is about the arrays of the system alone.
    """
    own = {*dir(kind), "partition_specs"}
    names = sorted(name for name in dir(system) if not name.startswith("_") and name not in own)
    return _with_members(kind, type(system).__name__, tuple(names))(system, added)


@cache  # a class is registered as a pytree once, and its instances' programs are found again
def _with_members(kind: type, name: str, names: tuple[str, ...]) -> type:
    """A subclass of ``kind`` with members of its ``inner``: protocols are looked for in classes."""
    members = {name: property(_member(name)) for name in names if name not in ("inner", "guesses", "first")}
    return pytree(type(f"{kind.__name__}[{name}]", (kind,), {"__doc__": kind.__doc__, **members}))


def _member(name: str) -> Callable[[Any], Any]:
    return lambda outer: getattr(outer.inner, name)


def _check_alike(system: Any, name: str) -> None:
    if is_segmented(system.initial_guess(), system.num_equations):
        raise ValueError(f"{name} goes with equations of one shape; those of {type(system).__name__} are segments")


def _by_sample(guess: Callable[..., Array], frontier: Int[Array, " B"]) -> Callable[[Array], Array]:
    """A function of a leaf (T, B, ...) or (T,) from one of a sample (T, ...) and the length of what is known of it."""

    def of_leaf(y: Shaped[Array, "T ..."]) -> Shaped[Array, "T ..."]:
        return guess(y, frontier[0]) if y.ndim == 1 else jax.vmap(guess, in_axes=(1, 0), out_axes=1)(y, frontier)

    return of_leaf


def _last_repeated(y: Shaped[Array, "T ..."], known: Int[Array, ""]) -> Shaped[Array, "T ..."]:
    return jnp.where(known > 0, y[jnp.maximum(known - 1, 0)][None], y)


def _followed(y: Shaped[Array, " T"], known: Int[Array, ""], n: int) -> Shaped[Array, " T"]:
    """One sequence, gone on with behind the first ``known`` by what followed their last n where they stood before."""
    t = jnp.arange(len(y))
    end = known - 1  # the last of the n
    same = jnp.all(jnp.stack([y[jnp.maximum(t - i, 0)] == y[jnp.maximum(end - i, 0)] for i in range(n)]), axis=0)
    ends = jnp.where(same & (t >= n - 1) & (t < end), t, -1)
    before = jnp.max(ends, initial=-1)
    period = end - before
    return jnp.where((before >= 0) & (t >= known), y[before + 1 + (t - known) % jnp.maximum(period, 1)], y)
