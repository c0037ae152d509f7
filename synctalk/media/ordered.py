"""Frames of a video played to and fro."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synctalk.media.planes import UInt8Array, Yuv420
from synctalk.media.reader import VideoReader

PIECE = 25
Order = NDArray[np.int64]
FrameT = TypeVar("FrameT")


def ordered_frames(path: Path, order: Order) -> Iterator[Yuv420]:
    """Frames of a video in ``order``, which moves by single steps, forwards or back.

    Backward runs are decoded forwards in pieces and handed out in reverse, so memory is bounded.
    """
    return _ordered(VideoReader(path).iter_yuv, order)


def ordered_grey(path: Path, order: Order) -> Iterator[UInt8Array]:
    """As :func:`ordered_frames`, the first planes [H,W] alone: a video of mattes."""
    return _ordered(VideoReader(path).iter_grey, order)


def _ordered(read: Callable[[int, int], Iterator[FrameT]], order: Order) -> Iterator[FrameT]:
    position = 0
    while position < len(order):
        stop = _run_end(order, position)
        run = order[position:stop]
        if run[-1] >= run[0]:
            yield from read(int(run[0]), int(run[-1]) + 1)
        else:
            yield from _backwards(read, int(run[0]), int(run[-1]))
        position = stop


def _backwards(
    read: Callable[[int, int], Iterator[FrameT]], first: int, last: int
) -> Iterator[FrameT]:
    for high in range(first, last - 1, -PIECE):
        low = max(high - PIECE + 1, last)
        yield from reversed(list(read(low, high + 1)))


def _run_end(order: Order, start: int) -> int:
    """End of the run of steps in one direction that starts at ``start``."""
    if start + 1 >= len(order):
        return len(order)
    direction = order[start + 1] - order[start]
    steps = np.diff(order[start:])
    turns = np.nonzero(steps != direction)[0]
    return start + int(turns[0]) + 1 if len(turns) else len(order)
