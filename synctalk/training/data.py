"""The footage as a trainer wants it: cropped to the head, in memory, with its coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.dataset import SubjectDataset
from synctalk.progress import ProgressCallback, StageProgress

MATTE_VISIBLE = 8
MARGIN_PX = 8
ALIGN_PX = 8


@dataclass(frozen=True)
class Window:
    """A rectangle of the dataset's crop, px: the only part that is rendered."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The window of an image [H,W,...] (a view)."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def intrinsics(self, K: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
        """``K`` [3,3] seen from the window's corner, for images scaled by ``scale``."""
        moved = K.copy()
        moved[0, 2] -= self.x
        moved[1, 2] -= self.y
        moved[:2] *= scale
        return moved


@dataclass(frozen=True)
class FrameStack:
    """F frames of the head window.

    Args:
        index: [F] frame numbers in the dataset.
        rgb: [F,h,w,3] uint8; plate: [F,h,w,3] uint8; matte: [F,h,w] uint8.
    """

    index: NDArray[np.int64]
    rgb: NDArray[np.uint8]
    plate: NDArray[np.uint8]
    matte: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.index)

    def halved(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Frame ``i`` (rgb, plate, matte) at half resolution."""
        size = (self.rgb.shape[2] // 2, self.rgb.shape[1] // 2)
        rgb, plate, matte = (
            cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            for image in (self.rgb[i], self.plate[i], self.matte[i])
        )
        return rgb, plate, matte


def head_window(dataset: SubjectDataset, stride: int = 5) -> Window:
    """The smallest aligned window that holds the head in every (``stride``-th) frame."""
    size = dataset.manifest.size
    rows = np.zeros(size, bool)
    columns = np.zeros(size, bool)
    for i, matte in enumerate(dataset.mattes()):
        if i % stride == 0:
            visible = matte > MATTE_VISIBLE
            rows |= visible.sum(1) > 2
            columns |= visible.sum(0) > 2
    y, height = _span(rows, size)
    x, width = _span(columns, size)
    return Window(x, y, width, height)


def _span(occupied: NDArray[np.bool_], size: int) -> tuple[int, int]:
    where = np.nonzero(occupied)[0]
    if len(where) == 0:
        return 0, size
    first = max(int(where[0]) - MARGIN_PX, 0)
    length = min(int(where[-1]) + 1 + MARGIN_PX, size) - first
    length = -(-length // ALIGN_PX) * ALIGN_PX
    return max(min(first, size - length), 0), min(length, size)


def load_frames(
    dataset: SubjectDataset,
    wanted: NDArray[np.int64],
    window: Window,
    progress: ProgressCallback,
) -> FrameStack:
    """Read the ``wanted`` (sorted) frames of ``window`` into memory, one pass over the files."""
    shape = (len(wanted), window.height, window.width)
    rgb = np.empty((*shape, 3), np.uint8)
    plate = np.empty((*shape, 3), np.uint8)
    matte = np.empty(shape, np.uint8)
    slot = {int(frame): i for i, frame in enumerate(wanted)}
    first, last = int(wanted[0]), int(wanted[-1])
    stage = StageProgress(progress, "load frames", len(wanted))
    streams = zip(
        dataset.frames(first), dataset.plates(first), dataset.mattes(first), strict=False
    )
    for number, (image, background, alpha) in enumerate(streams, start=first):
        if number > last:
            break
        if number in slot:
            i = slot[number]
            rgb[i] = window.cut(image)
            plate[i] = window.cut(background)
            matte[i] = window.cut(alpha)
            stage.advance()
    return FrameStack(wanted, rgb, plate, matte)
