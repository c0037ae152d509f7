"""The footage as a trainer wants it: cropped to the head, in memory, with its coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from synctalk.dataset import SubjectDataset
from synctalk.errors import FootageError
from synctalk.gaussians.window import HeadWindow, fit_window
from synctalk.progress import ProgressCallback, StageProgress

MATTE_VISIBLE = 8
MOUTH_RIM = 0.08
"""How far the mouth's weight reaches past the lips, share of their width."""


@dataclass(frozen=True)
class FrameStack:
    """F frames of the head window.

    Args:
        index: [F] frame numbers in the dataset.
        corner: [F,2] upper left corner of the window in each frame, px.
        rgb: [F,h,w,3] uint8; plate: [F,h,w,3] uint8; matte: [F,h,w] uint8.
    """

    index: NDArray[np.int64]
    corner: NDArray[np.int64]
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


def head_window(dataset: SubjectDataset, stride: int = 5) -> HeadWindow:
    """The smallest window that holds the head in every (``stride``-th) tracked frame."""
    tracks, size = dataset.tracks, dataset.manifest.size
    frames, boxes = [], []
    for i, matte in enumerate(dataset.mattes()):
        if i % stride == 0 and tracks.valid[i]:
            box = _visible_box(matte)
            if box is not None:
                frames.append(i)
                boxes.append(box)
    if not frames:
        raise FootageError(
            f"{dataset.path}: the head's mask is empty in every frame.",
            reason="NO_HEAD",
            remedy="Film one person from the front, with the whole head in the picture.",
        )
    index = np.array(frames)
    box_array = np.array(boxes, np.float32)
    return fit_window(box_array, tracks.R[index], tracks.t[index], tracks.K, size)


def _visible_box(matte: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 of the head in a matte; rows and columns of stray pixels do not count."""
    visible = matte > MATTE_VISIBLE
    rows, columns = np.nonzero(visible.sum(1) > 2)[0], np.nonzero(visible.sum(0) > 2)[0]
    if len(rows) == 0 or len(columns) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def load_frames(
    dataset: SubjectDataset,
    wanted: NDArray[np.int64],
    window: HeadWindow,
    progress: ProgressCallback,
) -> FrameStack:
    """Read the ``wanted`` (sorted) frames of ``window`` into memory, one pass over the files."""
    shape = (len(wanted), window.height, window.width)
    rgb = np.empty((*shape, 3), np.uint8)
    plate = np.empty((*shape, 3), np.uint8)
    matte = np.empty(shape, np.uint8)
    slot = {int(frame): i for i, frame in enumerate(wanted)}
    tracks = dataset.tracks
    corner = window.corners(tracks.R[wanted], tracks.t[wanted], tracks.K)
    first, last = int(wanted[0]), int(wanted[-1])
    stage = StageProgress(progress, "load frames", len(wanted))
    streams = zip(dataset.frames_and_plates(first), dataset.mattes(first), strict=False)
    for number, ((image, background), alpha) in enumerate(streams, start=first):
        if number > last:
            break
        if number in slot:
            i = slot[number]
            rgb[i] = window.cut(image, corner[i])
            plate[i] = window.cut(background, corner[i])
            matte[i] = window.cut(alpha, corner[i])
            stage.advance()
    return FrameStack(wanted, corner, rgb, plate, matte)


def mouth_weight(lips: NDArray[np.floating], shape: tuple[int, ...], extra: float) -> torch.Tensor:
    """Weights [h,w] of the image loss: 1, and ``1 + extra`` over the mouth (METHOD row 10).

    Args:
        lips: [P,2] outer lip points, px of the image.
        shape: h, w of the image.
        extra: what the mouth counts more.
    """
    hull = cv2.convexHull(np.round(lips).astype(np.int32))
    reach = max(1, round(MOUTH_RIM * float(np.ptp(lips[:, 0]))))
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillConvexPoly(mask, hull, extra)
    cv2.polylines(mask, [hull], True, extra, 2 * reach)
    return torch.from_numpy(1.0 + mask)
