"""Find out what a media file is, without trusting it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.orientation import Orientation, orientation_of
from synctalk.media.sandbox import Request, run_limited
from synctalk.media.source import (
    audio_stream,
    decoder_of,
    open_source,
    start_of,
    undecodable,
    video_stream,
)

_STAMPS = 300  # packets looked at to tell variable from constant frame rate
_HDR_TRANSFERS = (16, 18)  # PQ, HLG


@dataclass(frozen=True)
class VideoInfo:
    """The picture of a media file.

    Args:
        codec: e.g. ``"h264"``.
        pix_fmt: e.g. ``"yuv420p"``.
        width: px as shown: upright, square pixels.
        height: px as shown.
        coded_width: px as stored.
        coded_height: px as stored.
        rotation_deg: clockwise rotation needed to show it upright, 0/90/180/270.
        mirrored: whether it must be mirrored left to right before that rotation.
        fps: average frames per second.
        is_vfr: the spacing of the first frames varies by more than a quarter.
        n_frames: as the container says, else estimated from duration and rate.
        duration_s: of the video stream.
        start_s: time stamp of the first frame.
        is_hdr: PQ or HLG transfer (colours will look flat in a standard-range avatar).
    """

    codec: str
    pix_fmt: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation_deg: int
    mirrored: bool
    fps: float
    is_vfr: bool
    n_frames: int
    duration_s: float
    start_s: float
    is_hdr: bool


@dataclass(frozen=True)
class AudioInfo:
    """The sound of a media file: codec name, Hz, channels, seconds."""

    codec: str
    sample_rate: int
    channels: int
    duration_s: float
    start_s: float


@dataclass(frozen=True)
class MediaInfo:
    """What a file is.

    Args:
        container: FFmpeg's format name.
        duration_s: the longer of video and audio.
        video: None where there is no picture.
        audio: None where there is no sound.
    """

    container: str
    duration_s: float
    video: VideoInfo | None
    audio: AudioInfo | None

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return self.audio is not None


def probe(path: Path | str, limits: MediaLimits | None = None) -> MediaInfo:
    """Describe an untrusted media file, looking at it in a limited process.

    Raises:
        MediaError: missing, empty, not media, damaged, or beyond ``limits``.
    """
    limits = limits or MediaLimits()
    path = Path(path).absolute()
    check_file(path, limits)
    found = run_limited(Request("probe", str(path), limits))
    return MediaInfo(
        container=found["container"],
        duration_s=found["duration_s"],
        video=VideoInfo(**found["video"]) if found["video"] else None,
        audio=AudioInfo(**found["audio"]) if found["audio"] else None,
    )


def probe_here(path: Path, limits: MediaLimits) -> MediaInfo:
    """:func:`probe` in this process; only for the limited one."""
    with open_source(path, limits) as container:
        audio = _audio_info(path, container)
        stream = video_stream(container)
        video = None if stream is None else _video_info(path, container, stream, limits)
        name, total_s = container.format.name, (container.duration or 0) / av.time_base
    if video is None and audio is None:
        raise MediaError(
            f"{path}: has neither picture nor sound.",
            reason="NOT_MEDIA",
            remedy="Give a video or audio file.",
        )
    found = [part.duration_s for part in (video, audio) if part]
    duration = max(found) or total_s
    if duration > limits.max_duration_s:
        raise too_long(path, duration, limits)
    return MediaInfo(name, duration, video, audio)


def too_long(path: Path, duration_s: float, limits: MediaLimits) -> MediaError:
    """The error for media beyond the allowed length."""
    return MediaError(
        f"{path}: {duration_s / 60:.0f} minutes are more than the"
        f" {limits.max_duration_s / 60:.0f} allowed.",
        reason="TOO_LONG",
        remedy="Cut it: 2-5 minutes of one person speaking are best.",
    )


def _video_info(
    path: Path, container: InputContainer, stream: VideoStream, limits: MediaLimits
) -> VideoInfo:
    context = decoder_of(path, stream)
    _check_size(path, context.width, context.height, limits)
    stamps = _stamps(container, stream)
    fps = _average_rate(stream, stamps)
    if fps > limits.max_fps:
        raise MediaError(
            f"{path}: {fps:.0f} frames per second are more than {limits.max_fps:.0f}.",
            reason="FPS_TOO_HIGH",
            remedy="Export it at 25, 30 or 60 fps.",
        )
    frame = _first_frame(path, limits)
    orientation = orientation_of(frame)
    width, height = shown_size(frame.width, frame.height, stream, orientation)
    _check_size(path, width, height, limits)  # of pixels that may be far from square
    claimed = _seconds(stream) or (container.duration or 0) / av.time_base
    duration = max(claimed, stamps[-1] - stamps[0] if stamps else 0.0)  # containers err, or lie
    return VideoInfo(
        codec=context.name,
        pix_fmt=frame.format.name,
        width=width,
        height=height,
        coded_width=frame.width,
        coded_height=frame.height,
        rotation_deg=orientation.rotation_deg,
        mirrored=orientation.mirrored,
        fps=fps,
        is_vfr=_varies(stamps),
        n_frames=stream.frames or round(duration * fps),
        duration_s=duration,
        start_s=float(frame.time or 0.0),
        is_hdr=frame.color_trc in _HDR_TRANSFERS,
    )


def shown_size(
    width: int, height: int, stream: VideoStream, orientation: Orientation
) -> tuple[int, int]:
    """Upright size in square pixels."""
    aspect = stream.sample_aspect_ratio
    if aspect and aspect > 0 and aspect != 1:
        width = max(1, round(width * float(aspect)))
    return (height, width) if orientation.swaps_sides else (width, height)


def _check_size(path: Path, width: int, height: int, limits: MediaLimits) -> None:
    if width == 0 or height == 0:  # nothing could be decoded that would tell
        raise MediaError(
            f"{path}: the size of its picture cannot be told.",
            reason="UNDECODABLE",
            remedy="The file is damaged or larger than 4K: export it as H.264 + AAC in MP4.",
        )
    if width < 16 or height < 16:
        raise MediaError(
            f"{path}: a picture of {width} x {height} px cannot be used.",
            reason="PICTURE_TOO_SMALL",
            remedy="Give a video of at least 512 x 512 px.",
        )
    if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
        raise MediaError(
            f"{path}: {width} x {height} px is more than 4K"
            f" ({limits.max_side_px} px a side, {limits.max_pixels / 1e6:.1f} megapixels).",
            reason="PICTURE_TOO_LARGE",
            remedy="Export it at 1920 x 1080: larger pictures do not improve an avatar.",
        )


def _first_frame(path: Path, limits: MediaLimits) -> av.VideoFrame:
    with open_source(path, limits) as container:  # not every container can seek back
        stream = video_stream(container)
        assert stream is not None
        try:
            return next(iter(container.decode(stream)))
        except (av.FFmpegError, StopIteration) as error:
            raise undecodable(path, "video", error) from error


def _stamps(container: InputContainer, stream: VideoStream) -> list[float]:
    """Presentation times of the first packets, sorted."""
    times: list[float] = []
    for packet in container.demux(stream):
        if packet.pts is not None and packet.time_base:
            times.append(float(packet.pts * packet.time_base))
        if len(times) >= _STAMPS:
            break
    return sorted(times)


def _average_rate(stream: VideoStream, stamps: list[float]) -> float:
    if stream.average_rate:
        return float(stream.average_rate)
    span = stamps[-1] - stamps[0] if len(stamps) > 1 else 0.0
    return (len(stamps) - 1) / span if span > 0 else 25.0


def _varies(stamps: list[float]) -> bool:
    # The last packets read may lack their reordered neighbours: leave them out.
    gaps = [b - a for a, b in pairwise(stamps[:-7])]
    return len(gaps) > 1 and max(gaps) - min(gaps) > 0.25 * median(gaps)


def _audio_info(path: Path, container: InputContainer) -> AudioInfo | None:
    stream = audio_stream(container)
    if stream is None:
        return None
    context = decoder_of(path, stream)
    return AudioInfo(
        codec=context.name,
        sample_rate=context.sample_rate,
        channels=context.channels,
        duration_s=_seconds(stream) or (container.duration or 0) / av.time_base,
        start_s=start_of(stream),
    )


def _seconds(stream: Stream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return 0.0
