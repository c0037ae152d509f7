"""Read trusted, constant-frame-rate video (what :func:`synctalk.media.normalise` wrote)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.video.reformatter import VideoReformatter

from synctalk.errors import MediaError
from synctalk.media.planes import UInt8Array, Yuv420, frame_to_rgb, plane, yuv_from_frame

_FORWARD = 50  # frames that are decoded on rather than sought


class VideoReader:
    """Random and sequential access to the frames of a constant-frame-rate video.

    Each iterator decodes on its own, one frame at a time: memory stays bounded, and several may
    run at once. For untrusted files use :func:`synctalk.media.normalise` first.

    Args:
        path: a video file. ``width``, ``height`` (px), ``fps`` and ``len()`` describe it.

    Raises:
        MediaError: ``NOT_MEDIA`` or ``NO_VIDEO``.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with self._open() as container:
            stream = container.streams.video[0]
            self.width, self.height = stream.codec_context.width, stream.codec_context.height
            rate = stream.average_rate or stream.guessed_rate
            if rate is None:
                raise self._broken("it has no frame rate")
            self.fps = float(rate)
            self._len = stream.frames or sum(1 for p in container.demux(stream) if p.size)
        self._frames: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._last: tuple[int, av.VideoFrame] | None = None
        self._rgb = VideoReformatter()

    def __len__(self) -> int:
        """Number of frames."""
        return self._len

    def __iter__(self) -> Iterator[UInt8Array]:
        """All frames as RGB."""
        return self.iter_rgb()

    def iter_rgb(self, start: int = 0, stop: int | None = None) -> Iterator[UInt8Array]:
        """RGB frames ``start`` .. ``stop`` (exclusive), each [H, W, 3] uint8 contiguous."""
        converter = VideoReformatter()
        for frame in self._range(start, stop):
            yield frame_to_rgb(frame, converter)

    def iter_yuv(self, start: int = 0, stop: int | None = None) -> Iterator[Yuv420]:
        """Frames as BT.709 limited-range planes; no conversion where stored so."""
        for frame in self._range(start, stop):
            yield yuv_from_frame(frame)

    def iter_grey(self, start: int = 0, stop: int | None = None) -> Iterator[UInt8Array]:
        """The first plane of each frame, [H, W] uint8: the exact values of a grey mask video."""
        for frame in self._range(start, stop):
            yield plane(frame, 0).copy()  # never a view: the decoder predicts from it

    def read(self, index: int) -> UInt8Array:
        """Frame ``index`` as RGB [H, W, 3] uint8.

        Raises:
            IndexError: no such frame.
        """
        return frame_to_rgb(self._seek(index), self._rgb)

    def read_yuv(self, index: int) -> Yuv420:
        """Frame ``index`` as planes."""
        return yuv_from_frame(self._seek(index))

    def read_grey(self, index: int) -> UInt8Array:
        """First plane of frame ``index``, [H, W] uint8."""
        return plane(self._seek(index), 0).copy()

    def close(self) -> None:
        """Let go of the file."""
        self._frames, self._last = iter(()), None

    def __enter__(self) -> Self:
        """Nothing to do; the file is opened when read."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _seek(self, index: int) -> av.VideoFrame:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: frame {index} of {len(self)}")
        at = self._last[0] if self._last else -1
        if not (self._last and at <= index < at + _FORWARD):
            self._frames, self._last = self._decode(index), None
        while self._last is None or self._last[0] < index:
            found = next(self._frames, None)
            if found is None:
                raise self._broken(f"frame {index} is missing")
            self._last = found
        return self._last[1]

    def _range(self, start: int, stop: int | None) -> Iterator[av.VideoFrame]:
        end = len(self) if stop is None else min(stop, len(self))
        for index, frame in self._decode(start):
            if index >= end:
                return
            yield frame

    def _decode(self, start: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (index, frame) from ``start`` on."""
        if start > 0:
            with self._open() as container:
                found = self._numbered(container, start)
                first = next(found, None)
                if first and first[0] == start:
                    yield first
                    yield from found
                    return
        # Some containers (MPEG-PS) cannot be sought to a frame: decode from the beginning.
        with self._open() as container:
            for index, frame in self._numbered(container, 0):
                if index >= start:
                    yield index, frame

    def _numbered(
        self, container: av.container.InputContainer, start: int
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Seek to ``start``; yield (index by time stamp, frame), none before it."""
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = float(stream.time_base or 0)
        first = stream.start_time or 0
        if start > 0:
            container.seek(first + round(start / self.fps / base), stream=stream)
        for frame in container.decode(stream):
            index = round(((frame.pts or 0) - first) * base * self.fps)
            if index >= start:
                yield index, frame

    def _open(self) -> av.container.InputContainer:
        try:
            container = av.open(str(self.path), metadata_errors="ignore")
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(
                f"{self.path}: cannot be read as video ({error}).",
                reason="NOT_MEDIA",
                remedy="Preprocess the source video again.",
            ) from error
        if not container.streams.video:
            container.close()
            raise MediaError(
                f"{self.path}: has no video.", reason="NO_VIDEO", remedy="Give a video file."
            )
        return container

    def _broken(self, what: str) -> MediaError:
        return MediaError(
            f"{self.path}: {what}.",
            reason="DAMAGED",
            remedy="Preprocess the source video again.",
        )
