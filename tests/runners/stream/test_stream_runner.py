"""Sound through a network chunk by chunk, from the command line to results.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from flax import nnx
from PIL import Image
from scipy.io import wavfile

from data.audio.stream import SoundStream
from data.audio.wave_file import AudioError
from models import MODELS, model_config
from models.weights.native import save_checkpoint
from models.weights.stream_state import save_state
from runners.cli.main import main
from runners.stream.figures import stream_figure
from runners.stream.journal import Journal
from runners.stream.listener import Predictor
from runners.stream.report import StreamResult, stream_report
from solvers.systems.autoregressive import log_likelihood
from tests.kit.results import assert_readable, read_results

RATE, T, CHUNK = 1000, 60, 7
WAVENET = {
    **{"name": "wavenet", "block": "gated", "dilations": [1, 2], "num_hidden": 4, "num_skip": 6, "num_classes": 16},
    "sample_rate": RATE,
}
STREAMING = {"name": "streaming", "dilations": [1, 2], "num_hidden": 4, "num_outputs": 2}


def sound(length: int = T) -> np.ndarray:
    return (0.5 * np.sin(0.3 * np.arange(length)) * np.hanning(length)).astype(np.float32)


def build(options: dict[str, Any], seed: int = 0) -> Any:
    return MODELS[options["name"]](model_config(options), rngs=nnx.Rngs(seed))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with weights and a wav."""
    save_checkpoint(tmp_path / "w.safetensors", "wavenet", build(WAVENET), {"cross_entropy": 1.0})
    wavfile.write(tmp_path / "a.wav", RATE, sound())
    return tmp_path


def stream(folder: Path, **changes: Any) -> int:
    config = {"checkpoint": str(folder / "w.safetensors"), "wav": str(folder / "a.wav"), "chunk_samples": CHUNK}
    (folder / "s.yml").write_text(yaml.safe_dump({**config, **changes}))
    return main(["--runner", "StreamRunner", "--config", str(folder / "s.yml"), "--out", str(folder / "out")])


def results(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(folder / "out" / "outputs.npz") as arrays:
        return read_results(folder / "out"), dict(arrays)


def test_surprisal_is_the_models_own_cross_entropy(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A gain, chunks of which the last is short, and weights whose network reads what it would generate."""
    assert stream(files, gain=1.5) == 0
    record, arrays = results(files)
    model = build(WAVENET)
    ids = model.from_sound(1.5 * jnp.asarray(sound()))[:, None]
    logs = jax.jit(lambda network, x: log_likelihood(network, model.head, x))(model.fold(T), ids)[:, 0]
    assert record["values"]["label"] == "surprisal (nats a sample)"
    assert record["values"]["mean"] == pytest.approx([-float(logs.mean())], rel=1e-5)
    by_chunk = [-logs[i : i + CHUNK].mean() for i in range(0, T, CHUNK)]
    np.testing.assert_allclose(arrays["values"][:, 0], by_chunk, rtol=1e-5)
    assert arrays["num_samples"].tolist() == [7] * 8 + [4]
    assert arrays["time_s"][-1] == T / RATE
    assert record["stream"].items() >= {"sample_rate": RATE, "num_samples": T, "num_chunks": 9}.items()
    assert record["full_pass"]["num_samples"] == T
    assert record["full_pass"]["max_abs_difference"] <= 1e-5
    latency = record["latency_s"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] == arrays["latency_s"].max()
    assert record["real_time_factor"] == pytest.approx(arrays["latency_s"].sum() / (T / RATE))
    assert record["late_chunks"] == np.sum(arrays["latency_s"] > arrays["num_samples"] / RATE)
    assert record["config"]["weights"] == {"cross_entropy": 1.0}
    assert {path.name for path in (files / "out").iterdir()} == {"results.json", "outputs.npz", "stream.png"}
    with Image.open(files / "out" / "stream.png") as picture:
        assert picture.size[0] > 1000
    said = capsys.readouterr().out
    assert "7 ms (7)" in said
    assert f"{record['values']['mean'][0]:.4g}" in said
    assert "0.06 s of sound at 1000 Hz." in said
    assert len(stream_figure(arrays, record, "drawn again from files").axes) == 3


def test_a_stream_goes_on_from_where_it_stopped(files: Path) -> None:
    """Twice the sound without a break, and once each with the state on disk in between."""
    assert stream(files, repeat=2, chunk_samples=20, check_s=0) == 0
    record, together = results(files)
    assert record["full_pass"] == {"num_samples": 0, "max_abs_difference": None}
    state = files / "states" / "one"
    assert stream(files, chunk_samples=20, save_state=str(state)) == 0
    _, first = results(files)
    assert stream(files, chunk_samples=20, restore_state=str(state), check_s=0.03) == 0
    record, second = results(files)
    np.testing.assert_array_equal(np.concatenate([first["values"], second["values"]]), together["values"])
    assert np.any(first["values"] != second["values"])
    assert record["full_pass"]["num_samples"] == 30
    assert record["full_pass"]["max_abs_difference"] <= 1e-5


def test_random_weights_of_a_stream_are_marked(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A silent file of another rate and two channels, which a network without a rate reads as it is."""
    wavfile.write(files / "silent.wav", 8000, np.zeros((90, 2), np.int16))
    changes = {"checkpoint": None, "model": STREAMING, "wav": str(files / "silent.wav")}
    assert stream(files, **changes, chunk_samples=None, chunk_ms=5) == 0
    record, arrays = results(files)
    assert arrays["num_samples"].tolist() == [40, 40, 10]
    assert arrays["values"].shape == (3, 2)
    assert record["config"]["weights"] == {"weights": "random"}
    assert record["values"]["label"] == "output"
    assert "streaming, random weights, silent.wav" in capsys.readouterr().out


def test_another_rate_is_resampled_if_asked_for(tmp_path: Path) -> None:
    path = str(tmp_path / "b.wav")
    wavfile.write(path, 2 * RATE, sound(2 * T))
    with pytest.raises(AudioError, match="b.wav' has 2000 samples a second, the model wants 1000; with resample: true"):
        SoundStream.open(path, RATE, may_resample=False, repeat=1)
    chunks = list(SoundStream.open(path, RATE, may_resample=True, repeat=2).chunks(25))
    assert [len(chunk) for chunk in chunks] == [25, 25, 10] * 2
    np.testing.assert_allclose(np.concatenate(chunks[:3]), sound(2 * T)[::2], atol=0.02)


def test_a_difference_from_the_full_pass_is_a_failure(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a chunk's state is not what goes on."""
    heard = Predictor.__call__

    def forgetful(self: Predictor, sound: jax.Array, state: Any, count: jax.Array) -> Any:
        values, new = heard(self, sound, state, count)
        return values, new if len(sound) == T else jax.tree.map(lambda a: 0 * a, new)

    monkeypatch.setattr(Predictor, "__call__", forgetful)
    assert stream(files, chunk_samples=6) == 1
    assert results(files)[0]["full_pass"]["max_abs_difference"] > 1e-3
    assert "off those of one pass over the same sound" in capsys.readouterr().err


def test_what_is_not_finite_is_a_failure(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(WAVENET)
    model.readout.bias[...] = jnp.finfo(jnp.float32).max  # finite, as weights of files are; their sums are not
    model.readout.kernel[...] = jnp.finfo(jnp.float32).max
    save_checkpoint(files / "w.safetensors", "wavenet", model, {})
    (files / "state").write_text("of an earlier run")
    assert stream(files, save_state=str(files / "state")) == 1
    assert "what comes out is not finite from 0 s on; check the weights" in capsys.readouterr().err
    assert not (files / "out").exists()
    assert (files / "state").read_text() == "of an earlier run"


@pytest.mark.parametrize(("label", "num_values"), [("surprisal (nats a sample)", 1), ("output", 9)])
def test_the_table_fits_a_terminal_of_80_columns(label: str, num_values: int) -> None:
    row, nothing = np.full(1, 1234.0), np.zeros(0, np.float32)
    values = np.full((1, num_values), -0.12344)
    journal = Journal(44100, row, 1e-6 * row, -row, row, values, nothing, np.zeros((0, 1), np.float32))
    report = stream_report("a stream", {}, StreamResult(journal, label, 44100, None, 1.0, 10**6))
    assert_readable(report.tables[0])


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that should be refused."""
    folder = tmp_path_factory.mktemp("broken")
    wavfile.write(folder / "a.wav", RATE, sound())
    wavfile.write(folder / "nan.wav", RATE, np.where(np.arange(T) == 50, np.nan, sound()).astype(np.float32))
    wavfile.write(folder / "none.wav", RATE, np.zeros(0, np.int16))
    (folder / "text.wav").write_text("no sound at all")
    made = {"name": "made", "num_inputs": 4, "hidden_sizes": [3]}
    save_checkpoint(folder / "made.safetensors", "made", build(made), {})
    for name, options in {"mu": {"quantization": "mu_law"}, "speaker": {"global_size": 2}}.items():
        save_checkpoint(folder / f"{name}.safetensors", "wavenet", build({**WAVENET, **options}), {})
    save_checkpoint(folder / "w.safetensors", "wavenet", build(WAVENET), {})
    save_state(folder / "state", {"time": jnp.int32(3)}, build(WAVENET, seed=1))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wav": "{here}/nan.wav"}, "nan.wav' holds NaN, infinity or a number beyond float32, first at 0.05 s"),
        ({"wav": "{here}/none.wav"}, "none.wav' holds no samples"),
        ({"wav": "{here}/text.wav"}, "is no WAV file"),
        ({"wav": "{here}/b.wav"}, "b.wav' does not exist; did you mean 'a.wav'?"),
        ({"wav": None}, "speech.wav' has 16000 samples a second, the model wants 1000"),
        ({"checkpoint": None}, "model or checkpoint is needed"),
        ({"checkpoint": "wavenets"}, "unknown checkpoint 'wavenets'"),
        ({"checkpoint": "{here}/made.safetensors"}, "model made does not read a stream; valid: streaming, wavenet"),
        ({"checkpoint": "{here}/mu.safetensors"}, "conditioned on nothing, such as wavenet_speech"),
        ({"checkpoint": "{here}/speaker.safetensors"}, "model wavenet cannot listen: conditioning: the network needs"),
        ({"model": {"name": "streaming"}}, "the config says name: streaming, the checkpoint name: wavenet"),
        ({"checkpoint": None, "model": {**STREAMING, "num_inputs": 2}}, "model streaming reads 2 numbers a step"),
        ({"checkpoint": None, "model": {"name": "stream"}}, "did you mean 'streaming'?"),
        ({"chunk_samples": 0}, "chunk_samples should be at least 1, not 0"),
        ({"chunk_samples": None, "chunk_ms": 0.1}, "chunk_ms 0.1 is less than a sample at 1000 Hz"),
        ({"gain": 0}, "gain should be more than 0, not 0"),
        ({"chunk_sample": 5}, "unknown config key 'chunk_sample'; did you mean 'chunk_samples'?"),
        ({"restore_state": "{here}/nowhere"}, "restore_state: state file '"),
        ({"restore_state": "{here}/w.safetensors"}, "w.safetensors holds no saved state: its format is 'trisolve-1'"),
        ({"restore_state": "{here}/state"}, "is the state of another network, or of one with other weights"),
        ({"save_state": "{here}"}, "' is a folder; expected a file"),
        ({"save_state": "{here}/a.wav/deep/state"}, "a.wav' is a file, not a folder"),
    ],
)
def test_mistakes_are_one_sentence(
    files: Path, broken: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: str
) -> None:
    here = {key: value.format(here=broken) if isinstance(value, str) else value for key, value in changes.items()}
    assert stream(files, **here) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not (files / "out").exists()
