"""Find shot cuts, jump cuts of one and the same scene among them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.media.planes import UInt8Array
from synctalk.media.reader import VideoReader

_SIZE = 128  # px; small enough for 600 fps, large enough for a jump of a few pixels
_NEIGHBOURS = 12  # frames on each side that say what is usual here
_FEWEST = 4  # with fewer neighbours nobody can tell
_QUANTILE = 75  # above the median, so that duplicated frames do not lower what is usual
_DIFFERENCE_FLOOR = 0.5  # grey levels: coding noise
_FLOW_FLOOR = 0.15  # px at 128 px
_THRESHOLD = 4.0  # jump cuts of the test footage score 6.3-12.3, all else below 2.3


def detect_cuts(frames: Iterable[UInt8Array] | Path | str) -> list[int]:
    """First frame of each new shot; frame 0 is not listed.

    A cut is a step that stands out of its neighbours both in brightness (mean absolute
    difference) and in motion (mean optical flow): fast head motion lasts several frames, a flash
    moves nothing. Dissolves are not found. Streams; keeps two numbers a frame.

    Args:
        frames: [H, W, 3] RGB or [H, W] grey uint8 pictures, or a trusted video file.

    Raises:
        MediaError: the file cannot be read.
    """
    if isinstance(frames, str | Path):
        with VideoReader(frames) as reader:
            return detect_cuts(reader.iter_grey())
    steps = np.array(list(_steps(frames)), np.float64).reshape(-1, 2)
    score = np.sqrt(
        _prominence(steps[:, 0], _DIFFERENCE_FLOOR) * _prominence(steps[:, 1], _FLOW_FLOOR)
    )
    return [int(i) + 1 for i in np.flatnonzero(score > _THRESHOLD)]


def _steps(frames: Iterable[UInt8Array]) -> Iterator[tuple[float, float]]:
    """Mean brightness difference (levels) and mean flow (px) of each step between frames."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    previous: UInt8Array | None = None
    for frame in frames:
        small = _small_grey(frame)
        if previous is not None:
            difference = float(cv2.absdiff(small, previous).mean())
            yield difference, float(np.abs(flow.calc(previous, small, None)).mean())
        previous = small


def _small_grey(frame: UInt8Array) -> UInt8Array:
    small = cv2.resize(frame, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return np.asarray(small, np.uint8)


def _prominence(values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Each value over what is usual among its neighbours."""
    result = np.zeros(len(values))
    for i, value in enumerate(values):
        before, after = values[max(0, i - _NEIGHBOURS) : i], values[i + 1 : i + 1 + _NEIGHBOURS]
        around = np.concatenate([before, after])
        if len(around) >= _FEWEST:
            result[i] = value / (np.percentile(around, _QUANTILE) + floor)
    return result


def longest_shot(n_frames: int, cuts: Sequence[int], lost: Collection[int] = ()) -> range:
    """The frames of the longest shot, the first of equals: those that dubbing plays.

    Args:
        lost: frames that cannot be played; a shot ends at them, too. Nothing is left of all: empty.
    """
    edges = sorted({0, n_frames, *cuts, *lost, *(i + 1 for i in lost)})
    unplayed = set(lost)
    shots = (range(*edge) for edge in pairwise(edges) if edge[0] not in unplayed)
    return max(shots, key=len, default=range(0))
