"""Long audio: does anything drift, slow down or grow in ten minutes of one dub?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import Avatar
from synctalk.benchmark.cells import Cell
from synctalk.benchmark.effort import Stopwatch
from synctalk.benchmark.film import Film
from synctalk.benchmark.measure import VIDEO, Stage, dated, record
from synctalk.benchmark.result import CellResult, Value
from synctalk.benchmark.scene import sound_of
from synctalk.dataset import FPS, SAMPLE_RATE_HZ
from synctalk.dubbing import dub
from synctalk.evaluation.quality import Absent, VideoScorer
from synctalk.evaluation.quality.recorded import peak_memory_mb
from synctalk.media import VideoReader, write_wav
from synctalk.progress import ProgressCallback, ProgressEvent, StageProgress
from synctalk.provenance import Provenance

WINDOW_S = 5
"""Of every minute that is looked at."""
WATCHED = ("sync_own_confidence", "sync_own_lag", "pose_jitter", "lse_c", "lse_d", "niqe")

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
Frames = Callable[[int, int], Iterator[Image]]


@dataclass
class _Pace:
    """When which frame of the dub was done."""

    inner: ProgressCallback
    seen: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage == "dub":
            self.seen.append((time.monotonic(), float(event.done)))
        self.inner(event)

    def fps(self, first: int, last: int) -> Value:
        """Frames a second between two frames."""
        when, done = (np.array(column) for column in zip(*self.seen, strict=True))
        began, ended = np.interp([first, last], done, when)
        return round((last - first) / (ended - began), 2) if ended > began else None


def measure_long(cell: Cell, key: str, stage: Stage, folder: Path) -> CellResult:
    """Dub for ``cell.seconds`` and look at five seconds of every minute.

    Args:
        cell: of the protocol ``long``.
        key: digest of what it rests on.
        stage: shared with other cells.
        folder: gets the last five seconds as a video.

    Raises:
        SyncTalkError: whatever dubbing raises.
    """
    assert cell.sound is not None
    watch = Stopwatch()
    shop = stage.workshop
    bundle = shop.bundle(cell.subject, cell.method, cell.seed)
    wav = repeated(sound_of(cell.sound), cell.seconds)
    heard, video = folder / "heard.wav", folder / "dub.mp4"
    write_wav(heard, wav, SAMPLE_RATE_HZ)
    pace = _Pace(stage.progress)
    unmarked = Provenance(watermark=False, sign=False)
    done = dub(bundle, heard, video, seed=cell.seed, provenance=unmarked, progress=pace)
    result = record(cell, key, stage, Avatar.load(bundle))
    data = shop.dataset(cell.subject, cell.method)
    crop, size = data.manifest.crop, data.manifest.size

    def frames(first: int, last: int) -> Iterator[Image]:
        with VideoReader(video) as reader:
            for frame in reader.iter_rgb(first, last):
                yield crop.cut(frame, size)

    spans = windows(done.n_frames)
    points: dict[str, list[Value]] = {"minute": [], "fps": []}
    for span in StageProgress(stage.progress, f"score {cell.name}", len(spans)).wrap(spans):
        points["minute"].append(round(span.start / FPS / 60, 2))
        until = min(span.start + 60 * FPS, done.n_frames)
        points["fps"].append(pace.fps(span.start, until))
        for name, value in _looked_at(frames, span, wav, stage).items():
            points.setdefault(name, []).append(value)
    with Film(folder / VIDEO, size, _heard(wav, spans[-1])) as film:
        for frame in frames(spans[-1].start, spans[-1].stop):
            film.add(frame)
    heard.unlink()
    video.unlink()
    run = {
        **result.run,
        "fps_end_to_end": round(done.fps, 2),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    found = replace(
        result,
        run=run,
        points={name: tuple(values) for name, values in points.items()},
        n_frames=len(spans[-1]),
        first_frame=spans[-1].start,
        video=VIDEO,
    )
    return dated(found, watch)


def repeated(wav: Floats, seconds: float) -> Floats:
    """``wav`` [n] over and over, until it lasts ``seconds``."""
    n = round(seconds * SAMPLE_RATE_HZ)
    return np.resize(wav, n).astype(np.float32)


def windows(n_frames: int) -> list[range]:
    """The first seconds of every minute; the last ones too, where half a minute is left."""
    length = min(WINDOW_S * FPS, n_frames)
    starts = list(range(0, n_frames - length + 1, 60 * FPS))
    if n_frames - length - starts[-1] >= 30 * FPS:
        starts.append(n_frames - length)
    return [range(start, start + length) for start in starts]


def _looked_at(frames: Frames, span: range, wav: Floats, stage: Stage) -> dict[str, Value]:
    """Figures of a window that need no reference."""
    wanted = [name for name in WATCHED if name in stage.metrics]
    source = stage.tracker.track(frames(span.start, span.stop))
    with VideoScorer(
        metrics=wanted,
        models=stage.models,
        source=source,
        tracker=stage.tracker,
        audio=_heard(wav, span),
    ) as scorer:
        for frame in frames(span.start, span.stop):
            scorer.add(frame, frame)
        found = scorer.result()
    return {
        name: None if isinstance(value, Absent) or not np.isfinite(value) else round(value, 4)
        for name, value in found.items()
    }


def _heard(wav: Floats, span: range) -> Floats:
    """The sound of some frames."""
    samples = SAMPLE_RATE_HZ // FPS
    return wav[span.start * samples : span.stop * samples]
