"""WAV files: read whole or chunk by chunk, mixed down to one channel, and written as 16-bit PCM.

The format is that of Microsoft and IBM's "Multimedia Programming Interface and Data Specifications 1.0" (1991), with
the WAVE_FORMAT_EXTENSIBLE header. The samples are read here and not by scipy or the standard library: of those one
cannot stream 24-bit files, the other reads no floating point, and both take a truncated file for a short one.
"""

from __future__ import annotations

import io
import os
import struct
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Float32

from common.errors import UserError
from common.files import write_atomically
from common.names import nearest

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_WIDTHS = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8)}  # bytes of a sample
_NOT_KNOWN = 0x7FFFF000  # the data's length from here on may be what ffmpeg and sox write into a pipe: "to the end"
_PIECE = 1 << 20  # samples that are decoded at a time
_FULL_SCALE = 32768  # of 16 bits


class AudioError(UserError):
    """Audio cannot be had or written; the message says in one sentence why and what is needed."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """One channel of sound.

    Attributes:
        samples: float32 (N,), full scale is [-1, 1]; floating-point files may go beyond.
        sample_rate: samples a second, in Hz.

    Raises:
        AudioError: the samples are not float32 (N,), none, or not finite, or the rate is not positive.
    """

    samples: Float32[np.ndarray, " N"]
    sample_rate: int

    def __post_init__(self) -> None:
        """Check dtype, rank, values and rate."""
        if self.samples.dtype != np.float32:
            raise AudioError(f"the samples of a waveform must be float32, not {self.samples.dtype}")
        _check(self.samples, self.sample_rate)

    @property
    def duration_s(self) -> float:
        """The length of the sound in seconds."""
        return len(self.samples) / self.sample_rate


def read_wave(path: str | Path) -> Waveform:
    """Read a WAV file: PCM of 8, 16, 24 or 32 bits or floating point of 32 or 64; channels are averaged.

    Chunks other than the format and the data (names, markers, pictures) are skipped.

    Raises:
        AudioError: there is no such file, it is no WAV file, damaged, truncated or empty, it is compressed, or holds
            NaN or infinity. The message names the file.
    """
    chunks = list(read_chunks(path, _PIECE))
    return Waveform(np.concatenate([chunk.samples for chunk in chunks]), chunks[0].sample_rate)


def read_chunks(path: str | Path, chunk_size: int) -> Iterator[Waveform]:
    """The samples of ``read_wave``, ``chunk_size`` at a time (the last chunk may be shorter), never all in memory.

    What is wrong with the header or the file's length is raised when the first chunk is asked for, NaN and infinity
    when their chunk is.

    Raises:
        AudioError: as ``read_wave``; at once, where ``chunk_size`` is not positive.
    """
    if chunk_size < 1:
        raise AudioError(f"chunk_size should be at least 1 sample, not {chunk_size}")
    return _chunks(Path(path), chunk_size)


def write_wave(to: str | Path | BinaryIO, samples: Float[np.ndarray, " N"], sample_rate: int) -> None:
    """Write one channel as 16-bit PCM, whole or not at all: round(32768 x), no dither, clipped to full scale.

    So a 16-bit file that is read and written again has the same samples.

    Args:
        to: a path, whose folder is made where it is missing, or a binary file to write to.
        samples: (N,), full scale is [-1, 1].
        sample_rate: in Hz.

    Raises:
        AudioError: no samples, not (N,), NaN or infinity among them, or a rate that is not positive.
    """
    samples = np.asarray(samples, np.float64)
    _check(samples, sample_rate)
    codes = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(codes.tobytes())
    if isinstance(to, str | Path):
        write_atomically(Path(to), buffer.getvalue())
    else:
        to.write(buffer.getvalue())


def _check(samples: np.ndarray, sample_rate: int) -> None:
    if samples.ndim != 1 or not len(samples):
        raise AudioError(f"sound must be one channel of one or more samples, shape (N,), not {samples.shape}")
    if not np.isfinite(samples).all():
        raise AudioError(f"sound must be finite: sample {np.flatnonzero(~np.isfinite(samples))[0]} is not")
    if sample_rate < 1:
        raise AudioError(f"the sample rate should be at least 1 Hz, not {sample_rate}")


@dataclass(frozen=True)
class _Format:
    """The format of a sample, as the header declares it."""

    tag: int
    channels: int
    sample_rate: int
    width: int  # bytes of one channel's sample

    @property
    def frame(self) -> int:
        """The size in bytes of all channels' samples of one time."""
        return self.channels * self.width

    def decode(self, content: bytes) -> Float32[np.ndarray, " N"]:
        """The mean of the channels. Integers are scaled so that full scale is 1."""
        values: np.ndarray
        if self.tag == _FLOAT:
            values = np.frombuffer(content, f"<f{self.width}")
        elif self.width == 1:  # alone unsigned
            values = (np.frombuffer(content, np.uint8) - 128.0) / 128
        else:
            # Into the upper bytes of 32 bits, whatever the width.
            padded = np.zeros((len(content) // self.width, 4), np.uint8)
            padded[:, 4 - self.width :] = np.frombuffer(content, np.uint8).reshape(-1, self.width)
            values = padded.view("<i4")[:, 0] / 2.0**31
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the caller
            return values.reshape(-1, self.channels).mean(axis=1, dtype=np.float64).astype(np.float32)


def _chunks(path: Path, chunk_size: int) -> Iterator[Waveform]:
    name = f"audio file {str(path)!r}"
    try:
        with path.open("rb") as file:
            form, size = _header(file, name)
            for start in range(0, size, chunk_size * form.frame):
                samples = form.decode(file.read(min(chunk_size * form.frame, size - start)))
                if not np.isfinite(samples).all():
                    time = (start // form.frame + np.flatnonzero(~np.isfinite(samples))[0]) / form.sample_rate
                    raise AudioError(f"{name} holds NaN, infinity or a number beyond float32, first at {time:.6g} s")
                yield Waveform(samples, form.sample_rate)
    except FileNotFoundError:
        near = nearest(path.name, (other.name for other in path.parent.glob("*.[wW][aA][vV]")))
        raise AudioError(f"{name} does not exist" + (f"; did you mean {near!r}?" if near else "")) from None
    except OSError as error:
        raise AudioError(f"{name} cannot be read: {error.strerror or error}") from error


def _header(file: BinaryIO, name: str) -> tuple[_Format, int]:
    """Read the format of a sample and the number of bytes of whole frames; the file is then at their first."""
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        begins = "is empty" if not riff else f"begins with {riff[:4]!r}"
        raise AudioError(f"{name} {begins} and is no WAV file: convert it first, for example with ffmpeg or sox")
    form = None
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data" and form is not None:
            return form, _data_size(size, os.fstat(file.fileno()).st_size - file.tell(), form, name)
        after = file.tell() + size + size % 2
        if kind == b"fmt ":
            form = _format(file.read(min(size, 40)), name)
        file.seek(after)
    raise AudioError(
        f"{name} is damaged or truncated: it has no {'samples' if form else 'format'} where they should be"
    )


def _data_size(declared: int, there: int, form: _Format, name: str) -> int:
    if there < declared < _NOT_KNOWN:
        raise AudioError(f"{name} is truncated: {declared:,} bytes of samples should follow the header, {there:,} do")
    size = min(declared, there) // form.frame * form.frame
    if not size:
        raise AudioError(f"{name} holds no samples")
    return size


def _format(content: bytes, name: str) -> _Format:
    if len(content) < 16:
        raise AudioError(f"{name} is damaged: its format should be 16 bytes or more, not {len(content)}")
    tag, channels, sample_rate, _, frame, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == _EXTENSIBLE and len(content) >= 26:
        (tag,) = struct.unpack("<H", content[24:26])
    if tag not in _WIDTHS:
        raise AudioError(
            f"{name} is in the compressed format {tag:#06x}: only PCM and floating point are read, convert it first"
        )
    width = frame // max(channels, 1)
    if not channels or not sample_rate or width * channels != frame or not 0 < bits <= 8 * width:
        said = f"{channels} channels at {sample_rate} Hz, {bits} bits in {frame} bytes"
        raise AudioError(f"{name} is damaged: its format says {said}")
    if width not in _WIDTHS[tag]:
        kind = "PCM" if tag == _PCM else "floating point"
        valid = ", ".join(str(8 * valid) for valid in _WIDTHS[tag])
        raise AudioError(f"{name} is {8 * width}-bit {kind}: {kind} is read of {valid} bits, convert it first")
    return _Format(tag, channels, sample_rate, width)
