"""A few pictures of an untrusted video, spread over its length, before it is worth normalising."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.planes import UInt8Array, yuv_to_rgb
from synctalk.media.probe import VideoInfo
from synctalk.media.sandbox import Request, run_limited
from synctalk.media.source import open_source, video_stream
from synctalk.media.upright import Uprighter

_FILE = "samples.npy"
_FORWARD_S = 4.0  # nearer than this, decoding on is as quick as seeking


@dataclass(frozen=True)
class FrameSample:
    """One picture of a video.

    Args:
        time_s: from the first frame.
        image: [H, W, 3] uint8 RGB, of the size that :func:`synctalk.media.normalise` writes.
    """

    time_s: float
    image: UInt8Array


def sample_frames(
    src: Path | str, count: int, *, max_side: int = 1920, limits: MediaLimits | None = None
) -> list[FrameSample]:
    """Up to ``count`` pictures evenly spread over an untrusted video, decoded in a limited process.

    Takes a second or so whatever the length, where the file can be sought. Fewer come back where
    the video is shorter than its container says, or damaged.

    Args:
        src: the untrusted video.
        count: pictures wanted.
        max_side: larger pictures are scaled down to this longest side, px.
        limits: bounds on the source and on the process.

    Raises:
        MediaError: see :func:`synctalk.media.probe`.
    """
    limits = limits or MediaLimits()
    src = Path(src).absolute()
    check_file(src, limits)
    with tempfile.TemporaryDirectory(prefix="synctalk-samples-") as folder:
        request = Request("sample", str(src), limits, folder, max_side=max_side, count=count)
        times: list[float] = run_limited(request)["times_s"]
        if not times:
            return []
        images = np.load(Path(folder) / _FILE, allow_pickle=False)
    return [FrameSample(t, image) for t, image in zip(times, images, strict=True)]


def sample_here(
    request: Request, info: VideoInfo, say: Callable[[int, int], None]
) -> dict[str, list[float]]:
    """:func:`sample_frames` in this process; only for the limited one."""
    wanted = info.duration_s * (np.arange(request.count) + 0.5) / request.count
    upright = Uprighter(info, request.max_side)
    found = _picked(request, info, wanted, say, seek=True)
    if len(found) < request.count:  # not every container can be sought
        found = _picked(request, info, wanted, say, seek=False)
    images = [yuv_to_rgb(upright(frame)) for _, frame in found]
    if images:
        np.save(Path(request.out) / _FILE, np.stack(images))
    return {"times_s": [time_s for time_s, _ in found]}


def _picked(
    request: Request,
    info: VideoInfo,
    wanted: NDArray[np.float64],
    say: Callable[[int, int], None],
    *,
    seek: bool,
) -> list[tuple[float, av.VideoFrame]]:
    """The first frames at or after the times ``wanted``, ascending; (time, frame) each."""
    found: list[tuple[float, av.VideoFrame]] = []
    with open_source(Path(request.src), request.limits) as container:
        stream = video_stream(container)
        assert stream is not None
        stream.thread_type = "AUTO"
        frames, now = _decoded(container, stream), 0.0
        for target in wanted:
            if seek and target - now > _FORWARD_S:
                try:
                    container.seek(int((info.start_s + target) * av.time_base))
                except av.FFmpegError:
                    break
                frames = _decoded(container, stream)
            for frame in frames:
                now = float(frame.time or 0.0) - info.start_s
                if now >= target - 0.5 / info.fps:
                    found.append((now, frame))
                    say(len(found), request.count)
                    break
            else:
                break
    return found


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.MemoryError:  # the limit of this process, not damage
            raise
        except av.FFmpegError:  # normalising counts the damage
            continue
        yield from (f for f in frames if isinstance(f, av.VideoFrame))
