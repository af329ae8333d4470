"""Sampling sound from WaveNet, from the command line to the files that it leaves behind."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from data.audio.clip import read_wave, resample, write_wave
from data.audio.wave_file import Waveform
from runners.cli.main import main
from tests.kit.results import read_results

RATE, BATCH, LENGTH, SPLIT = 1000, 2, 48, 18
PLAIN: dict[str, Any] = {"dilations": [2, 1, 3], "num_hidden": 6, "num_classes": 9, "sample_rate": RATE}
LOCAL: dict[str, Any] = {
    **PLAIN,
    "block": "gated",
    "num_skip": 3,
    "quantization": "mu_law",
    "global_size": 2,
    "local_size": 2,
    "local_hop": 4,
}
RECEPTIVE_FIELD = 7  # of PLAIN, less than SPLIT


def run(folder: Path, out: str, runner: str = "WaveNetSamplerRunner", **changes: Any) -> int:
    config = {"model": {"name": "wavenet", **PLAIN}, "batch_size": BATCH, "num_samples": LENGTH, "seed": 1}
    config |= {"solvers": ["sequential"], "repeats": 1, "trace": False}
    path = folder / f"{out}.yml"
    path.write_text(yaml.safe_dump({key: value for key, value in (config | changes).items() if value != "left out"}))
    return main(["--runner", runner, "--config", str(path), "--out", str(folder / out)])


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def heard(path: Path, count: int) -> np.ndarray:
    """A wav file's sounds, one a row, without the pauses."""
    wave = read_wave(path)
    assert wave.sample_rate == RATE
    pause = RATE // 4
    length = (len(wave.samples) + pause) // count
    rows = np.pad(wave.samples, (0, pause)).reshape(count, length)
    assert not rows[:, -pause:].any()
    return rows[:, :-pause]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples drawn from nothing, by three solvers, of which one has blocks that are shorter than a dilation."""
    folder = tmp_path_factory.mktemp("whole")
    solvers = ["sequential", {"name": "jacobi", "trace": True}, {"name": "jacobi_gs", "block_size": 2}]
    assert run(folder, "out", solvers=solvers) == 0
    return folder / "out"


def test_a_sampler_leaves_sound_and_all_that_others_leave(whole: Path) -> None:
    pictures = {"convergence_by_step.png", "convergence_by_time.png", "audio.png"}
    files = {path.name for path in whole.iterdir()}
    assert files == {"results.json", "samples.npz", "traces.npz", "samples.wav"} | pictures
    for name in pictures:
        with Image.open(whole / name) as image:
            assert min(image.size) > 100
    record, found = read_results(whole), arrays(whole / "samples.npz")
    assert record["identical_to_reference"] == {"sequential": True, "jacobi": True, "jacobi_gs": True}
    assert [row["mismatched_equations"] for row in record["rows"]] == [0, 0, 0]
    assert record["generation"] is None
    assert record["config"]["head"] == {"name": "gumbel", "temperature": 1.0, "top_k": None, "top_p": None}
    assert record["system"]["num_equations"] == LENGTH
    assert {name: (array.shape, array.dtype.kind) for name, array in found.items()} == {
        "samples": ((BATCH, LENGTH), "i"),
        "gumbel_noise": ((BATCH, LENGTH, 9), "f"),
        "prompt": ((BATCH, 0), "i"),
        "seed": ((), "u"),
    }
    assert (found["samples"][0] != found["samples"][1]).any()
    np.testing.assert_allclose(heard(whole / "samples.wav", BATCH), 2 * found["samples"] / 8 - 1, atol=4e-5)


def test_a_prompt_longer_than_the_receptive_field_is_gone_on_from(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first samples as a prompt, read in pieces, the rest of their noise: the rest of the samples."""
    monkeypatch.setattr("runners.sampling.given._PIECE", 10)
    found = arrays(whole / "samples.npz")
    given = tmp_path / "given.npz"
    np.savez(given, prompt=found["samples"][:, :SPLIT], gumbel_noise=found["gumbel_noise"][:, SPLIT:])
    rest = {"num_samples": LENGTH - SPLIT, "noise_file": str(given), "prompt": {"file": str(given)}}
    assert RECEPTIVE_FIELD < SPLIT
    assert run(tmp_path, "out", **rest) == 0
    again = arrays(tmp_path / "out" / "samples.npz")
    np.testing.assert_array_equal(again["samples"], found["samples"][:, SPLIT:])
    np.testing.assert_array_equal(again["prompt"], found["samples"][:, :SPLIT])
    assert heard(tmp_path / "out" / "samples.wav", BATCH).shape == (BATCH, LENGTH - SPLIT)


def test_what_is_generated_goes_on_from_the_samples(whole: Path, tmp_path: Path) -> None:
    """Fewer equations, the rest generated, behind a prompt of length 0: the same sound as from nothing."""
    rest = {"num_samples": SPLIT, "continue_s": (LENGTH - SPLIT) / RATE, "prompt": {"duration_s": 0}}
    assert run(tmp_path, "out", **rest) == 0
    sound = heard(tmp_path / "out" / "generated.wav", BATCH)
    np.testing.assert_array_equal(sound, heard(whole / "samples.wav", BATCH))
    generation = read_results(tmp_path / "out")["generation"]
    assert set(generation) == {"num_samples", "ms_per_sample", "real_time_factor", "sample_rate", "state_bytes"}
    assert (generation["num_samples"], generation["sample_rate"]) == (LENGTH - SPLIT, RATE)
    assert generation["real_time_factor"] == pytest.approx(generation["ms_per_sample"]["median"] * RATE / 1000)
    queues = 4 * 6 * (1 + 3) * BATCH  # float32, channels, dilations after the first layer's
    assert queues < generation["state_bytes"] < queues + 100


def test_frames_of_conditioning_go_on_where_the_samples_end(tmp_path: Path) -> None:
    """In the middle of a frame, and in another one for every piece that is generated."""
    random = np.random.default_rng(0)
    given = tmp_path / "given.npz"
    frames = random.normal(size=(BATCH, LENGTH // 4, 2)).astype(np.float32)
    np.savez(given, frames=3 * frames, vectors=random.normal(size=(BATCH, 2)))
    local = {"model": {"name": "wavenet", **LOCAL}, "conditioning_file": str(given), "head": {"temperature": 0.5}}
    assert run(tmp_path, "whole", **local) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runners.measure.generation.PIECE", 10)
        assert run(tmp_path, "parts", **local, num_samples=SPLIT, continue_s=(LENGTH - SPLIT) / RATE) == 0
    sound = heard(tmp_path / "parts" / "generated.wav", BATCH)
    np.testing.assert_array_equal(sound, heard(tmp_path / "whole" / "samples.wav", BATCH))
    assert read_results(tmp_path / "parts")["generation"]["ms_per_sample"]["n"] == 2  # of three pieces of 12
    np.savez(given, frames=-3 * frames, vectors=np.zeros((BATCH, 2)))
    assert run(tmp_path, "other", **local) == 0
    assert (heard(tmp_path / "other" / "samples.wav", BATCH) != sound).any()


def test_a_prompt_of_sound_is_resampled_and_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At another rate; the likeliest classes, which need no noise, are the same in the whole batch."""
    sound = (0.5 * np.sin(np.arange(300) / 9)).astype(np.float32)
    write_wave(tmp_path / "a.wav", sound, 2 * RATE)
    prompt = {"wav": str(tmp_path / "a.wav"), "start_s": 0.05, "duration_s": 0.03}
    assert run(tmp_path, "out", prompt=prompt, head={"name": "argmax"}, num_samples=8) == 0
    found, record = arrays(tmp_path / "out" / "samples.npz"), read_results(tmp_path / "out")
    there = resample(Waveform(sound, 2 * RATE), RATE).samples
    np.testing.assert_array_equal(found["prompt"][0], np.rint(4 + 4 * there / np.abs(there).max())[50:80])
    assert (found["prompt"][0] == found["prompt"][1]).all()
    assert (found["samples"][0] == found["samples"][1]).all()
    assert found["gumbel_noise"].shape == (BATCH, 8, 0)
    assert record["config"]["head"] == {"name": "argmax"}
    assert record["config"]["prompt"] == {**prompt, "file": None}
    assert "argmax, behind a prompt of 0.03 s" in capsys.readouterr().out


def wav_of(samples: np.ndarray) -> bytes:
    """A wav file of 32-bit floating point, which can hold what ours never do."""
    content = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, RATE, 4 * RATE, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that something is wrong with."""
    folder = tmp_path_factory.mktemp("files")
    good = np.sin(np.arange(100) / 5)
    sounds = {"empty": good[:0], "silent": 0 * good, "nan": np.where(good > 0.9, np.nan, good), "good": good}
    for name, samples in sounds.items():
        (folder / f"{name}.wav").write_bytes(wav_of(samples))
    (folder / "damaged.wav").write_bytes(wav_of(good)[:-7])
    np.savez(folder / "far.npz", prompt=np.full((BATCH, 3), 9))
    np.savez(folder / "one.npz", prompt=np.zeros((1, 3), int))
    np.savez(folder / "flat.npz", prompt=np.zeros(3, int))
    np.savez(folder / "one_vector.npz", vectors=np.zeros((1, 2)))
    np.savez(folder / "flat_vector.npz", vectors=np.zeros(2))
    np.savez(folder / "vectors_nan.npz", frames=np.zeros((BATCH, 12, 2)), vectors=np.full((BATCH, 2), np.nan))
    np.savez(folder / "else.npz", promt=np.zeros((BATCH, 3), int))
    np.savez(folder / "short.npz", frames=np.zeros((BATCH, 11, 2)), vectors=np.zeros((BATCH, 2)))
    np.savez(folder / "part.npz", vectors=np.zeros((BATCH, 2)))
    return folder


def given(name: str, **more: Any) -> dict[str, Any]:
    return {"prompt": {"wav" if name.endswith("wav") else "file": f"{{files}}/{name}", **more}}


def conditioned(name: str | None, **more: Any) -> dict[str, Any]:
    file = {} if name is None else {"conditioning_file": f"{{files}}/{name}"}
    return {"model": {"name": "wavenet", **LOCAL}, **file, **more}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "wav_empty": (given("empty.wav"), "prompt: audio file '.*' holds no samples"),
    "wav_silent": (given("silent.wav"), "prompt: audio file '.*' is silent: .*"),
    "wav_nan": (given("nan.wav"), "prompt: audio file '.*' holds NaN, infinity .*"),
    "wav_damaged": (given("damaged.wav"), "prompt: audio file '.*' is truncated: .*"),
    "wav_missing": (given("goood.wav"), "prompt: audio file '.*' does not exist; did you mean 'good.wav'.*"),
    "wav_short": (
        given("good.wav", start_s=0.06, duration_s=0.05),
        "prompt: start_s 0.06 and duration_s 0.05 go beyond the clip, which lasts 0.1 s",
    ),
    "ids_far": (given("far.npz"), "prompt: file '.*': class ids should be from 0 to 8, .*; they are from 9 to 9"),
    "ids_batch": (given("one.npz"), "prompt: file '.*': prompt is a batch of 1, the config says batch_size: 2"),
    "ids_flat": (given("flat.npz"), r"prompt: file '.*': prompt should be whole numbers of 2 axes, .* int64 \(3,\)"),
    "ids_missing": (given("else.npz"), "prompt: file '.*' has no array 'prompt'; it has: promt"),
    "two_prompts": (given("far.npz", start_s=1), "prompt: file holds the whole prompt; leave start_s out, or file"),
    "conditioning_missing": (conditioned(None), r"conditioning: the network needs vectors of shape \(batch, 2\)"),
    "conditioning_part": (
        conditioned("part.npz"),
        r"conditioning_file '.*': the network needs frames of shape \(batch, at least 12, 2\)",
    ),
    "conditioning_short": (
        conditioned("short.npz", num_samples=40, prompt={"duration_s": 0.004}, continue_s=0.004),
        r"conditioning_file '.*npz': frames should have the shape \(batch, at least 12, 2\) for 48 samples, .*",
    ),
    "conditioning_batch": (conditioned("one_vector.npz"), ".*: vectors is a batch of 1, .*batch_size: 2"),
    "conditioning_flat": (
        conditioned("flat_vector.npz"),
        r".*: vectors should be numbers of 2 axes, .* float64 \(2,\)",
    ),
    "conditioning_nan": (conditioned("vectors_nan.npz"), ".*: vectors should be finite"),
    "conditioning_else": (conditioned("far.npz"), ".*: unknown array 'prompt'; valid: .*"),
    "conditioning_not_needed": (
        {"conditioning_file": "{files}/part.npz"},
        "conditioning_file '.*': the network takes no vectors",
    ),
    "head_unknown": ({"head": {"name": "gumble"}}, "unknown head 'gumble'; did you mean 'gumbel'.*"),
    "head_option": ({"head": {"name": "argmax", "temperature": 1}}, "head: unknown option 'temperature'; valid: none"),
    "no_length": ({"num_samples": "left out"}, ".*num_samples is missing"),
    "images": (
        {"known_pixels": {"images": "a.npz", "rows": 1}},
        "known_pixels: model wavenet makes no images; valid: made, pixelcnnpp",
    ),
    "other_model": (
        {"model": {"name": "made", "num_inputs": 9}},
        "WaveNetSamplerRunner samples from wavenet, not made",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_get_one_sentence(name: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, sentence = MISTAKES[name]
    said = json.loads(json.dumps(changes).replace("{files}", str(files)))
    assert run(tmp_path, "out", **said) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert re.fullmatch(f"error: (out.yml: )?{sentence}", error[0])
    assert not (tmp_path / "out").exists()


def test_other_samplers_say_which_runner_is_for_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "out", "SamplerRunner", num_samples="left out") == 2
    assert "use WaveNetSamplerRunner" in capsys.readouterr().err
    classifier = {"name": "densenet", "image_shape": [8, 8, 1], "num_classes": 2, "blocks": [1]}
    assert run(tmp_path, "out", "SamplerRunner", num_samples="left out", model=classifier) == 2
