"""The restored neck in plates and portraits (S §III-F; METHOD row 13).

Training inpaints, for every source frame, the neck under the jaw and a rim beside it; see
``synctalk.training.torso``. Here it is laid into the plate before the head is rendered on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.media.planes import Yuv420

Image = NDArray[np.uint8]
_GREY = 128
_CLOSING_MM = (0.5, 2.5)
"""The restored neck comes in while the mouth closes by so much: what was filmed is better."""


@dataclass(frozen=True)
class NeckWindow:
    """The part of the crop that is restored.

    Args:
        width, height: px, even.
        corners: [T,2] int32, x, y of its upper left corner in each frame, px, even.
    """

    width: int
    height: int
    corners: NDArray[np.int32]

    def cut(self, image: Image, index: int) -> Image:
        """The window of frame ``index`` in a crop [S,S,...] (a view)."""
        left, top = self.corners[index]
        return image[top : top + self.height, left : left + self.width]


class Neck(NamedTuple):
    """What one source frame's neck looks like under a closed mouth.

    Args:
        picture: [h,w] planes.
        weight: [h,w] uint8, 255 where it replaces the source, 0 where the source stays.
        left, top: of it in the crop, px, even.
    """

    picture: Yuv420
    weight: Image
    left: int
    top: int

    def weighted(self, share: float) -> Neck:
        """The same with a share [0,1] of its weight."""
        if share == 1:
            return self
        return self._replace(weight=np.rint(self.weight * share).astype(np.uint8))


def jaw_gap(wider_mm: float) -> float:
    """How much of the restored neck is to show: none while the source's jaw is not lower.

    Args:
        wider_mm: how much wider the source's mouth is open than the one rendered over it.
    """
    t = min(max((wider_mm - _CLOSING_MM[0]) / (_CLOSING_MM[1] - _CLOSING_MM[0]), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def pack_neck(picture: Yuv420, weight: Image) -> Yuv420:
    """Picture over weight in one picture [2h,w], as a bundle stores them."""
    y, u, v = picture
    rest = np.full_like(u, _GREY)
    return Yuv420(np.vstack([y, weight]), np.vstack([u, rest]), np.vstack([v, rest]))


def unpack_neck(packed: Yuv420, left: int, top: int) -> Neck:
    """What :func:`pack_neck` packed, and where it lies (views)."""
    half = len(packed.y) // 2
    picture = Yuv420(packed.y[:half], packed.u[: half // 2], packed.v[: half // 2])
    return Neck(picture, packed.y[half:], left, top)


def lay_neck(plate: Yuv420, neck: Neck) -> None:
    """Lay the restored neck into a plate [S,S], in place."""
    weight = neck.weight * np.float32(1 / 255)
    half = cv2.resize(weight, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for i, (under, over) in enumerate(zip(plate, neck.picture, strict=True)):
        share, shrink = (weight, 1) if i == 0 else (half, 2)
        rows = slice(neck.top // shrink, neck.top // shrink + len(over))
        part = under[rows, neck.left // shrink : neck.left // shrink + over.shape[1]]
        part[:] = cv2.blendLinear(over, part, share, 1 - share)
