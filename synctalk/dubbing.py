"""Batch dubbing: an avatar speaks an audio file (DESIGN §1, flow 2).

The source footage plays on under the new speech, forwards and backwards within its longest shot,
so that audio of any length never meets a jump. Head pose and upper face come from the footage,
the lips from the audio.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synctalk.avatar import Avatar, Driving
from synctalk.bundle import BUNDLE_PLATES, SOURCE
from synctalk.dataset import FPS, SAMPLE_RATE_HZ
from synctalk.errors import MediaError
from synctalk.face_sync import AudioVisualEncoder
from synctalk.media import VideoReader, VideoWriter, Yuv420, read_audio
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

MIN_AUDIO_S = 0.2


@dataclass(frozen=True)
class DubResult:
    """What a dub made and what it cost.

    Args:
        path: the MP4.
        n_frames, duration_s: its length.
        fps: frames per second of wall-clock time, encoding included.
        timings_ms: milliseconds per frame by stage.
    """

    path: Path
    n_frames: int
    duration_s: float
    fps: float
    timings_ms: dict[str, float] = field(default_factory=dict)


def play_order(n_frames: int, cuts: tuple[int, ...], length: int) -> NDArray[np.int64]:
    """Source frame of each of ``length`` output frames: to and fro in the longest shot.

    Neighbouring output frames show the same or neighbouring source frames, so nothing jumps.
    """
    edges = [0, *cuts, n_frames]
    start, stop = max(pairwise(edges), key=lambda shot: shot[1] - shot[0])
    span = stop - start
    if length <= span:
        return np.arange(start, start + length)
    period = max(2 * (span - 1), 1)
    phase = np.arange(length) % period
    return start + np.where(phase < span, phase, period - phase)


def dub(
    avatar: str | os.PathLike[str],
    audio: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    portrait: bool = True,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
) -> DubResult:
    """Make ``avatar`` speak ``audio`` and write the MP4 ``out``.

    Args:
        avatar: folder of an AvatarBundle.
        audio: any audio file, or a video with sound.
        out: MP4 to write; appears when it is whole.
        portrait: blend the face into the source at its full resolution (METHOD row 11); without
            it the rendered crop alone is written.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        progress: receives events of the stage ``dub``.

    Raises:
        BundleError: the avatar is damaged or of another version.
        MediaError: the audio cannot be decoded or is too short.
    """
    wav = read_audio(Path(audio), SAMPLE_RATE_HZ)
    if len(wav) < MIN_AUDIO_S * SAMPLE_RATE_HZ:
        raise MediaError(
            f"{audio}: {len(wav) / SAMPLE_RATE_HZ:.2f} s of audio.",
            reason="AUDIO_TOO_SHORT",
            remedy=f"Give at least {MIN_AUDIO_S} s of speech.",
        )
    clock = Stopwatch()
    person = Avatar.load(avatar, device)
    clock.lap("load")
    n_frames = -(-len(wav) * FPS // SAMPLE_RATE_HZ)
    encoder = AudioVisualEncoder.pretrained()
    features = encoder.encode(torch.from_numpy(wav), n_frames).numpy()
    lips = person.lips_from_audio(features)
    clock.lap("audio")
    order = play_order(person.manifest.n_frames, person.manifest.cuts, n_frames)
    driving = person.source[order]
    driving = Driving(lips, driving.expression, driving.R, driving.t)
    _render(person, driving, order, wav, Path(out), portrait, progress)
    clock.lap("frames")
    total_s = sum(clock.seconds.values())
    per_frame = {name: 1000 * s / n_frames for name, s in clock.seconds.items()}
    return DubResult(Path(out), n_frames, n_frames / FPS, n_frames / total_s, per_frame)


def _render(
    person: Avatar,
    driving: Driving,
    order: NDArray[np.int64],
    wav: NDArray[np.float32],
    out: Path,
    portrait: bool,
    progress: ProgressCallback,
) -> None:
    manifest = person.manifest
    size = (manifest.size, manifest.size)
    if portrait:
        size = (manifest.source_width, manifest.source_height)
    stage = StageProgress(progress, "dub", len(order))
    folder = person.bundle.path
    frames = person.render_yuv(driving, ordered_frames(folder / BUNDLE_PLATES, order))
    if portrait:
        frames = _blended(person, frames, ordered_frames(folder / SOURCE, order), order)
    out.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(out, *size, FPS, audio=wav, sample_rate=SAMPLE_RATE_HZ) as writer:
        for frame in stage.wrap(frames):
            writer.write_yuv(frame)


def _blended(
    person: Avatar, crops: Iterator[Yuv420], sources: Iterator[Yuv420], order: NDArray[np.int64]
) -> Iterator[Yuv420]:
    for index, crop, source in zip(order, crops, sources, strict=True):
        person.blend_into(source, crop, person.source_mesh[index])
        yield source


def ordered_frames(path: Path, order: NDArray[np.int64]) -> Iterator[Yuv420]:
    """Frames of a video in ``order``, which moves by single steps, forwards or back.

    Backward runs are decoded forwards in pieces and handed out in reverse, so memory is bounded.
    """
    reader = VideoReader(path)
    position = 0
    while position < len(order):
        stop = _run_end(order, position)
        run = order[position:stop]
        if run[-1] >= run[0]:
            yield from reader.iter_yuv(int(run[0]), int(run[-1]) + 1)
        else:
            yield from _backwards(reader, int(run[0]), int(run[-1]))
        position = stop


PIECE = 25


def _backwards(reader: VideoReader, first: int, last: int) -> Iterator[Yuv420]:
    for high in range(first, last - 1, -PIECE):
        low = max(high - PIECE + 1, last)
        yield from reversed(list(reader.iter_yuv(low, high + 1)))


def _run_end(order: NDArray[np.int64], start: int) -> int:
    """End of the run of steps in one direction that starts at ``start``."""
    if start + 1 >= len(order):
        return len(order)
    direction = order[start + 1] - order[start]
    steps = np.diff(order[start:])
    turns = np.nonzero(steps != direction)[0]
    return start + int(turns[0]) + 1 if len(turns) else len(order)


class Stopwatch:
    """Seconds by name, from one lap to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the time since the last lap under ``name``."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
