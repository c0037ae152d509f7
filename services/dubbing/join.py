"""Segments to one video without re-encoding, and the sound beside them.

Packets are copied. What makes that seamless is the renderer's: every segment begins with a key
frame, refers to nothing outside itself, and has the parameter sets of all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream

from services.common.dubs import VideoFormat
from services.common.errors import CorruptData
from services.dubbing.sound import Pcm

_BLOCK = 1024


@dataclass(frozen=True)
class Form:
    """How segments come and how they are joined.

    Args:
        suffix: of a segment's key and file.
        demuxer: reads a segment.
        muxer: writes the whole, and with ``options``.
        sound: encoder of the sound.
        decoder: gives back the alpha channel; empty: there is none.
    """

    suffix: str
    demuxer: str
    muxer: str
    options: Mapping[str, str] = field(hash=False)
    sound: str
    decoder: str = ""


_FAST_START = {"movflags": "+faststart"}
FORMS: dict[VideoFormat, Form] = {
    "mp4": Form("ts", "mpegts", "mp4", _FAST_START, "aac"),
    "webm": Form("webm", "matroska", "webm", {}, "libopus", "libvpx-vp9"),
    "mov": Form("mov", "mov", "mov", _FAST_START, "pcm_s16le", "prores"),
}


class Joiner:
    """Writes the video; a context manager. The sound is written as far as the picture has come.

    Args:
        path: file to write.
        fps: frames per second.
        sound: what is heard, from the first frame on.
        form: of segments and video.
    """

    def __init__(self, path: Path, fps: int, sound: Pcm, form: Form) -> None:
        self._form = form
        self.frame_count = 0
        self._fps = fps
        self._sound = sound
        self._blocks = sound.blocks(_BLOCK)
        self._heard = 0
        self._video: VideoStream | None = None
        self._extradata = b""
        self._container = av.open(
            str(path), "w", format=form.muxer, container_options=dict(form.options)
        )

    def add(self, segment: Path, frame_count: int) -> None:
        """Append a segment of ``frame_count`` frames.

        Raises:
            CorruptData: it has another number of frames, or cannot follow the ones before.
        """
        with av.open(str(segment), format=self._form.demuxer) as source:
            stream = source.streams.video[0]
            video = self._video or self._begin(stream)
            if bytes(stream.codec_context.extradata or b"") != self._extradata:
                raise _mismatch(segment, "was encoded with other settings than the ones before")
            copied = 0
            for packet in _on_frames(source.demux(stream), self._fps, self.frame_count):
                packet.stream = video
                self._container.mux(packet)
                copied += 1
        if copied != frame_count:
            raise _mismatch(segment, f"has {copied} frames in place of {frame_count}")
        self.frame_count += frame_count
        self._hear(Fraction(self.frame_count, self._fps))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._hear(Fraction(self._sound.n_samples, self._sound.sample_rate_hz))
            self._container.mux(self._audio.encode(None))
        self._container.close()

    def _begin(self, template: VideoStream) -> VideoStream:
        self._video = self._container.add_stream_from_template(template)
        self._video.time_base = Fraction(1, 90_000)
        if self._form.muxer == "webm":  # players look for it before they show the alpha channel
            self._video.metadata["alpha_mode"] = "1"
        self._extradata = bytes(template.codec_context.extradata or b"")
        audio = self._container.add_stream(
            self._form.sound, rate=self._sound.sample_rate_hz, layout="mono"
        )
        assert isinstance(audio, AudioStream)
        if not self._form.sound.startswith("pcm"):
            audio.bit_rate = 128_000
        self._audio = audio
        return self._video

    def _hear(self, until_s: Fraction) -> None:
        """Encode blocks that begin before ``until_s``."""
        rate = self._sound.sample_rate_hz
        while Fraction(self._heard, rate) < until_s:
            block = next(self._blocks, None)
            if block is None:
                return
            samples = block.astype(np.float32)[None] / 32768.0
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, self._heard, Fraction(1, rate)
            self._container.mux(self._audio.encode(frame))
            self._heard += len(block)


def _on_frames(
    packets: Iterator[Packet[VideoStream]], fps: int, first: int
) -> Iterator[Packet[VideoStream]]:
    """The packets with their times moved so that the segment begins with frame ``first``."""
    base: int | None = None
    for packet in packets:
        if packet.dts is None or packet.pts is None or packet.time_base is None:
            continue  # the end of the stream
        if base is None:
            base = packet.pts  # a key frame is decoded and shown first
        frames = packet.time_base * fps
        pts, dts = (first + round((stamp - base) * frames) for stamp in (packet.pts, packet.dts))
        packet.time_base = Fraction(1, fps)
        packet.pts, packet.dts, packet.duration = pts, dts, 1
        yield packet


def _mismatch(segment: Path, what: str) -> CorruptData:
    return CorruptData(
        f"segment {segment.name} {what}",
        reason="SEGMENT_MISMATCH",
        remedy="Run one release on all renderers, then queue the dub again.",
    )
