"""The part of a frame that is rendered: a rectangle of one size that follows the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MARGIN_PX = 8
ALIGN_PX = 16

Float = NDArray[np.float32]


@dataclass(frozen=True)
class HeadWindow:
    """A rectangle around the projection of one point of the head.

    Args:
        width, height: px, the same in every frame.
        centre: [3] the point it follows, head frame, mm.
        size: side of the frames it lies in, px; it never leaves them.
    """

    width: int
    height: int
    centre: tuple[float, float, float]
    size: int

    def corners(self, R: Float, t: Float, K: Float) -> NDArray[np.int64]:
        """Upper left corners (x, y) of the window in T frames, [T,2] px; even, for 4:2:0 video."""
        camera = R @ np.asarray(self.centre, np.float32) + t
        pixels = camera[:, :2] / camera[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
        corner = 2 * np.round((pixels - [self.width / 2, self.height / 2]) / 2).astype(np.int64)
        limit = np.array([self.size - self.width, self.size - self.height])
        moved: NDArray[np.int64] = np.clip(corner, 0, limit)
        return moved

    def cut(self, image: NDArray[np.uint8], corner: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The window of an image [size,size,...] (a view)."""
        x, y = int(corner[0]), int(corner[1])
        return image[y : y + self.height, x : x + self.width]

    def intrinsics(self, K: Float, corners: NDArray[np.int64], scale: float = 1.0) -> Tensor:
        """``K`` seen from each corner, for images scaled by ``scale``: [T,3,3]."""
        moved = torch.from_numpy(K).expand(len(corners), 3, 3).clone()
        moved[:, :2, 2] -= torch.from_numpy(corners).float()
        moved[:, :2] *= scale
        return moved


def fit_window(boxes: Float, R: Float, t: Float, K: Float, size: int) -> HeadWindow:
    """The smallest window that holds the head in F frames.

    Args:
        boxes: [F,4] x0, y0, x1, y1 of the visible head, px.
        R, t, K: poses [F,3,3], [F,3] mm and intrinsics of those frames.
        size: side of the frames, px.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    depth = t[:, 2:]
    rays = (middle - K[:2, 2]) / [K[0, 0], K[1, 1]]
    placed = np.concatenate([rays * depth, depth], axis=1)
    in_head = np.einsum("tji,tj->ti", R, placed - t)
    centre = np.median(in_head, axis=0)
    camera = R @ centre.astype(np.float32) + t
    pixels = camera[:, :2] / camera[:, 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
    reach = np.maximum(pixels - boxes[:, :2], boxes[:, 2:] - pixels).max(0)
    width, height = (
        min(-(-int(2 * (r + MARGIN_PX)) // ALIGN_PX) * ALIGN_PX, size // ALIGN_PX * ALIGN_PX)
        for r in reach
    )
    x, y, z = (float(c) for c in centre)
    return HeadWindow(width, height, (x, y, z), size)
