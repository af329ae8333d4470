"""Hold the sound that the gated WaveNet draws against the voice that it has learnt: python -m benchmarks.sound.voice.

Sequences of three seconds are drawn behind a moment of the embedded speech, by the checkpoint and the head of a shipped
config. Their share of voiced frames and their mean spectrum, as a whole and in their last second, should lie within
what any stretch of the same length of the same voice shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from scipy.signal import welch

from benchmarks.limits import Limit, print_limits, save
from common.paths import CONFIGS
from data.audio.clip import EMBEDDED, load_clip
from models.wavenet.generation import begin, generate
from models.weights.load import load_checkpoint
from runners.sampling.subject import class_head

CONFIG = "wavenet_gated_sampler"
SECONDS, LAST, PROMPT_S = 3.0, 1.0, 0.2
DRAWS = 8
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
    """Every stretch of that length, half of it further each time."""
    size = round(seconds * rate)
    return [voice_of(samples[start : start + size], rate) for start in range(0, len(samples) - size + 1, size // 2)]


def draw(checkpoint: str, options: Mapping[str, Any], count: int, seed: int) -> tuple[Float[np.ndarray, "B T"], int]:
    """Sounds behind the same prompt, which is left out, and their rate; ``options`` are those of the head."""
    model = load_checkpoint(checkpoint).model
    rate, network = model.sample_rate, model.fold()
    prompt = model.quantizer.encode(load_clip(None, rate).samples[: round(PROMPT_S * rate)])
    state = begin(network, jnp.repeat(prompt[:, None], count, axis=1), jax.random.key(seed))
    _, head = class_head(options, model.quantizer.num_classes)
    ids, _ = generate(network, head, state, round(SECONDS * rate))
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


def main() -> int:
    """Draw, measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--top-p", type=float, help="in place of the config's; 1 keeps all classes")
    options = parser.parse_args()
    config = yaml.safe_load((CONFIGS / f"{CONFIG}.yml").read_text(encoding="utf-8"))
    checkpoint, head = config["checkpoint"], config["head"]
    if options.top_p is not None:
        head["top_p"] = options.top_p
    drawn, rate = draw(checkpoint, head, options.draws, options.seed)
    speech = load_clip(EMBEDDED["sentences"], rate).samples
    whole = voice_of(speech, rate)
    table = Table("draw", "voiced", "dB from the voice", "voiced, last second", "dB, last second")
    for i, each in enumerate(drawn):
        found, end = voice_of(each, rate), voice_of(each[-round(LAST * rate) :], rate)
        values = (found.voiced, apart(found, whole), end.voiced, apart(end, whole))
        table.add_row(str(i), *(f"{value:.2f}" for value in values))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    held = limits(drawn, speech, rate)
    print_limits(console, held)
    if options.top_p is None:  # else it is not what ships
        save("voice", {}, held, {"checkpoint": checkpoint, "head": head, "draws": options.draws})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
