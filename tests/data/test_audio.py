"""Sound: wave files in every format, made here, clips, and their pictures."""

from __future__ import annotations

import ast
import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from data.audio.clip import (
    EMBEDDED,
    AudioError,
    Waveform,
    clip_path,
    load_clip,
    read_chunks,
    read_wave,
    resample,
    write_wave,
)
from runners.plotting.audio import compare_audio, draw_spectrogram, draw_waveform, spectrogram
from runners.plotting.style import new_figure, png

RATE = 8000
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def tone(count: int = 400, rate: int = RATE, frequency: float = 440.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(count) / rate)


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def header(tag: int, channels: int, width: int, rate: int = RATE) -> bytes:
    frame = channels * width
    plain = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, 8 * width)
    return chunk(b"fmt ", plain)


def extensible(tag: int, channels: int, width: int) -> bytes:
    frame = channels * width
    plain = struct.pack("<HHIIHH", EXTENSIBLE, channels, RATE, RATE * frame, frame, 8 * width)
    subtype = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return chunk(b"fmt ", plain + struct.pack("<HHI", 22, 8 * width, 0) + subtype)


def riff(*chunks: bytes) -> bytes:
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


def encode(x: np.ndarray, tag: int, width: int) -> bytes:
    """Samples (N,) or (N, channels) as a WAV file has them."""
    if tag == FLOAT:
        return x.astype(f"<f{width}").tobytes()
    if width == 1:
        return np.round(x * 127 + 128).astype(np.uint8).tobytes()
    codes = np.round(x * (2.0 ** (8 * width - 1) - 1)).astype("<i4")
    return b"".join(int(code).to_bytes(width, "little", signed=True) for code in codes.ravel())


FORMATS = [(PCM, 1), (PCM, 2), (PCM, 3), (PCM, 4), (FLOAT, 4), (FLOAT, 8)]


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("tag", "width"), FORMATS)
def test_every_format_is_read_and_mixed_down(tmp_path: Path, tag: int, width: int, channels: int) -> None:
    x = np.stack([tone(frequency=200.0 * (i + 1)) for i in range(channels)], axis=1)
    path = tmp_path / "a.wav"
    path.write_bytes(riff(header(tag, channels, width), chunk(b"data", encode(x, tag, width))))
    wave = read_wave(path)
    step = 0.0 if tag == FLOAT else 2.0 ** (2 - 8 * width)
    assert wave.sample_rate == RATE
    assert wave.samples.dtype == np.float32
    np.testing.assert_allclose(wave.samples, x.mean(axis=1), atol=step + 1e-7)


@pytest.mark.parametrize(("tag", "width"), FORMATS)
def test_reads_what_scipy_reads(tmp_path: Path, tag: int, width: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(extensible(tag, 1, width), chunk(b"data", encode(tone(), tag, width))))
    rate, theirs = wavfile.read(path)
    full = {"u": 128.0, "i": 2.0 ** (8 * theirs.itemsize - 1), "f": 1.0}[theirs.dtype.kind]
    offset = 128 if theirs.dtype.kind == "u" else 0
    assert rate == RATE
    np.testing.assert_array_equal(read_wave(path).samples, ((theirs.astype(float) - offset) / full).astype(np.float32))


def test_other_chunks_are_skipped_without_a_word(tmp_path: Path) -> None:
    data = chunk(b"data", encode(tone(), PCM, 2))
    path = tmp_path / "a.wav"
    extra = [chunk(b"LIST", b"INFOodd"), chunk(b"id3 ", b"x" * 31), chunk(b"bext", b"")]
    path.write_bytes(riff(extra[0], header(PCM, 1, 2), extra[1], data, *extra) + b"rest")
    np.testing.assert_allclose(read_wave(path).samples, tone(), atol=1e-4)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_length_that_a_pipe_could_not_know(tmp_path: Path, size: int) -> None:
    data = b"data" + struct.pack("<I", size) + encode(tone(), PCM, 2) + b"\1"
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", size) + b"WAVE" + header(PCM, 1, 2) + data)
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav").samples, tone(), atol=1e-4)


def long_form(form: bytes, size: int, declared: int) -> bytes:
    """RF64: the length of the data is in a chunk of its own."""
    content = encode(tone(), PCM, 2)
    long_size = chunk(b"ds64", struct.pack("<QQQI", 0, size, 0, 0))
    return (
        form + b"\xff" * 4 + b"WAVE" + long_size + header(PCM, 1, 2) + b"data" + struct.pack("<I", declared) + content
    )


@pytest.mark.parametrize("form", [b"RF64", b"BW64"])
@pytest.mark.parametrize(("size", "declared"), [(800, 0xFFFFFFFF), (0, 0xFFFFFFFF), (2**64 - 1, 0xFFFFFFFF), (0, 800)])
def test_long_files(tmp_path: Path, form: bytes, size: int, declared: int) -> None:
    (tmp_path / "a.wav").write_bytes(long_form(form, size, declared))
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav").samples, tone(), atol=1e-4)


@pytest.mark.parametrize("riff_size", [0, 36, 0xFFFFFFFF])
def test_data_of_length_0_go_to_the_end(tmp_path: Path, riff_size: int) -> None:
    data = b"data" + struct.pack("<I", 0) + encode(tone(), PCM, 2)
    content = b"RIFF" + struct.pack("<I", riff_size) + b"WAVE" + header(PCM, 1, 2) + data
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_allclose(read_wave(tmp_path / "a.wav").samples, tone(), atol=1e-4)


@pytest.mark.parametrize("kind", [b"LIST", b"id3 ", b"odd!"])
def test_odd_chunks_with_and_without_their_pad(tmp_path: Path, kind: bytes) -> None:
    data, odd = chunk(b"data", encode(tone(), PCM, 2)), kind + struct.pack("<I", 7) + b"INFOabc"
    for pad in (b"", b"\0", b"d"):
        (tmp_path / "a.wav").write_bytes(riff(header(PCM, 1, 2), odd + pad, data))
        np.testing.assert_allclose(read_wave(tmp_path / "a.wav").samples, tone(), atol=1e-4)


def test_rates_that_sound_does_not_have(tmp_path: Path) -> None:
    slow = Waveform(np.ones(3, np.float32), 3)
    assert len(resample(slow, 3000).samples) == 3000
    with pytest.raises(
        AudioError, match="sound of 3 samples a second cannot be resampled to 16000, more than 1,000 times"
    ):
        resample(slow, 16_000)
    with pytest.raises(AudioError, match="at most 1,000,000 Hz, not 5,000,000,000"):
        write_wave(tmp_path / "a.wav", np.ones(3), 5_000_000_000)
    with pytest.raises(AudioError, match="cannot be read: embedded null byte"):
        read_wave("a\0b.wav")
    assert not list(tmp_path.iterdir())


GOOD = riff(header(PCM, 1, 2), chunk(b"data", encode(tone(), PCM, 2)))
BAD_FILES = {
    "nothing": (b"", "is empty and is no WAV file"),
    "mp3": (b"ID3\x04" + b"\0" * 40, "is no WAV file: convert it"),
    "half": (GOOD[: len(GOOD) // 2], "is truncated: 800 bytes of samples should follow the header, 378 do"),
    "header": (GOOD[:20], "is damaged"),
    "no samples where": (GOOD[:36], "damaged or truncated: it has no samples"),
    "zero": (riff(header(PCM, 1, 2), chunk(b"data", b"")), "holds no samples"),
    "one byte": (riff(header(PCM, 1, 2), chunk(b"data", b"x")), "holds no samples"),
    "no format": (riff(chunk(b"data", b"1234")), "has no format"),
    "mu-law": (riff(header(7, 1, 1), chunk(b"data", b"1234")), "compressed format 0x0007"),
    "half float": (riff(header(FLOAT, 1, 2), chunk(b"data", b"1234")), "16-bit floating point: .* of 32, 64 bits"),
    "int64": (riff(header(PCM, 1, 8), chunk(b"data", b"12345678")), "64-bit PCM: .* of 8, 16, 24, 32 bits"),
    "no channels": (riff(header(PCM, 0, 2), chunk(b"data", b"1234")), "damaged: its format says 0 channels"),
    "no rate": (
        riff(header(PCM, 1, 2, rate=0), chunk(b"data", b"1234")),
        "damaged: its format says 1 channels at 0 Hz",
    ),
    "high rate": (
        riff(header(PCM, 1, 1, rate=2**32 - 1), chunk(b"data", b"1234")),
        "says 4,294,967,295 samples a second; up to 1,000,000 are read",
    ),
    "half RF64": (long_form(b"RF64", 900, 0xFFFFFFFF), "is truncated: 900 bytes .* 800 do"),
    "no data but names": (riff(header(PCM, 1, 2), chunk(b"data", b""), chunk(b"LIST", b"INFO")), "holds no samples"),
    "extensible": (
        riff(extensible(PCM, 1, 2).replace(b"\x71", b"\x72"), chunk(b"data", b"1234")),
        "has an extensible format of an unknown kind, 0100000000001000800000aa00389b72",
    ),
    "extensible without": (riff(header(EXTENSIBLE, 1, 2), chunk(b"data", b"1234")), "extensible format .*, none"),
    "nan": (riff(header(FLOAT, 1, 4), chunk(b"data", encode(np.array([0, np.nan]), FLOAT, 4))), "first at 0.000125 s"),
    "inf": (riff(header(FLOAT, 2, 4), chunk(b"data", encode(np.array([np.inf, -np.inf]), FLOAT, 4))), "infinity"),
    "huge": (riff(header(FLOAT, 1, 8), chunk(b"data", encode(np.array([1e300]), FLOAT, 8))), "beyond float32"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_what_cannot_be_read_is_one_sentence_with_the_name(tmp_path: Path, case: str) -> None:
    content, message = BAD_FILES[case]
    (tmp_path / "bad.wav").write_bytes(content)
    with pytest.raises(AudioError, match=message) as raised:
        read_wave(tmp_path / "bad.wav")
    assert "bad.wav" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    for size in range(len(GOOD)):
        (tmp_path / "cut.wav").write_bytes(GOOD[:size])
        with pytest.raises(AudioError, match="cut.wav"):
            read_wave(tmp_path / "cut.wav")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(GOOD)
    with pytest.raises(AudioError, match=r"spech\.wav' does not exist; did you mean 'speech\.wav'\?"):
        read_wave(tmp_path / "spech.wav")
    with pytest.raises(AudioError, match="does not exist$"):
        load_clip(str(tmp_path / "nowhere" / "a.wav"))
    with pytest.raises(AudioError, match="cannot be read: Is a directory"):
        read_wave(tmp_path)


@pytest.mark.parametrize("size", [1, 7, 400, 1000])
@pytest.mark.parametrize("width", [2, 3])
def test_chunks_are_the_file(tmp_path: Path, size: int, width: int) -> None:
    x = np.stack([tone(), tone(frequency=100.0)], axis=1)
    content = riff(header(PCM, 2, width), chunk(b"data", encode(x, PCM, width)), chunk(b"LIST", b"INFO"))
    (tmp_path / "a.wav").write_bytes(content)
    chunks = list(read_chunks(tmp_path / "a.wav", size))
    assert [len(part.samples) for part in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert {part.sample_rate for part in chunks} == {RATE}
    np.testing.assert_array_equal(
        np.concatenate([part.samples for part in chunks]), read_wave(tmp_path / "a.wav").samples
    )


def test_chunk_size_is_checked_at_once() -> None:
    with pytest.raises(AudioError, match="chunk_size should be at least 1 sample, not 0"):
        read_chunks("nowhere.wav", 0)


def test_written_samples_come_back_bit_for_bit(tmp_path: Path) -> None:
    codes = np.arange(-32768, 32768).astype("<i2")
    (tmp_path / "a.wav").write_bytes(riff(header(PCM, 1, 2, 44_100), chunk(b"data", codes.tobytes())))
    wave = read_wave(tmp_path / "a.wav")
    write_wave(tmp_path / "new" / "b.wav", wave.samples, wave.sample_rate)
    rate, again = wavfile.read(tmp_path / "new" / "b.wav")
    assert rate == 44_100
    np.testing.assert_array_equal(again, codes)


def test_what_is_written_is_clipped_and_goes_into_open_files_too() -> None:
    buffer = io.BytesIO()
    write_wave(buffer, np.array([-7.0, -1.0, 0.0, 0.25, 1.0, 3.0], np.float32), 16_000)
    rate, codes = wavfile.read(io.BytesIO(buffer.getvalue()))
    assert (rate, codes.tolist()) == (16_000, [-32768, -32768, 0, 8192, 32767, 32767])


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        ([0.0, np.nan], 8000, "must be finite: sample 1 is not"),
        ([np.inf], 8000, "must be finite: sample 0"),
        ([], 8000, r"one or more samples, shape \(N,\), not \(0,\)"),
        ([[0.0, 0.1]], 8000, r"not \(1, 2\)"),
        ([0.0], 0, "at least 1 Hz, not 0"),
    ],
)
def test_what_is_no_sound_is_not_written(tmp_path: Path, samples: list[float], rate: int, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        write_wave(tmp_path / "a.wav", np.array(samples), rate)
    with pytest.raises(AudioError, match=message):
        Waveform(np.array(samples, np.float32), rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000])
def test_resampled_tone_is_the_tone_at_the_new_rate(rate: int) -> None:
    count = rate // 4 + 1
    wave = Waveform(tone(count, rate).astype(np.float32), rate)
    result = resample(wave, 16_000)
    assert result.sample_rate == 16_000
    assert len(result.samples) == -(-count * 16_000 // rate)
    inner = slice(300, -300)  # the filter sees zeros beyond the ends
    expected = tone(len(result.samples), 16_000)
    np.testing.assert_allclose(result.samples[inner], expected[inner], atol=2e-3)


def test_resampling_removes_what_the_new_rate_cannot_hold_and_nothing_at_the_same_rate() -> None:
    wave = Waveform(tone(4800, 48_000, 12_000.0).astype(np.float32), 48_000)
    assert np.abs(resample(wave, 16_000).samples[100:-100]).max() < 0.01
    assert resample(wave, 48_000) is wave
    with pytest.raises(AudioError, match="at least 1 Hz, not -1"):
        resample(wave, -1)


def test_the_embedded_clip_is_three_seconds_of_speech() -> None:
    clip = load_clip()
    assert clip.samples.shape == (48_000,)
    assert (clip.sample_rate, clip.duration_s) == (16_000, 3.0)
    assert np.abs(clip.samples).max() == 1.0
    loud = np.flatnonzero(np.abs(clip.samples) > 0.01)
    assert 700 < loud[0] < 1000
    assert 700 < 48_000 - loud[-1] < 1000
    assert abs(clip.samples.mean()) < 0.01
    raw = read_wave(Path(load_clip.__code__.co_filename).with_name("speech.wav"))
    assert np.abs(raw.samples).max() == pytest.approx(0.9, abs=1e-3)
    np.testing.assert_allclose(clip.samples, raw.samples / np.abs(raw.samples).max(), atol=1e-7)


@pytest.mark.parametrize(
    ("rate", "max_s", "length"), [(16_000, 0.5, 8000), (8000, 0.1, 800), (11_025, 100, 33_075), (44_100, None, 132_300)]
)
def test_clips_are_as_long_as_said(rate: int, max_s: float | None, length: int) -> None:
    clip = load_clip(None, rate, max_s)
    assert len(clip.samples) == length
    assert np.abs(clip.samples).max() == 1.0


def test_silent_clips_and_bad_lengths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "quiet.wav"
    write_wave(path, np.concatenate([np.zeros(4000), tone()]), RATE)
    assert len(load_clip(path, RATE).samples) == 4400
    with pytest.raises(AudioError, match=r"quiet\.wav' is silent in its first 0\.25 s"):
        load_clip(path, RATE, 0.25)
    write_wave(path, np.full(100, 0.5), RATE)
    with pytest.raises(AudioError, match=r"quiet\.wav' is silent:"):
        load_clip(path, 16_000)
    for bad in (0.0, -1.0, float("nan"), 1e-9):
        with pytest.raises(AudioError, match="max_s should be at least a sample at 8000 Hz"):
            load_clip(path, 8000, bad)


def test_reading_does_not_import_scipy() -> None:
    code = "import sys, data.audio.clip, runners.plotting.audio; print(any(m.startswith('scipy') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) is False


def test_a_sine_is_a_line_of_0_db_at_its_frequency() -> None:
    magnitude_db, (left, right, bottom, top) = spectrogram(tone(8000, 8000, 1000.0, 1.0), 8000)
    frequencies, times = magnitude_db.shape
    middle = magnitude_db[:, times // 2]
    step = (top - bottom) / frequencies
    assert bottom + (np.argmax(middle) + 0.5) * step == pytest.approx(1.0, abs=step)
    assert middle.max() == pytest.approx(0.0, abs=0.1)
    assert middle[frequencies // 2 :].max() < -60
    width = (right - left) / times
    assert left == pytest.approx(-width / 2)
    assert right == pytest.approx(1.0, abs=width)


@pytest.mark.parametrize("count", [2, 3, 100, 300_000, 2_000_000])
def test_sound_of_any_length_is_drawn_small(count: int) -> None:
    samples = np.random.RandomState(0).uniform(-1, 1, count)
    left, right = new_figure(4, 2).subplots(1, 2)
    draw_waveform(left, samples, 16_000)
    image = draw_spectrogram(right, samples, 16_000, loudest_db=-10.0, range_db=50.0)
    assert image.get_clim() == (-60.0, -10.0)
    assert image.get_array().shape[1] <= 1600
    drawn = [line.get_xdata() for line in left.lines] or [left.collections[0].get_paths()[0].vertices]
    assert len(drawn[0]) <= 4000
    assert left.get_xlim()[1] == right.get_xlim()[1] == count / 16_000


@pytest.mark.parametrize(
    ("samples", "message"),
    [([0.5], "two or more samples"), ([0.0, np.nan], "sample 1 is not"), ([[0.0, 1.0]], r"not of shape \(1, 2\)")],
)
def test_sound_that_is_none_is_not_drawn(samples: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_audio({"x": np.array(samples)}, RATE, "")
    with pytest.raises(ValueError, match="one clip or more"):
        compare_audio({}, RATE, "none")


@pytest.mark.parametrize("clips", [{"one": tone()}, {"tone": tone(), "silence": np.zeros(50), "loud": tone(900)}])
def test_pictures_are_drawn(clips: dict[str, np.ndarray]) -> None:
    with Image.open(io.BytesIO(png(compare_audio(clips, RATE, "title")))) as image:
        assert image.width > 1000
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_embedded_sounds_are_named_and_other_names_are_files(tmp_path):
    assert clip_path(None) == clip_path("speech") == EMBEDDED["speech"]
    sentences = read_wave(clip_path("sentences"))
    assert sentences.sample_rate == 16_000
    assert len(sentences.samples) == 1_104_335
    assert clip_path("mine.wav") == Path("mine.wav")
    assert clip_path("") == Path()  # a folder, which the reading refuses
