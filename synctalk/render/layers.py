"""What a rendered head is laid on, and how much of the head will be seen there.

A layer is one frame's. In a portrait only the face and a restored neck show: nothing else of the
head needs to be rendered.
"""

from __future__ import annotations

from functools import cached_property
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synctalk.media.planes import Yuv420
from synctalk.render.compositing import Cutout, composite_cutout, composite_rgb, composite_yuv
from synctalk.render.portrait import SoftMask, blend_planes, portrait_mask
from synctalk.render.torso import Neck

Image = NDArray[np.uint8]
Corner = NDArray[np.int64]
Frame = TypeVar("Frame", covariant=True)
Video = TypeVar("Video", Yuv420, Cutout)

_ENLARGING_PX = 4
"""How far the enlargement of a crop looks around."""


class Box(NamedTuple):
    """A part of the crop, px, all even; ``right`` and ``bottom`` are the first beyond it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def within(self, other: Box) -> Box:
        """What both share; two pixels wide and high where they share nothing."""
        left = min(max(self.left, other.left), other.right - 2)
        top = min(max(self.top, other.top), other.bottom - 2)
        right = max(min(self.right, other.right), left + 2)
        return Box(left, top, right, max(min(self.bottom, other.bottom), top + 2))


class Layer(Protocol[Frame]):
    """One frame under a head."""

    @property
    def seen(self) -> Box | None:
        """The part of the crop outside which nothing of the head shows; None: all may show."""

    def lay(self, rgb: Tensor, alpha: Tensor, corner: Corner) -> Frame:
        """Lay a rendered head [h,w,3], [h,w,1] at ``corner`` [2] of the crop; the frame."""


class RgbLayer:
    """A crop [S,S,3]; a copy of it comes back."""

    seen = None

    def __init__(self, plate: Image) -> None:
        self._plate = plate

    def lay(self, rgb: Tensor, alpha: Tensor, corner: Corner) -> Image:
        """As :meth:`Layer.lay`."""
        frame = self._plate.copy()
        (left, top), (height, width) = corner, rgb.shape[:2]
        composite_rgb(rgb, alpha, frame[top : top + height, left : left + width])
        return frame


class VideoLayer(Generic[Video]):
    """A crop in video samples, with a matte or without, which is written to and comes back."""

    seen = None

    def __init__(self, plate: Video) -> None:
        self._plate: Video = plate

    def lay(self, rgb: Tensor, alpha: Tensor, corner: Corner) -> Video:
        """As :meth:`Layer.lay`."""
        if isinstance(self._plate, Cutout):
            composite_cutout(rgb, alpha, self._plate, corner)
        else:
            composite_yuv(rgb, alpha, self._plate, corner)
        return self._plate


class PortraitLayer(Generic[Video]):
    """A source frame that gets the face, at its own resolution (METHOD row 11).

    Args:
        frame: [H,W], written to; comes back.
        square: the part of it that is the crop [L,L] (views).
        plate: what the head is rendered on, [S,S]; written to.
        mesh: [478,2+] tracked points of the frame, px of the plate.
        neck: the restored neck that was laid into the plate.
    """

    def __init__(
        self,
        frame: Video,
        square: Video,
        plate: Video,
        mesh: NDArray[np.float32],
        neck: Neck | None,
    ) -> None:
        self._frame: Video = frame
        self._plate: Video = plate
        self._square = planes(square)
        self._mesh, self._neck = mesh, neck

    @cached_property
    def _mask(self) -> SoftMask:
        return portrait_mask(self._mesh, len(self._square[0]), self._scale, self._neck)

    @property
    def _scale(self) -> float:
        return len(self._square[0]) / len(planes(self._plate)[0])

    @property
    def seen(self) -> Box:
        """As :attr:`Layer.seen`."""
        mask, scale = self._mask, self._scale
        around = 0 if scale == 1 else _ENLARGING_PX
        height, width = mask.weight.shape
        low = [int(at / scale - around) // 2 * 2 for at in (mask.left, mask.top)]
        ends = mask.left + width, mask.top + height
        return Box(*low, *(-(-int(np.ceil(at / scale + around)) // 2) * 2 for at in ends))

    def lay(self, rgb: Tensor, alpha: Tensor, corner: Corner) -> Video:
        """As :meth:`Layer.lay`."""
        crop = VideoLayer(self._plate).lay(rgb, alpha, corner)
        blend_planes(self._square, planes(crop), self._mask)
        return self._frame


def planes(video: Yuv420 | Cutout) -> tuple[Image, ...]:
    """The planes of a picture; the matte is the last one."""
    return (*video.picture, video.matte) if isinstance(video, Cutout) else tuple(video)
