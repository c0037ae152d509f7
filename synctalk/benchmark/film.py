"""What of a cell can be looked at: a small video, and the frames that came out worst."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.benchmark.result import Worst
from synctalk.dataset import FPS, SAMPLE_RATE_HZ
from synctalk.evaluation.contact import jpeg
from synctalk.evaluation.metrics import psnr
from synctalk.media import VideoWriter

SIDE = 320
"""Of the videos, px: a page holds many."""
SECONDS = 10
N_WORST = 4
WORST_SIDE = 224
APART = 10
"""Frames between two of the worst, so that one bad moment does not take all places."""

Image = NDArray[np.uint8]


class Film:
    """The first ten seconds of what is shown, reduced in size, with the sound."""

    def __init__(self, path: Path, size: int, wav: NDArray[np.float32]) -> None:
        """Open the file.

        Args:
            path: to write.
            size: side of the frames that will come, px.
            wav: [n] 16 kHz, from the first of them on.
        """
        self._side = min(SIDE, size // 2 * 2)
        sound = wav[: SECONDS * SAMPLE_RATE_HZ]
        self._writer = VideoWriter(
            path, self._side, self._side, FPS, audio=sound, sample_rate=SAMPLE_RATE_HZ
        )

    def __enter__(self) -> Film:
        self._writer.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def add(self, image: Image) -> None:
        """The next frame [S,S,3]; what comes after the end is left out."""
        if self._writer.frames_written < SECONDS * FPS:
            self._writer.write(reduced(image, self._side))


class WorstFrames:
    """The frames with the lowest PSNR, some apart from each other, source beside method."""

    def __init__(self, folder: Path) -> None:
        """Nothing seen yet."""
        self._folder = folder
        self._found: list[tuple[float, int, Image]] = []

    def add(self, frame: int, image: Image, source: Image) -> None:
        """Consider frame number ``frame``, [S,S,3] both."""
        score = psnr(image, source)
        near = [f for f in self._found if abs(f[1] - frame) < APART]
        if any(f[0] <= score for f in near):
            return
        pair = np.concatenate([reduced(source, WORST_SIDE), reduced(image, WORST_SIDE)], 1)
        others = [f for f in self._found if abs(f[1] - frame) >= APART]
        self._found = sorted([*others, (score, frame, pair)], key=lambda f: f[:2])[:N_WORST]

    def written(self) -> tuple[Worst, ...]:
        """Their pictures as files, the worst first."""
        found = []
        for rank, (score, frame, pair) in enumerate(self._found):
            name = f"worst_{rank}.jpg"
            (self._folder / name).write_bytes(jpeg(pair))
            found.append(Worst(frame, round(score, 3), name))
        return tuple(found)


def reduced(image: Image, side: int) -> Image:
    """``image`` [S,S,3] as [side,side,3]."""
    if image.shape[0] == side:
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
