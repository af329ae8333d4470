"""Whether sound is like a voice: what is told of tones, noise and silence, of which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sound.voice import apart, limits, stretches, voice_of, voiced_share
from data.audio.clip import EMBEDDED, load_clip

RATE = 16_000
TIMES = np.arange(3 * RATE) / RATE
PULSES = (TIMES * RATE % 128 < 4).astype(float)  # 125 Hz, as of a voice
NOISE = np.random.default_rng(0).normal(size=TIMES.shape)


def test_what_repeats_itself_is_voiced_and_noise_and_silence_are_not() -> None:
    assert voiced_share(PULSES, RATE) == 1
    assert voiced_share(NOISE, RATE) == voiced_share(np.zeros_like(NOISE), RATE) == 0
    half = np.where(TIMES < 1.5, PULSES, 1e-3 * PULSES)  # so quiet that it is a pause
    assert voiced_share(half, RATE) == pytest.approx(0.5, abs=0.02)


def test_spectra_are_apart_by_decibels() -> None:
    assert apart(voice_of(NOISE, RATE), voice_of(NOISE, RATE)) == 0
    assert apart(voice_of(10 * NOISE, RATE), voice_of(NOISE, RATE)) == pytest.approx(20, abs=0.01)


@pytest.mark.slow  # it listens to a minute of speech twice; tones and noise above are its cousins
def test_the_voice_is_within_what_it_shows_elsewhere_and_noise_is_not() -> None:
    sentences = load_clip(EMBEDDED["sentences"], RATE).samples
    first, speech = sentences[: 3 * RATE], sentences[3 * RATE :]
    assert len(stretches(first, RATE, 1.0)) == 5
    own = limits(first[None], speech, RATE)
    assert all(limit.met for limit in own)
    other = {limit.what: limit.met for limit in limits(0.1 * NOISE[None], speech, RATE)}
    assert not other["share of voiced frames in 3 s: the least"]
    assert not other["dB between the mean spectrum of 3 s and the voice's: the largest"]
