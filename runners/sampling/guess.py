"""The guesses that a sampler's solvers go on from: by name, or the samples of a neighbouring run as a warm start."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import BeforeValidator, model_validator

from common.paths import user_path
from common.table import Table
from runners.config.schema import Count, Keys, UsageError
from runners.sampling.files import batch_first, by_equation, load_like
from solvers.systems.guesses import Guesses, NGram, with_first_guess, with_guesses

DEFAULT = "default"  # the head's first guess, and no guesses on the way
GUESSES: Table[type[Guesses]] = Table(
    "guess",
    {
        DEFAULT: "solvers.systems.guesses:Guesses",
        "noise_free": "solvers.systems.guesses:NoiseFree",
        "repeat_last": "solvers.systems.guesses:RepeatLast",
        "n_gram": "solvers.systems.guesses:NGram",
    },
)


class GuessChoice(Keys):
    """Which guesses: a bare name or a file's path in a config is a mapping with that alone."""

    # default: the first guess of the output distribution; repeat_last: the last known value, over and over; n_gram:
    # what followed the last n class ids before; noise_free: the middle of each value's distribution
    name: str = DEFAULT
    n: Count | None = None  # of n_gram, null: 1
    file: str | None = None  # or the samples.npz of a neighbouring run, which solvers begin at

    @model_validator(mode="after")
    def _check(self) -> GuessChoice:
        GUESSES.check(self.name)
        if self.file is not None and self.name != DEFAULT:
            raise ValueError(f"name and file do not go together: {self.name} guesses on the way, a file says the first")
        if self.n is not None and self.name != "n_gram":
            raise ValueError(f"n goes with n_gram, not with {self.name}")
        return self

    @property
    def is_default(self) -> bool:
        """Whether solvers begin and go on as they do by themselves."""
        return self.name == DEFAULT and self.file is None


def _as_mapping(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return {"file": value} if PurePath(value).suffix.lower() == ".npz" else {"name": value}


Guess = Annotated[GuessChoice, BeforeValidator(_as_mapping)]


def guessed(system: Any, choice: GuessChoice, grid: tuple[int, ...]) -> Any:
    """The system with the guesses that a config asks for; ``grid`` is how its equations lie in files.

    Raises UsageError where they do not go with the system, or the file has no samples that fit.
    """
    if choice.is_default:
        return system
    if choice.file is not None:
        return with_first_guess(system, _from_file(choice.file, jax.eval_shape(system.initial_guess), grid))
    try:
        return with_guesses(system, NGram(choice.n or 1) if choice.name == "n_gram" else GUESSES[choice.name]())
    except ValueError as error:
        raise UsageError(f"guess: {error}") from None


def _from_file(file: str, like: Any, grid: tuple[int, ...]) -> Any:
    """The samples in a file, in the order of equations; ``like`` has the shape of the state that they stand for."""
    expected = batch_first(np.zeros(like.shape, like.dtype), grid)
    found = load_like(user_path(file), "guess: file", {"samples": expected})
    return jnp.asarray(by_equation(found["samples"], grid))
