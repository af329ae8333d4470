"""WAV files: read whole or chunk by chunk, mixed down to one channel, and written as 16-bit PCM.

The format is that of Microsoft and IBM's "Multimedia Programming Interface and Data Specifications 1.0" (1991), with
the WAVE_FORMAT_EXTENSIBLE header, and RF64 (EBU Tech 3306; BW64 in ITU-R BS.2088) for more than 4 GiB. The samples are
read here and not by scipy or the standard library: of those one cannot stream 24-bit files, the other reads no floating
point, and both take a truncated file for a short one.
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
_FORMATS = (b"RIFF", b"RF64", b"BW64")
_SUBTYPE = bytes.fromhex("000000001000800000aa00389b71")  # of an extensible format, behind the tag of a plain one
_NOT_KNOWN = 0x7FFFF000  # the data's length from here on may be what ffmpeg and sox write into a pipe: "to the end"
_IN_DS64 = 0xFFFFFFFF  # the length of RF64's data is in another chunk
_NAMES = (b"data", b"fmt ", b"LIST", b"fact", b"bext", b"id3 ", b"cue ", b"smpl", b"JUNK")  # of chunks
_HIGHEST_RATE = 1_000_000  # in Hz; headers that say more are damaged
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
        AudioError: the samples are not float32 (N,), none, or not finite, or the rate is not from 1 to 1,000,000 Hz.
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

    Chunks other than the format and the data (names, markers, pictures) are skipped. Where the header says 0 bytes of
    data, as recorders write that cannot go back, all that follows is data, unless it is chunks.

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
        AudioError: no samples, not (N,), NaN or infinity among them, or a rate that is not from 1 to 1,000,000 Hz.
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
    check_rate(sample_rate)


def check_rate(sample_rate: int) -> None:
    """Raise AudioError unless a rate is one of sound."""
    if sample_rate < 1:
        raise AudioError(f"the sample rate should be at least 1 Hz, not {sample_rate}")
    if sample_rate > _HIGHEST_RATE:
        raise AudioError(f"the sample rate should be at most {_HIGHEST_RATE:,} Hz, not {sample_rate:,}")


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
    except AudioError:
        raise
    except ValueError as error:  # a name that no file can have
        raise AudioError(f"{name} cannot be read: {error}") from None


def _header(file: BinaryIO, name: str) -> tuple[_Format, int]:
    """Read the format of a sample and the number of bytes of whole frames; the file is then at their first."""
    riff = file.read(12)
    if riff[:4] not in _FORMATS or riff[8:] != b"WAVE":
        begins = "is empty" if not riff else f"begins with {riff[:4]!r}"
        raise AudioError(f"{name} {begins} and is no WAV file: convert it first, for example with ffmpeg or sox")
    form, long_size = None, 0
    while len(head := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data" and form is not None:
            return form, _data_size(file, size, long_size, form, name)
        after = file.tell() + size
        if kind == b"fmt ":
            form = _format(file.read(min(size, 40)), name)
        elif kind == b"ds64" and size >= 16:
            (long_size,) = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))
        _go_behind(file, after)
    raise AudioError(
        f"{name} is damaged or truncated: it has no {'samples' if form else 'format'} where they should be"
    )


def _go_behind(file: BinaryIO, end: int) -> None:
    """Go to the chunk behind one that ends at ``end``: the next even place, but for writers that leave the pad out."""
    file.seek(end)
    if end % 2 and file.read(4) not in _NAMES:
        file.seek(end + 1)
    elif end % 2:
        file.seek(end)


def _are_chunks(file: BinaryIO, start: int, end: int) -> bool:
    """Whether a file is nothing but chunks from ``start`` on."""
    while start < end:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or not head[:4].isascii() or not head[:4].decode("ascii").isprintable():
            return False
        (size,) = struct.unpack("<4xI", head)
        start += 8 + size + size % 2
    return start <= end + 1


def _data_size(file: BinaryIO, declared: int, long_size: int, form: _Format, name: str) -> int:
    """The number of bytes of whole frames from here on; ``long_size`` is what RF64's own chunk says, or 0."""
    start, end = file.tell(), os.fstat(file.fileno()).st_size
    there, is_known = end - start, declared < _NOT_KNOWN
    if declared == _IN_DS64 and long_size:
        declared, is_known = long_size, long_size < 2**63
    elif declared == 0 and not _are_chunks(file, start, end):
        declared = there
    file.seek(start)
    if there < declared and is_known:
        raise AudioError(f"{name} is truncated: {declared:,} bytes of samples should follow the header, {there:,} do")
    size = min(declared, there) // form.frame * form.frame
    if not size:
        raise AudioError(f"{name} holds no samples")
    return size


def _format(content: bytes, name: str) -> _Format:
    if len(content) < 16:
        raise AudioError(f"{name} is damaged: its format should be 16 bytes or more, not {len(content)}")
    tag, channels, sample_rate, _, frame, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == _EXTENSIBLE:
        if content[26:] != _SUBTYPE:
            raise AudioError(f"{name} has an extensible format of an unknown kind, {content[24:].hex() or 'none'}")
        (tag,) = struct.unpack("<H", content[24:26])
    if tag not in _WIDTHS:
        raise AudioError(
            f"{name} is in the compressed format {tag:#06x}: only PCM and floating point are read, convert it first"
        )
    width = frame // max(channels, 1)
    if not channels or not sample_rate or width * channels != frame or not 0 < bits <= 8 * width:
        said = f"{channels} channels at {sample_rate} Hz, {bits} bits in {frame} bytes"
        raise AudioError(f"{name} is damaged: its format says {said}")
    if sample_rate > _HIGHEST_RATE:
        raise AudioError(f"{name} says {sample_rate:,} samples a second; up to {_HIGHEST_RATE:,} are read")
    if width not in _WIDTHS[tag]:
        kind = "PCM" if tag == _PCM else "floating point"
        valid = ", ".join(str(8 * valid) for valid in _WIDTHS[tag])
        raise AudioError(f"{name} is {8 * width}-bit {kind}: {kind} is read of {valid} bits, convert it first")
    return _Format(tag, channels, sample_rate, width)
