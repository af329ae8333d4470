"""Hold the sound that the gated WaveNet draws against the voice that it has learnt: python -m benchmarks.sound.voice.

Sequences of three seconds are drawn behind a moment of the embedded speech, by the checkpoint and the head of a shipped
config. Their share of voiced frames and their mean spectrum, as a whole and in their last second, should lie within
what stretches of the same length of the same voice show. Heads that cut off less of the tail are shown beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table
from scipy.signal import welch

from benchmarks.gpu.shipped import config_of
from benchmarks.limits import Limit, print_limits, save
from data.audio.clip import EMBEDDED, load_clip
from models.wavenet.generation import begin, generate
from models.weights.load import load_checkpoint
from runners.sampling.subject import class_head

CONFIG = "wavenet_gated_sampler"
SECONDS, LAST, PROMPT_S = 3.0, 1.0, 0.2
DRAWS = 8
BESIDE = (0.99, 1.0)  # of top_p, which are drawn for comparison
OFF = (1, 3, 9)  # classes: any other than the likeliest, more than training disturbed, and far off
_FRAME_S, _HOP_S = 0.03, 0.01
_PITCH = (70.0, 400.0)  # Hz of a voice
_PERIODIC = 0.5  # correlation of a voiced frame with itself, a period later
_QUIET = 0.03  # of the loudest frame's root mean square: what is below is a pause
_BANDS = np.geomspace(80.0, 7500.0, 21)  # Hz


class Voice(NamedTuple):
    """What a stretch of sound is like."""

    voiced: float  # share of its frames that are periodic
    spectrum: Float[np.ndarray, " K"]  # mean power in bands, in dB


def voice_of(samples: Float[np.ndarray, " T"], rate: int) -> Voice:
    """Listen to a stretch of sound."""
    frequencies, power = welch(samples, rate, nperseg=1024)
    inside = [(low <= frequencies) & (frequencies < high) for low, high in pairwise(_BANDS)]
    levels = [10 * np.log10(power[band].mean() + 1e-12) for band in inside if band.any()]
    return Voice(voiced_share(samples, rate), np.array(levels))


def voiced_share(samples: Float[np.ndarray, " T"], rate: int) -> float:
    """The share of frames that repeat themselves within the periods of a voice, and are no pauses."""
    size, hop = round(_FRAME_S * rate), round(_HOP_S * rate)
    starts = range(0, len(samples) - size + 1, hop)
    frames = np.stack([samples[start : start + size] for start in starts]).astype(np.float64)
    frames -= frames.mean(axis=1, keepdims=True)
    power = np.sqrt(np.mean(frames**2, axis=1))
    lags = range(round(rate / _PITCH[1]), round(rate / _PITCH[0]) + 1)
    alike = np.max([_correlation(frames[:, :-lag], frames[:, lag:]) for lag in lags], axis=0)
    return float(np.mean((alike > _PERIODIC) & (power > _QUIET * power.max())))


def _correlation(x: Float[np.ndarray, "N S"], y: Float[np.ndarray, "N S"]) -> Float[np.ndarray, " N"]:
    norm = np.sqrt(np.sum(x**2, axis=1) * np.sum(y**2, axis=1))
    return np.divide(np.sum(x * y, axis=1), norm, out=np.zeros(len(x)), where=norm > 0)


def apart(one: Voice, other: Voice) -> float:
    """The root mean square of the differences of two spectra over their bands, in dB."""
    return float(np.sqrt(np.mean((one.spectrum - other.spectrum) ** 2)))


def stretches(samples: Float[np.ndarray, " T"], rate: int, seconds: float) -> list[Voice]:
    """Stretches of that length, each of which overlaps the next by half."""
    size = round(seconds * rate)
    return [voice_of(samples[start : start + size], rate) for start in range(0, len(samples) - size + 1, size // 2)]


def draw(checkpoint: str, head: Mapping[str, Any], count: int, seed: int) -> tuple[Float[np.ndarray, "B T"], int]:
    """Sounds behind the same prompt, which is left out, and their rate; ``head`` is as in a config."""
    model = load_checkpoint(checkpoint).model
    rate, network = model.sample_rate, model.fold()
    prompt = model.quantizer.encode(load_clip(None, rate).samples[: round(PROMPT_S * rate)])
    state = begin(network, jnp.repeat(prompt[:, None], count, axis=1), jax.random.key(seed))
    _, drawn_by = class_head(head, model.quantizer.num_classes)
    ids, _ = generate(network, drawn_by, state, round(SECONDS * rate))
    return np.asarray(model.quantizer.decode(ids)).T, rate


def limits(drawn: Float[np.ndarray, "B T"], speech: Float[np.ndarray, " S"], rate: int) -> list[Limit]:
    """Shares and distances of all that was drawn, against the range of the voice's own stretches."""
    held, whole = [], voice_of(speech, rate)
    for words, seconds in ((f"{SECONDS:g} s", SECONDS), ("the last second", LAST)):
        own = stretches(speech, rate, seconds)
        ends = [voice_of(each[len(each) - round(seconds * rate) :], rate) for each in drawn]
        shares, known = [each.voiced for each in ends], [each.voiced for each in own]
        held += [
            Limit(f"share of voiced frames in {words}: the least", min(shares), min(known), at_least=True),
            Limit(f"share of voiced frames in {words}: the largest", max(shares), max(known)),
            Limit(
                f"dB between the mean spectrum of {words} and the voice's: the largest",
                max(apart(each, whole) for each in ends),
                max(apart(each, whole) for each in own),
            ),
        ]
    return held


@dataclass(frozen=True)
class Heard:
    """What draws with one head are like: the least and the largest of all draws, and how far the tail goes."""

    head: Mapping[str, Any]
    voiced: tuple[float, float]
    apart_db: tuple[float, float]  # mean spectra, from the voice's
    voiced_last: tuple[float, float]  # and both of the last second
    apart_last_db: tuple[float, float]
    off_each_second: Mapping[str, float]  # expected along the clip, by how many classes from the likeliest at the least

    @classmethod
    def of(cls, drawn: Float[np.ndarray, "B T"], whole: Voice, rate: int, head: Any, off: Mapping[str, float]) -> Heard:
        """Listen to all draws."""
        ends = [voice_of(each[-round(LAST * rate) :], rate) for each in drawn]
        all_of_it = [voice_of(each, rate) for each in drawn]
        found = [[each.voiced for each in voices] for voices in (all_of_it, ends)]
        far = [[apart(each, whole) for each in voices] for voices in (all_of_it, ends)]
        (voiced, last), (away, away_last) = ([(min(v), max(v)) for v in values] for values in (found, far))
        return cls(head, voiced, away, last, away_last, off)


def off_each_second(logits: Float[Array, "T 1 K"], rate: int, head: Mapping[str, Any]) -> dict[str, float]:
    """How many samples a second are expected to be so many classes from the likeliest, or more."""
    _, drawn_by = class_head(head, logits.shape[-1])
    shares = jax.nn.softmax(drawn_by.scaled(logits))
    off = jnp.abs(jnp.arange(logits.shape[-1]) - jnp.argmax(logits, axis=-1, keepdims=True))
    return {str(n): float(jnp.sum(jnp.where(off >= n, shares, 0.0))) * rate / len(logits) for n in OFF}


def along_the_clip(checkpoint: str, seconds: float | None = None) -> tuple[Float[Array, "T 1 K"], int]:
    """The network's logits where it reads the embedded speech itself, all or the beginning of it, and its rate."""
    model = load_checkpoint(checkpoint).model
    samples = load_clip(None, model.sample_rate, seconds).samples
    return _logits(model, model.quantizer.encode(samples)[:, None]), model.sample_rate


@jax.jit
def _logits(model: Any, ids: Int[Array, "T 1"]) -> Float[Array, "T 1 K"]:
    network = model.fold()
    return network.conditionals(ids, network.init_cache(1, jnp.int32), 0, len(ids), len(ids))[0]


def main() -> int:
    """Draw, measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = config_of(CONFIG)
    checkpoint, shipped = config.checkpoint, config.head
    heads = [shipped, *({**shipped, "top_p": top_p} for top_p in BESIDE)]
    sounds = [draw(checkpoint, head, options.draws, options.seed) for head in heads]
    rate = sounds[0][1]
    speech = load_clip(EMBEDDED["sentences"], rate).samples
    whole, (logits, _) = voice_of(speech, rate), along_the_clip(checkpoint)
    heard = [
        Heard.of(drawn, whole, rate, head, off_each_second(logits, rate, head))
        for (drawn, _), head in zip(sounds, heads, strict=True)
    ]
    table = Table("top_p", "voiced", "dB from the voice", "voiced, last second", "dB, last second")
    for each in heard:
        found = (each.voiced, each.apart_db, each.voiced_last, each.apart_last_db)
        table.add_row(str(each.head["top_p"]), *(f"{low:.2f} - {high:.2f}" for low, high in found))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    held = limits(sounds[0][0], speech, rate)
    print_limits(console, held)
    facts = {"checkpoint": checkpoint, "draws": options.draws, "seed": options.seed, "heard": [*map(asdict, heard)]}
    if options.draws == DRAWS and options.seed == 0:  # else it is a look, and not the record
        save("voice", {}, held, facts)
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
