"""A segment as H.264 that joins others without re-encoding.

Every segment begins with an IDR picture, refers to nothing outside (closed GOPs) and has the same
parameter sets as all others of its size. One thread: what x264 writes depends on how many there
are, and a segment must not depend on the machine that rendered it.
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
from synctalk.media.planes import convert_to_yuv, frame_from_yuv

_OPTIONS = {"preset": "veryfast", "crf": "18", "threads": "1", "flags": "+cgop"}


class SegmentEncoder:
    """Writes an elementary stream in MPEG-TS; a context manager.

    Args:
        path: file to write.
        width, height: px, even; frames of another size are scaled.
        fps: frames per second.
    """

    def __init__(self, path: Path, width: int, height: int, fps: int) -> None:
        self.frame_count = 0
        self._size = (width, height)
        self._time_base = Fraction(1, fps)
        self._scaler = VideoReformatter()
        self._container = av.open(str(path), "w", format="mpegts")
        stream = self._container.add_stream("libx264", rate=fps, options=_OPTIONS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = self._time_base
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited
        self._stream = stream

    def write(self, picture: Yuv420) -> None:
        """Append a frame."""
        frame = frame_from_yuv(picture)
        frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
        if (frame.width, frame.height) != self._size:
            frame = convert_to_yuv(frame, *self._size, self._scaler)
            frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
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
