"""What each stage of making a frame costs, one stage at a time, nothing else running.

A live or batch renderer overlaps these stages, so its frame rate is better than their sum; the
benchmark of dubbing measures that. Here the sum shows where time goes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from synctalk.dataset import SubjectDataset
from synctalk.evaluation.heard import heard_in
from synctalk.evaluation.result import Image
from synctalk.media import VideoWriter

if TYPE_CHECKING:
    from synctalk.evaluation.protocol import TalkingHead

T = TypeVar("T")

N_FRAMES = 50


def measure_stages(avatar: TalkingHead, dataset: SubjectDataset) -> dict[str, float]:
    """Milliseconds a frame on up to 50 held-out frames.

    Returns:
        ``lips_from_audio`` (encoder features given), ``decode_plate``, ``render`` (deform,
        rasterise, composite), ``blend_portrait``, ``encode`` (H.264 of the crop).
    """
    span = dataset.held_out_range[:N_FRAMES]
    features = heard_in(dataset)
    driving = avatar.driving_from_tracks(dataset.tracks)[slice(span.start, span.stop)]
    frames = list(islice(dataset.frames(span.start), len(span)))
    meshes = dataset.tracks.mesh[span.start : span.stop]
    ms: dict[str, float] = {}
    avatar.lips_from_audio(features)  # the first call of anything pays for set-up
    _, ms["lips_from_audio"] = _timed(lambda: avatar.lips_from_audio(features), len(features))
    plates, ms["decode_plate"] = _timed(
        lambda: list(islice(dataset.plates(span.start), len(span))), len(span)
    )
    list(avatar.render(driving[:4], plates[:4]))
    rendered, ms["render"] = _timed(lambda: list(avatar.render(driving, plates)), len(span))
    blend = avatar.blend_portrait
    blend(rendered[0], frames[0], meshes[0])
    _, ms["blend_portrait"] = _timed(
        lambda: [blend(*args) for args in zip(rendered, frames, meshes, strict=True)], len(span)
    )
    _, ms["encode"] = _timed(lambda: _encode(rendered), len(span))
    return ms


def _timed(work: Callable[[], T], n: int) -> tuple[T, float]:
    start = time.perf_counter()
    result = work()
    return result, 1000 * (time.perf_counter() - start) / n


def _encode(frames: Sequence[Image]) -> None:
    height, width = np.shape(frames[0])[:2]
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoWriter(Path(folder) / "timed.mp4", width, height) as writer,
    ):
        for frame in frames:
            writer.write(frame)
