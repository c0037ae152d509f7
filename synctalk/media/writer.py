"""Write video, with sound, so that nothing half-written is ever visible."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from synctalk.media.alpha import PRORES_4444, VP9_ALPHA, AlphaCodec, AlphaFrames
from synctalk.media.planes import UInt8Array, Yuv420, frame_from_rgb, frame_from_yuv, plane

_AAC_BLOCK = 1024


@dataclass(frozen=True)
class _Settings:
    pix_fmt: str
    options: Mapping[str, str] = field(default_factory=dict)
    codec: str = "libx264"
    container: str = "mp4"
    sound: str = "aac"

    @classmethod
    def of_alpha(cls, codec: AlphaCodec) -> _Settings:
        return cls(codec.pix_fmt, codec.options, codec.codec, codec.container, codec.sound)


class VideoPreset(Enum):
    """How to encode; all but the last two are H.264 in MP4.

    ``DELIVERY`` plays everywhere (High profile, veryfast, CRF 18, index first). ``LOSSLESS``
    keeps every sample of 4:2:0 frames; ``NEAR_LOSSLESS`` is CRF 10 for large pictures;
    ``GREY_LOSSLESS`` keeps every value of single-plane masks. These three have a key frame
    every 25 frames so that seeking is cheap. ``VP9_ALPHA`` (WebM) and ``PRORES_4444`` (MOV) have
    an alpha channel.
    """

    DELIVERY = "delivery"
    LOSSLESS = "lossless"
    NEAR_LOSSLESS = "near-lossless"
    GREY_LOSSLESS = "grey-lossless"
    VP9_ALPHA = "vp9-alpha"
    PRORES_4444 = "prores-4444"


_SEEKABLE = {"preset": "ultrafast", "g": "25"}
_SETTINGS = {
    VideoPreset.DELIVERY: _Settings("yuv420p", {"preset": "veryfast", "crf": "18"}),
    VideoPreset.LOSSLESS: _Settings("yuv420p", {**_SEEKABLE, "qp": "0"}),
    VideoPreset.NEAR_LOSSLESS: _Settings("yuv420p", {**_SEEKABLE, "crf": "10"}),
    VideoPreset.GREY_LOSSLESS: _Settings("gray", {**_SEEKABLE, "qp": "0"}),
    VideoPreset.VP9_ALPHA: _Settings.of_alpha(VP9_ALPHA),
    VideoPreset.PRORES_4444: _Settings.of_alpha(PRORES_4444),
}


class VideoWriter:
    """Encode frames to a video that appears at ``path`` only when complete.

    A context manager: leaving it normally finishes the file, leaving it by an exception removes
    what was written.

    Args:
        path: the file to make; an existing one is replaced.
        width: px, even.
        height: px, even.
        fps: frames per second.
        preset: see :class:`VideoPreset`.
        audio: [n] float32 in -1..1, mono; starts with the first frame and is cut or padded with
            silence to the length of the video. Encoded as AAC, Opus in WebM, PCM in MOV.
        sample_rate: of ``audio``, Hz.
    """

    def __init__(
        self,
        path: Path | str,
        width: int,
        height: int,
        fps: int | Fraction = 25,
        *,
        preset: VideoPreset = VideoPreset.DELIVERY,
        audio: NDArray[np.float32] | None = None,
        sample_rate: int = 16000,
    ) -> None:
        if width % 2 or height % 2:
            raise ValueError(f"the size must be even, got {width} x {height}")
        self.path = Path(path)
        self.frames_written = 0
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._size = (width, height)
        self._fps = Fraction(fps)
        self._rgb = VideoReformatter()
        settings = _SETTINGS[preset]
        options = {} if settings.container == "webm" else {"movflags": "+faststart"}
        self._container = av.open(
            str(self._temporary), "w", format=settings.container, container_options=options
        )
        self._video = self._add_video(settings)
        self._alpha = AlphaFrames(settings.pix_fmt, width, height)
        self._sound = (
            None if audio is None else _Sound(self._container, settings.sound, audio, sample_rate)
        )

    def write(self, image: UInt8Array) -> None:
        """Append one RGB frame [H, W, 3] uint8."""
        self._check(image.shape, (*self._shape, 3))
        self._encode(frame_from_rgb(image, self._rgb))

    def write_yuv(self, picture: Yuv420) -> None:
        """Append one frame given as BT.709 limited-range planes; no conversion."""
        self._check(picture.y.shape, self._shape)
        self._encode(frame_from_yuv(picture))

    def write_cutout(self, picture: Yuv420, matte: UInt8Array) -> None:
        """Append one frame of straight colours with its alpha [H, W] (the last two presets)."""
        self._check(matte.shape, self._shape)
        self._encode(self._alpha(picture, matte))

    def write_grey(self, mask: UInt8Array) -> None:
        """Append one single-plane picture [H, W] uint8 (``GREY_LOSSLESS`` only)."""
        self._check(mask.shape, self._shape)
        frame = av.VideoFrame(*self._size, "gray")
        plane(frame, 0)[:] = mask
        self._encode(frame)

    def close(self) -> None:
        """Finish the file and put it in place."""
        self._container.mux(self._video.encode(None))
        if self._sound:
            self._sound.write_until(Fraction(self.frames_written) / self._fps)
            self._sound.finish()
        self._container.close()
        os.replace(self._temporary, self.path)

    def abort(self) -> None:
        """Stop and remove what was written."""
        try:
            self._container.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Nothing to do; the file is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish, or remove the file when an exception passes."""
        if kind is None:
            self.close()
        else:
            self.abort()

    @property
    def _shape(self) -> tuple[int, int]:
        return self._size[1], self._size[0]

    def _add_video(self, settings: _Settings) -> VideoStream:
        stream = self._container.add_stream(
            settings.codec, rate=self._fps, options=dict(settings.options)
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self._size
        stream.pix_fmt = settings.pix_fmt
        context = stream.codec_context
        context.time_base = 1 / self._fps
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited
        return stream

    def _encode(self, frame: av.VideoFrame) -> None:
        frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
        frame.pts, frame.time_base = self.frames_written, 1 / self._fps
        self._container.mux(self._video.encode(frame))
        self.frames_written += 1
        if self._sound:
            self._sound.write_until(Fraction(self.frames_written) / self._fps)

    def _check(self, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if shape != wanted:
            raise ValueError(f"{self.path}: frame of shape {shape}, expected {wanted}")


class _Sound:
    """Sound beside the video, encoded as far as the video has come."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        codec: str,
        wav: NDArray[np.float32],
        sample_rate: int,
    ) -> None:
        options = {"aac_coder": "fast"} if codec == "aac" else {}  # half the time, and as good here
        stream = container.add_stream(codec, rate=sample_rate, layout="mono", options=options)
        assert isinstance(stream, AudioStream)
        stream.bit_rate = 128_000 if sample_rate >= 32_000 else 64_000
        self._container, self._stream = container, stream
        self._wav, self._rate = wav, sample_rate
        self._done = self._end = 0

    def write_until(self, time_s: Fraction) -> None:
        """Encode whole blocks up to ``time_s``."""
        self._end = round(time_s * self._rate)
        while self._done + _AAC_BLOCK <= self._end:
            self._encode(_AAC_BLOCK)

    def finish(self) -> None:
        """Encode the last, shorter block."""
        if self._end > self._done:
            self._encode(self._end - self._done)
        self._container.mux(self._stream.encode(None))

    def _encode(self, n: int) -> None:
        block = np.zeros((1, n), np.float32)
        have = self._wav[self._done : self._done + n]
        block[0, : len(have)] = have
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = self._rate
        frame.pts, frame.time_base = self._done, Fraction(1, self._rate)
        self._container.mux(self._stream.encode(frame))
        self._done += n
