"""Portrait-Sync Generator: the rendered face in the original frame (S §III-D; METHOD row 11).

Splats lose single hairs and fine background texture; the original frame has them. A soft mask over
the face takes the rendered pixels inside and leaves the source's outside. Upwards it stops at the
forehead's hairline; downwards it is generous, because beyond the chin the rendered frame *is* the
source plate, and a chin that moves must not be cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.topology import FACE_OVAL
from synctalk.media.planes import Yuv420
from synctalk.render.torso import Neck

Image = NDArray[np.uint8]

SHRINK = 0.06
"""The mask's edge lies this share of the face's height inside the outline (above the mouth)."""
CHIN_DROP = 0.16
"""and this share below it at the chin."""
FEATHER = 0.05
"""Blur of the edge, share of the face's height (standard deviation)."""
COARSE_SIGMA = 2.5
"""The blur is done on a grid this coarse: so many of its px are one standard deviation."""
SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class SoftMask:
    """How much of the rendered face shows, over a part of the frame; nothing outside it.

    Args:
        left, top: of the part, px, even.
        weight: [h,w] in [0,1], even sides.
    """

    left: int
    top: int
    weight: NDArray[np.float32]

    def cut(self, image: Image, shrink: int = 1) -> Image:
        """The mask's part of an image [H,W,...] that is ``shrink`` times smaller (a view)."""
        height, width = self.weight.shape
        rows = slice(self.top // shrink, (self.top + height) // shrink)
        return image[rows, self.left // shrink : (self.left + width) // shrink]

    def joined(self, other: SoftMask, side: int) -> SoftMask:
        """Where either shows, in an image [side,side]."""
        if other.weight.size == 0 or self.weight.size == 0:
            return self if other.weight.size == 0 else other
        both = self, other
        left, top = min(m.left for m in both), min(m.top for m in both)
        right = min(side, max(m.left + m.weight.shape[1] for m in both))
        bottom = min(side, max(m.top + m.weight.shape[0] for m in both))
        whole = SoftMask(left, top, np.zeros((bottom - top, right - left), np.float32))
        for mask in both:
            height, width = mask.weight.shape
            y, x = mask.top - top, mask.left - left
            part = whole.weight[y : y + height, x : x + width]
            np.maximum(part, mask.weight[: part.shape[0], : part.shape[1]], out=part)
        return whole


def _neck_mask(neck: Neck, scale: float) -> SoftMask:
    """Where the neck was restored, in an image ``scale`` times as large."""
    weight = neck.weight * np.float32(1 / 255)
    if scale == 1:
        return SoftMask(neck.left, neck.top, weight)
    left, top = (round(at * scale / 2) * 2 for at in (neck.left, neck.top))
    size = tuple(round(n * scale / 2) * 2 for n in weight.shape[::-1])
    return SoftMask(left, top, np.asarray(cv2.resize(weight, size), np.float32))


def face_mask(mesh: NDArray[np.float32], height: int, width: int) -> SoftMask:
    """Soft mask of the face to blend.

    Args:
        mesh: [478,2+] tracked points, px of the image.
        height, width: of the image, px, even.
    """
    outline, face_height = _blended_outline(mesh)
    sigma = FEATHER * face_height
    reach = 3 * sigma
    low = np.clip(np.floor((outline.min(0) - reach) / 2) * 2, 0, [width, height]).astype(int)
    high = np.clip(np.ceil((outline.max(0) + reach) / 2) * 2, 0, [width, height]).astype(int)
    size = np.maximum(high - low, 0)
    if size.min() == 0:
        return SoftMask(int(low[0]), int(low[1]), np.zeros(size[::-1], np.float32))
    step = max(1, int(sigma / COARSE_SIGMA))  # the blur hides the coarser grid
    grid = -(-size // step)
    corners = np.round((outline - low) / step * 2**SUBPIXEL_BITS).astype(np.int32)
    drawn = np.zeros(grid[::-1], np.uint8)
    cv2.fillPoly(drawn, [corners], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    soft = cv2.GaussianBlur(drawn.astype(np.float32) / 255, (0, 0), sigma / step)
    whole = cv2.resize(soft, tuple(int(n) for n in grid * step))
    return SoftMask(int(low[0]), int(low[1]), np.ascontiguousarray(whole[: size[1], : size[0]]))


def _blended_outline(mesh: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The face oval, drawn in above and let out at the chin, px, and the face's height, px."""
    outline = mesh[list(FACE_OVAL), :2].astype(np.float32)
    top, bottom = outline[0], outline[18]
    down = bottom - top
    face_height = max(float(np.linalg.norm(down)), 1.0)
    down = down / face_height
    centre = outline.mean(0)
    inward = centre - outline
    inward /= np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-6)
    along = np.clip(((outline - centre) @ down) / (0.5 * face_height), 0.0, 1.0)[:, None]
    moved = outline + (1 - along) * SHRINK * face_height * inward
    moved += along * CHIN_DROP * face_height * down
    return moved, face_height


def blend_portrait(rendered: Image, source: Image, mesh: NDArray[np.float32]) -> Image:
    """``source`` with the face of ``rendered`` in it.

    Args:
        rendered: [H,W,3] composited crop.
        source: [H,W,3] the same crop of the original frame.
        mesh: [478,2+] tracked points of the original frame, px of the crop.
    """
    mask = face_mask(mesh, *source.shape[:2])
    blended = source.copy()
    face = mask.cut(blended)
    change = mask.weight[..., None] * (mask.cut(rendered).astype(np.float32) - face)
    face[:] = np.clip(np.rint(face + change), 0, 255)
    return blended


def blend_portrait_yuv(
    source: Yuv420, rendered: Yuv420, mesh: NDArray[np.float32], neck: Neck | None = None
) -> None:
    """Blend the face of ``rendered`` into ``source``, in place.

    Args:
        source: [L,L] the square of the original frame that was rendered; writable, any even size.
        rendered: [S,S] composited crop.
        mesh: [478,2+] tracked points of the original frame, px of the rendered crop.
        neck: the restored neck that was laid into the plate of ``rendered``, and shows here too.
    """
    side = len(source.y)
    blend_planes(source, rendered, portrait_mask(mesh, side, side / len(rendered.y), neck))


def portrait_mask(
    mesh: NDArray[np.float32], side: int, scale: float, neck: Neck | None
) -> SoftMask:
    """Where a source frame's square [side,side] gets the rendered crop.

    Args:
        mesh, neck: as :func:`blend_portrait_yuv` takes them, px of the crop.
        scale: of the square, in crops.
    """
    mask = face_mask(mesh * np.float32(scale), side, side)
    if neck is None or not neck.weight.any():
        return mask
    return mask.joined(_neck_mask(neck, scale), side)


def blend_planes(source: Sequence[Image], rendered: Sequence[Image], mask: SoftMask) -> None:
    """Blend ``rendered`` into ``source``, in place.

    Args:
        source: planes of a square; the first is of full size, each other one too or half of it.
        rendered: the crop's planes, of any size.
        mask: of the full size.
    """
    if mask.weight.size == 0:
        return
    half = cv2.resize(mask.weight, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for under, over in zip(source, rendered, strict=True):
        shrink = len(source[0]) // len(under)
        weight = mask.weight if shrink == 1 else half
        if over.shape != under.shape:
            over = cv2.resize(over, under.shape, interpolation=cv2.INTER_CUBIC)
        face = mask.cut(under, shrink)
        face[:] = cv2.blendLinear(mask.cut(over, shrink), face, weight, 1 - weight)
