"""A language model: the next character from those before it, by a transformer.

Radford et al., "Improving language understanding by generative pre-training", 2018, at the size of a toy, with rotary
positions. Its equations are x_t = head.sample(logits(x_0 .. x_{t-1}), noise_t), as those of every autoregressive model.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from models.layers.normal import Normal
from models.transformer.config import TransformerConfig
from models.transformer.embeddings import ClassEmbedding, Logits
from models.transformer.network import TransformerNetwork
from models.transformer.trunk import TransformerWeights
from solvers.heads.categorical import Argmax, Gumbel
from solvers.systems.autoregressive import Noise

PRINTABLE = "\n" + "".join(sorted(set(string.printable) - set(string.whitespace))) + " "


class UnknownCharacterError(ValueError):
    """A text has a character that the model does not know."""


@dataclass(frozen=True)
class LanguageConfig(TransformerConfig):
    """The architecture, as in configs (with ``name: language``) and in checkpoints."""

    alphabet: str = PRINTABLE  # the characters that there are, each a class
    context: int = 512  # the most characters of a text, from its beginning

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.alphabet)) != len(self.alphabet) or len(self.alphabet) < 2:
            raise ValueError(f"alphabet must hold two or more different characters, not {self.alphabet!r:.60}")
        if self.context < 1:
            raise ValueError(f"context must be at least 1, not {self.context}")


class Language(nnx.Module):
    """The network's parameters; ``fold`` gives the inference form.

    Noise: that of a categorical head. Samples: (batch, T) class ids, the places of characters in the alphabet.
    """

    Config = LanguageConfig

    def __init__(self, config: LanguageConfig, *, rngs: nnx.Rngs) -> None:
        """Draw random weights."""
        self.config, normal = config, Normal(rngs)
        width, classes = config.width, len(config.alphabet)
        self.embedding = nnx.Param(normal((classes + 1, width), 1.0))
        learned = config.positions == "learned"
        self.positions = nnx.Param(normal((config.context, width), 0.1)) if learned else None
        self.trunk = TransformerWeights(config, normal)
        self.readout = nnx.Param(normal((width, classes), 0.1 / math.sqrt(width)))

    @property
    def num_classes(self) -> int:
        """The number of characters that there are."""
        return len(self.config.alphabet)

    @property
    def context(self) -> int:
        """The most characters of a text."""
        return self.config.context

    @property
    def head(self) -> Gumbel:
        """The output distribution."""
        return Gumbel(self.num_classes)

    @property
    def greedy(self) -> Argmax:
        """The head that always takes the likeliest character."""
        return Argmax(self.num_classes)

    def fold(self, num_tokens: int | None = None) -> TransformerNetwork:
        """The inference form, as the equations of so many characters; None is as many as there may be.

        Raises ValueError where there may not be so many.
        """
        length = self.context if num_tokens is None else num_tokens
        if not 1 <= length <= self.context:
            raise ValueError(f"a text may have from 1 to {self.context} characters, the model's context, not {length}")
        kind = jnp.dtype(self.config.dtype)
        table, readout = (self._cast(each[...], kind) for each in (self.embedding, self.readout))
        positions = None if self.positions is None else self._cast(self.positions[...], kind)
        return TransformerNetwork(
            ClassEmbedding(table, positions), self.trunk.folded(), Logits(readout), num_equations=length
        )

    def draw_noise(self, key: Array, num_tokens: int, batch_size: int) -> Noise:
        """Noise in the order of equations, (T, batch, classes)."""
        return self.head.draw_noise(key, num_tokens, batch_size)

    def encode(self, text: str) -> Int[np.ndarray, " N"]:
        """Class ids of a text. Raises UnknownCharacterError where it has a character that the alphabet lacks."""
        try:
            return np.fromiter((self._ids[character] for character in text), np.int32, len(text))
        except KeyError as error:
            place = text.index(error.args[0])
            raise UnknownCharacterError(
                f"the model does not know the character {error.args[0]!r}, number {place} of the text; "
                f"its alphabet has {self.num_classes}"
            ) from None

    def decode(self, ids: Int[Array, " N"] | Int[np.ndarray, " N"]) -> str:
        """The text of class ids."""
        return "".join(self.config.alphabet[i] for i in np.asarray(ids))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.config.alphabet)}

    @staticmethod
    def _cast(weights: Float[Array, "..."], kind: jnp.dtype) -> Float[Array, "..."]:
        return weights.astype(kind) if kind == jnp.bfloat16 else weights
