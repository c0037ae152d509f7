"""Decode the sound of an untrusted file to 16-bit mono, in time with its stamps.

Only ever called inside the limited process of :mod:`synctalk.media.sandbox`.
"""

from __future__ import annotations

import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as AvEOFError
from numpy.typing import NDArray

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits
from synctalk.media.source import audio_stream, undecodable

Int16Array = NDArray[np.int16]
_GAP_S = 0.04  # time stamps may jitter by this much before silence is added or samples dropped


class PcmTimeline:
    """Places decoded audio frames on a 16-bit mono timeline that starts at ``origin_s``.

    What was recorded before the origin is dropped, holes are filled with silence. Mixing is left
    to swresample at 16 bits, whose matrix cannot clip.
    """

    def __init__(self, sample_rate: int, origin_s: float | None) -> None:
        self.origin_s = origin_s
        self.position = 0  # samples given out so far
        self._rate = sample_rate
        self._skip = 0
        self._expected_s: float | None = None
        self._kind: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def push(self, frame: av.AudioFrame) -> Iterator[Int16Array]:
        """Blocks that become ready with ``frame``."""
        time_s = self._time_of(frame)
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        jumped = self._expected_s is None or abs(time_s - self._expected_s) > _GAP_S
        if jumped or kind != self._kind:
            yield from self.flush()
            yield from self._move_to(time_s)
            self._kind = kind
            self._resampler = av.AudioResampler("s16", "mono", self._rate)
        self._expected_s = time_s + frame.samples / frame.sample_rate
        frame.pts = None
        assert self._resampler is not None
        yield from self._emit(self._resampler.resample(frame))

    def flush(self) -> Iterator[Int16Array]:
        """What the resampler still holds."""
        if self._resampler is not None:
            yield from self._emit(self._resampler.resample(None))
            self._resampler = None

    def _time_of(self, frame: av.AudioFrame) -> float:
        if frame.time is None:
            return self._expected_s or 0.0
        return float(frame.time)

    def _move_to(self, time_s: float) -> Iterator[Int16Array]:
        if self.origin_s is None:
            self.origin_s = time_s
        hole = round((time_s - self.origin_s) * self._rate) - self.position
        self._skip = max(0, -hole)
        while hole > 0:
            block = np.zeros(min(hole, self._rate), np.int16)
            hole -= len(block)
            self.position += len(block)
            yield block

    def _emit(self, frames: Iterable[av.AudioFrame]) -> Iterator[Int16Array]:
        for frame in frames:
            samples = frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            dropped = min(self._skip, len(samples))
            self._skip -= dropped
            self.position += len(samples) - dropped
            if dropped < len(samples):
                yield samples[dropped:]


def decode_pcm(
    path: Path, container: InputContainer, sample_rate: int, origin_s: float | None
) -> Iterator[Int16Array]:
    """Mono 16-bit blocks from ``origin_s`` (None: the first sample) to the end of the sound.

    Raises:
        MediaError: ``NO_AUDIO`` or ``UNDECODABLE``.
    """
    stream = audio_stream(container)
    if stream is None:
        raise no_audio(path)
    timeline = PcmTimeline(sample_rate, origin_s)
    try:
        for packet in container.demux(stream):
            for frame in _decode(packet):
                yield from timeline.push(frame)
        yield from timeline.flush()
    except av.error.MemoryError:
        raise
    except av.FFmpegError as error:
        raise undecodable(path, "sound", error) from error
    if timeline.position == 0:
        raise no_audio(path)


def sound_end(container: InputContainer, sample_rate: int) -> int | None:
    """Samples of sound that an MP4 declares; its codec's padding at the end does not count."""
    stream = audio_stream(container)
    if stream is None or not stream.duration or "mp4" not in container.format.name:
        return None
    return round(float(stream.duration * (stream.time_base or 0)) * sample_rate)


def no_audio(path: Path) -> MediaError:
    """The error for a file without sound."""
    return MediaError(
        f"{path}: has no sound.",
        reason="NO_AUDIO",
        remedy="Give a file in which the person can be heard speaking.",
    )


def write_pcm(
    path: Path,
    blocks: Iterable[Int16Array],
    sample_rate: int,
    limits: MediaLimits,
    wanted: int | None = None,
) -> int:
    """Write blocks, at most ``wanted`` samples of them, to a WAV file; returns how many.

    Raises:
        MediaError: ``TOO_LONG``.
    """
    n = 0
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        for block in blocks:
            block = block if wanted is None else block[: wanted - n]
            n += len(block)
            if n > limits.max_duration_s * sample_rate:
                raise MediaError(
                    f"{path.name}: longer than {limits.max_duration_s / 60:.0f} minutes.",
                    reason="TOO_LONG",
                    remedy="Give a shorter recording.",
                )
            out.writeframesraw(block.astype("<i2").tobytes())
    return n


def _decode(packet: av.Packet[AudioStream]) -> list[av.AudioFrame]:
    """Frames of one packet; a damaged packet is a hole, which the time stamps then show."""
    try:
        return packet.decode()
    except (av.error.InvalidDataError, AvEOFError):
        return []
