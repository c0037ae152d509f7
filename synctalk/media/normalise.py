"""Any video at the door, one kind of video inside.

Frames become upright, even-sized, 25 a second by their time stamps, yuv420p BT.709; sound becomes
16 kHz mono of exactly the same length, in the sync the source had.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.pcm import Int16Array, decode_pcm, no_audio, write_pcm
from synctalk.media.probe import MediaInfo, VideoInfo, too_long
from synctalk.media.sandbox import Request, run_limited
from synctalk.media.source import open_source, start_of, undecodable, video_stream
from synctalk.media.upright import Uprighter
from synctalk.media.writer import VideoPreset, VideoWriter
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

SAMPLE_RATE = 16000
LOSSLESS_SHORT_SIDE = 720
_FRAMES, _AUDIO = "frames.mp4", "audio.wav"
_MAX_DAMAGED = 0.05
_MAX_MISSING_S = 1.0


@dataclass(frozen=True)
class NormalisedMedia:
    """What :func:`normalise` made, and what it had to do.

    Args:
        width: px of the frames written.
        height: px of the frames written.
        fps: frames per second written.
        n_frames: frames written.
        duplicated: frames written that repeat their predecessor (too few in the source).
        dropped: source frames not shown (too many in the source).
        damaged: source packets that could not be decoded.
        samples: audio samples written, ``n_frames / fps * 16000``.
        audio_lead_s: silence put before late sound; negative: sound cut off before the picture.
        audio_tail_s: silence put after short sound; negative: sound cut off after the picture.
        lossless: whether the frames are stored without loss.
        source_width: px of the source, upright.
        source_height: px of the source, upright.
        source_fps: average rate of the source.
        source_is_vfr: variable frame rate.
        source_is_hdr: PQ or HLG.
        source_audio_rate: Hz.
    """

    width: int
    height: int
    fps: int
    n_frames: int
    duplicated: int
    dropped: int
    damaged: int
    samples: int
    audio_lead_s: float
    audio_tail_s: float
    lossless: bool
    source_width: int
    source_height: int
    source_fps: float
    source_is_vfr: bool
    source_is_hdr: bool
    source_audio_rate: int

    @property
    def duration_s(self) -> float:
        """Length of frames and sound."""
        return self.n_frames / self.fps


def normalise(
    src: Path | str,
    out_frames: Path,
    out_audio: Path,
    *,
    fps: int = 25,
    max_side: int = 1920,
    limits: MediaLimits | None = None,
    progress: ProgressCallback = ignore_progress,
) -> NormalisedMedia:
    """Bring an untrusted video into the project's one form, in a limited process.

    Each written frame is the source frame nearest in time, counted from the first source frame;
    sound is cut or padded so that it starts and ends with the picture. Samples of a 25 fps
    yuv420p source of even size are kept exactly. Frames are H.264 in MP4 with a key frame every
    25: without loss up to a short side of 720 px, at CRF 10 above (a lossless minute of 1080p
    would take gigabytes). Memory does not grow with length. On any error nothing is left behind.

    Args:
        src: the untrusted video.
        out_frames: MP4 to make; its folder must exist.
        out_audio: 16 kHz mono 16-bit WAV to make; its folder must exist.
        fps: frames per second to write.
        max_side: larger pictures are scaled down to this longest side, px.
        limits: bounds on the source and on the process.
        progress: receives events of stage ``"normalise"``; may raise to stop the work.

    Raises:
        MediaError: the source cannot be opened, decoded or accepted, lacks picture or sound, or
            ends before its container says.
    """
    limits = limits or MediaLimits()
    src = Path(src).absolute()
    check_file(src, limits)
    folder = Path(tempfile.mkdtemp(prefix=".normalise-", dir=out_frames.parent))
    try:
        request = Request(
            "normalise", str(src), limits, str(folder.absolute()), fps=fps, max_side=max_side
        )
        result = NormalisedMedia(**run_limited(request, _reporter(progress)))
        shutil.move(folder / _AUDIO, out_audio)
        os.replace(folder / _FRAMES, out_frames)
        return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _reporter(progress: ProgressCallback) -> Callable[[int, int], None]:
    stage: StageProgress | None = None

    def report(done: int, total: int) -> None:
        nonlocal stage
        stage = stage or StageProgress(progress, "normalise", total)
        if done > stage.done:
            stage.advance(done - stage.done)

    return report


def normalise_here(
    request: Request, info: MediaInfo, say: Callable[[int, int], None]
) -> NormalisedMedia:
    """:func:`normalise` in this process; only for the limited one."""
    path, out = Path(request.src), Path(request.out)
    picture = shown(path, info)
    if info.audio is None:
        raise no_audio(path)
    video = _VideoPass(path, request, picture, say)
    video.run(out / _FRAMES)
    sound = _SoundPass(path, request, video)
    sound.run(out / _AUDIO)
    return NormalisedMedia(
        width=video.size[0],
        height=video.size[1],
        fps=request.fps,
        n_frames=video.pacer.written,
        duplicated=video.pacer.duplicated,
        dropped=video.pacer.dropped,
        damaged=video.damaged,
        samples=sound.wanted,
        audio_lead_s=sound.lead_s,
        audio_tail_s=sound.tail_s,
        lossless=video.preset is VideoPreset.LOSSLESS,
        source_width=picture.width,
        source_height=picture.height,
        source_fps=picture.fps,
        source_is_vfr=picture.is_vfr,
        source_is_hdr=picture.is_hdr,
        source_audio_rate=info.audio.sample_rate,
    )


def shown(path: Path, info: MediaInfo) -> VideoInfo:
    """The picture of a file that must have one.

    Raises:
        MediaError: ``NO_VIDEO``.
    """
    if info.video is None:
        raise MediaError(
            f"{path}: has sound but no picture.",
            reason="NO_VIDEO",
            remedy="Give a video that shows the person speaking.",
        )
    return info.video


class Pacer:
    """Chooses, for each tick of a constant rate, the source frame nearest in time."""

    def __init__(self, fps: int) -> None:
        self.first_s: float | None = None
        self.written = self.duplicated = self.dropped = 0
        self._fps = fps
        self._held: tuple[float, av.VideoFrame] | None = None
        self._spacing_s = 1.0 / fps

    def push(self, time_s: float | None, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Frames due now that the source's next one is known."""
        if self._held is None:
            self.first_s = time_s or 0.0
            self._held = (self.first_s, frame)
            return
        held_s, held = self._held
        if time_s is None:
            time_s = held_s + self._spacing_s
        if time_s <= held_s:  # a stamp that does not advance cannot be shown
            self.dropped += 1
            return
        yield from self._give(held, (held_s + time_s) / 2)
        self._spacing_s = time_s - held_s
        self._held = (time_s, frame)

    def finish(self, end_s: float | None) -> Iterator[av.VideoFrame]:
        """The last frame, shown until ``end_s`` (None: as long as the one before it)."""
        if self._held is not None:
            held_s, held = self._held
            end_s = max(end_s or 0.0, held_s + self._spacing_s) if end_s is None else end_s
            yield from self._give(held, max(end_s, held_s + 1e-6) - 0.5 / self._fps)

    def _give(self, frame: av.VideoFrame, until_s: float) -> Iterator[av.VideoFrame]:
        """Show ``frame`` at all ticks up to ``until_s``."""
        assert self.first_s is not None
        n = int(np.floor((until_s - self.first_s) * self._fps + 1e-6)) + 1 - self.written
        if n <= 0:
            self.dropped += 1
            return
        self.duplicated += n - 1
        for _ in range(n):
            self.written += 1
            yield frame


class _VideoPass:
    def __init__(
        self, path: Path, request: Request, info: VideoInfo, say: Callable[[int, int], None]
    ) -> None:
        self.pacer = Pacer(request.fps)
        self.damaged = 0
        self._path, self._request, self._info, self._say = path, request, info, say
        self._upright = Uprighter(info, request.max_side)
        self.size = self._upright.size
        small = min(self.size) <= LOSSLESS_SHORT_SIDE
        self.preset = VideoPreset.LOSSLESS if small else VideoPreset.NEAR_LOSSLESS

    def run(self, out: Path) -> None:
        total = round(self._info.duration_s * self._request.fps)
        ceiling = self._request.limits.max_duration_s * self._request.fps
        with VideoWriter(out, *self.size, self._request.fps, preset=self.preset) as writer:
            previous, picture = None, None
            for frame in self._paced():
                if frame is not previous or picture is None:
                    previous, picture = frame, self._upright(frame)
                writer.write_yuv(picture)
                if self.pacer.written > ceiling:
                    seconds = self.pacer.written / self._request.fps
                    raise too_long(self._path, seconds, self._request.limits)
                if self.pacer.written % 10 == 0:
                    self._say(self.pacer.written, max(total, self.pacer.written))
        self._check_complete()
        self._say(self.pacer.written, self.pacer.written)

    def _paced(self) -> Iterator[av.VideoFrame]:
        with open_source(self._path, self._request.limits) as container:
            stream = video_stream(container)
            assert stream is not None
            stream.thread_type = "AUTO"
            end_s: float | None = None
            for frame in self._decode(container, stream):
                time_s = None if frame.time is None else float(frame.time)
                if time_s is not None:
                    shown_s = float((frame.duration or 0) * (frame.time_base or 0))
                    end_s = time_s + (shown_s or 1.0 / self._info.fps)
                yield from self.pacer.push(time_s, frame)
            yield from self.pacer.finish(end_s)

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        packets = 0
        for packet in container.demux(stream):
            packets += 1
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            except av.error.MemoryError:
                raise
            except av.FFmpegError as error:
                raise undecodable(self._path, "video", error) from error
            yield from (f for f in frames if isinstance(f, av.VideoFrame))
        if self.damaged > _MAX_DAMAGED * packets:
            raise self._incomplete(f"{self.damaged} of its {packets} packets are damaged")

    def _check_complete(self) -> None:
        written_s = self.pacer.written / self._request.fps
        missing_s = self._info.duration_s - written_s
        if missing_s > max(_MAX_MISSING_S, 0.02 * self._info.duration_s):
            raise self._incomplete(
                f"it should last {self._info.duration_s:.1f} s but ends after {written_s:.1f} s"
            )

    def _incomplete(self, what: str) -> MediaError:
        return MediaError(
            f"{self._path}: {what}.",
            reason="INCOMPLETE",
            remedy="The file is damaged or was cut off: copy or upload it again.",
        )


class _SoundPass:
    """Sound from the first frame's time to the last frame's end, exactly."""

    def __init__(self, path: Path, request: Request, video: _VideoPass) -> None:
        self.wanted = round(video.pacer.written / request.fps * SAMPLE_RATE)
        self.lead_s = self.tail_s = 0.0
        self._path, self._request = path, request
        self._origin_s = video.pacer.first_s or 0.0

    def run(self, out: Path) -> None:
        with open_source(self._path, self._request.limits) as container:
            self.lead_s = start_of(container.streams.audio[0]) - self._origin_s
            blocks = decode_pcm(self._path, container, SAMPLE_RATE, self._origin_s)
            write_pcm(out, self._fitted(blocks), SAMPLE_RATE, self._request.limits)

    def _fitted(self, blocks: Iterable[Int16Array]) -> Iterator[Int16Array]:
        have = 0
        for block in blocks:
            room = self.wanted - have
            have += len(block)
            if room > 0:
                yield block[:room]
            elif -room > self._request.limits.max_duration_s * SAMPLE_RATE:
                break  # a stamp may lie in a million years, and silence fills the time till then
        self.tail_s = (self.wanted - have) / SAMPLE_RATE
        for start in range(have, self.wanted, SAMPLE_RATE):
            yield np.zeros(min(SAMPLE_RATE, self.wanted - start), np.int16)
