"""A segment as video that joins others without re-encoding.

Every segment begins with a key frame (H.264: an IDR picture), refers to nothing outside (closed
GOPs) and has the same parameter sets as all others of its size. One thread: what x264 writes
depends on how many there are, and a segment must not depend on the machine that rendered it.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from synctalk.media import Yuv420
from synctalk.media.alpha import AlphaCodec, AlphaFrames
from synctalk.media.planes import convert_to_yuv, frame_from_yuv, plane
from synctalk.provenance import Stamp
from synctalk.render.compositing import Cutout

_OPTIONS = {"preset": "veryfast", "crf": "18", "threads": "1", "flags": "+cgop"}


def tag_colours(what: av.VideoFrame | av.VideoCodecContext) -> None:
    """Say that it is BT.709, limited range."""
    what.colorspace = what.color_primaries = what.color_trc = what.color_range = 1


def scaled_frame(picture: Yuv420, size: tuple[int, int], scaler: VideoReformatter) -> av.VideoFrame:
    """``picture`` for an encoder of ``size``, width and height."""
    frame = frame_from_yuv(picture)
    tag_colours(frame)
    if (frame.width, frame.height) != size:
        frame = convert_to_yuv(frame, *size, scaler)
        tag_colours(frame)
    return frame


def stamp_frame(frame: av.VideoFrame, stamp: Stamp | None) -> None:
    """Finish a frame of 4:2:0 planes that nothing else refers to."""
    if stamp is not None:
        stamp(Yuv420(*(plane(frame, i) for i in range(3))))


class SegmentEncoder:
    """Writes H.264 in MPEG-TS, or what ``alpha`` says; a context manager.

    Args:
        path: file to write.
        width, height: px, even; frames of another size are scaled.
        fps: frames per second.
        alpha: how video with an alpha channel is stored; None: there is none.
        stamp: finishes every frame: pictures of this size, but cutouts as they come; None: none.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: int,
        alpha: AlphaCodec | None = None,
        stamp: Stamp | None = None,
    ) -> None:
        self.frame_count = 0
        self._stamp = stamp
        self._size = (width, height)
        self._time_base = Fraction(1, fps)
        self._scaler = VideoReformatter()
        self._alpha = AlphaFrames(alpha.pix_fmt if alpha else "yuva420p", width, height)
        self._container = av.open(
            str(path), "w", format=alpha.container if alpha else "mpegts",
            container_options={"fflags": "+bitexact"} if alpha else {},
        )  # fmt: skip
        codec, options = (alpha.codec, dict(alpha.options)) if alpha else ("libx264", _OPTIONS)
        stream = self._container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width, height
        stream.pix_fmt = alpha.pix_fmt if alpha else "yuv420p"
        stream.codec_context.time_base = self._time_base
        tag_colours(stream.codec_context)
        self._stream = stream

    def write(self, picture: Yuv420) -> None:
        """Append a frame."""
        frame = scaled_frame(picture, self._size, self._scaler)
        stamp_frame(frame, self._stamp)
        self._encode(frame)

    def write_cutout(self, cut: Cutout) -> None:
        """Append a frame of straight colours with its alpha channel."""
        if self._stamp is not None:
            self._stamp(cut.picture, cut.matte)
        self._encode(self._alpha(cut.picture, cut.matte))

    def _encode(self, frame: av.VideoFrame) -> None:
        frame.pts, frame.time_base = self.frame_count, self._time_base
        self._container.mux(self._stream.encode(frame))
        self.frame_count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
