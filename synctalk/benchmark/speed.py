"""How fast an avatar is, in the four ways that are often confused, and what it costs in memory.

Means something on a quiet machine alone; the load at the time is noted beside every figure.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synctalk.benchmark.result import Value
from synctalk.dataset import FPS, SAMPLE_RATE_HZ, SubjectDataset
from synctalk.evaluation.heard import heard_in
from synctalk.evaluation.machine import usable_cores
from synctalk.evaluation.quality.recorded import peak_memory_mb
from synctalk.media import VideoWriter

if TYPE_CHECKING:
    from synctalk.avatar import Driving
    from synctalk.evaluation.protocol import TalkingHead

N_FRAMES = 50
N_LATENCY = 20

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def measure_speed(head: TalkingHead, dataset: SubjectDataset) -> dict[str, Value]:
    """Frame rates on up to 50 held-out frames, whose plates are already decoded.

    Returns:
        ``latency_ms``: one frame asked for by itself, the median. ``fps_one_stream``: one stream,
        frames asked for together. ``fps_batched``: as many streams at once as there are cores.
        ``fps_end_to_end``: features to an H.264 file, lips, blending and encoding included.
        ``peak_memory_mb``: of this process so far.
    """
    span = dataset.held_out_range[:N_FRAMES]
    pairs = list(islice(dataset.frames_and_plates(span.start), len(span)))
    plates = [plate for _, plate in pairs]
    driving = head.driving_from_tracks(dataset.tracks)[slice(span.start, span.stop)]
    list(head.render(driving[:4], plates[:4]))  # the first pays for set-up
    ones = [
        _seconds(partial(_rendered, head, driving[i : i + 1], plates[i : i + 1]))
        for i in range(min(N_LATENCY, len(span)))
    ]
    cores = usable_cores()
    features = heard_in(dataset)[span.start : span.stop]
    return {
        "latency_ms": round(1000 * float(np.median(ones)), 2),
        "fps_one_stream": round(len(span) / _seconds(lambda: _rendered(head, driving, plates)), 2),
        "fps_batched": round(
            cores * len(span) / _seconds(lambda: _together(head, driving, plates, cores)), 2
        ),
        "fps_end_to_end": round(
            len(span) / _seconds(lambda: _filmed(head, dataset, span, features)), 2
        ),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _rendered(head: TalkingHead, driving: Driving, plates: list[Image]) -> None:
    for _ in head.render(driving, plates):
        pass


def _together(head: TalkingHead, driving: Driving, plates: list[Image], streams: int) -> None:
    with ThreadPoolExecutor(streams) as pool:
        for done in [pool.submit(_rendered, head, driving, plates) for _ in range(streams)]:
            done.result()


def _filmed(head: TalkingHead, dataset: SubjectDataset, span: range, features: Floats) -> None:
    """Lips from features, plates from the disk, rendering, blending, encoding."""
    size = dataset.manifest.size
    tracked = head.driving_from_tracks(dataset.tracks)[slice(span.start, span.stop)]
    driving = type(tracked)(**{**vars(tracked), "lip": head.lips_from_audio(features)})
    sound = dataset.audio()[: len(span) * SAMPLE_RATE_HZ // FPS]
    pairs = list(islice(dataset.frames_and_plates(span.start), len(span)))
    meshes = dataset.tracks.mesh[span.start : span.stop]
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoWriter(Path(folder) / "timed.mp4", size, size, FPS, audio=sound) as writer,
    ):
        rendered = head.render(driving, (plate for _, plate in pairs))
        for crop, (frame, _), mesh in zip(rendered, pairs, meshes, strict=True):
            writer.write(head.blend_portrait(crop, frame, mesh))
