"""Whether sound is like a voice: what is told of tones, noise and silence, of which it is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gpu.shipped import config_of
from benchmarks.sound.voice import (
    CONFIG,
    OFF,
    along_the_clip,
    apart,
    draw,
    limits,
    off_each_second,
    stretches,
    voice_of,
    voiced_share,
)
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


def test_what_the_shipped_head_draws_is_seldom_off_by_more_than_training_disturbed() -> None:
    """Along the clip. What is further off is the beginning of noise, and with all classes kept it is often."""
    config, disturbed = config_of(CONFIG), config_of("train_wavenet_gated").input_jitter.classes
    assert disturbed + 1 in OFF
    far = str(disturbed + 1)
    logits, rate = along_the_clip(config.checkpoint, seconds=0.5)
    assert off_each_second(logits, rate, config.head)[far] < 1
    assert off_each_second(logits, rate, {**config.head, "top_p": 1.0})[far] > 5


@pytest.mark.slow  # tens of thousands of samples, one after the other; its cousin above tells what they are drawn from
def test_the_shipped_draws_are_a_voice() -> None:
    config = config_of(CONFIG)
    drawn, rate = draw(config.checkpoint, config.head, 2, 7)
    speech = load_clip(EMBEDDED["sentences"], rate).samples
    assert [limit.what for limit in limits(drawn, speech, rate) if not limit.met] == []
