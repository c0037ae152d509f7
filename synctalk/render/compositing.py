"""Rendered splats over a frame of video, and other backgrounds behind it, in its own samples.

Dubbing never leaves YUV 4:2:0: a pixel that no splat touches reaches the encoder as it came from
the decoder, and nothing is spent on converting it.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synctalk.media.planes import Yuv420
from synctalk.render import _kernel

Image = NDArray[np.uint8]

EMPTY = (16, 128, 128)
"""Y, U, V of black: where a premultiplied picture holds nothing."""
_LEAST, _MOST = (16, 16, 16), (235, 240, 240)
_FEW = 0.01
"""Share of the frame that must be background before its brightness is told from it."""
_COARSE = 16
"""Colours are continued beyond the person on a grid this coarse, px."""
_AFAR = 1e-3
"""Weight of the person's mean colour there; it counts where no part of the person is near."""


class Cutout(NamedTuple):
    """A person before another background, or before none.

    Args:
        picture: [H,W]; before none it is premultiplied, black where nobody is.
        matte: [H,W] uint8, 255 where the person is opaque.
    """

    picture: Yuv420
    matte: Image


def composite_rgb(rgb: Tensor, alpha: Tensor, window: Image) -> None:
    """Lay splats over ``window`` [h,w,3] uint8, in place.

    Args:
        rgb: [h,w,3] premultiplied colour as ``rasterize`` returns it; alpha: [h,w,1].
        window: the frame's part that was rendered; a view into the frame.
    """
    below = 1.0 - alpha.cpu().numpy()
    window[:] = np.clip(np.rint(rgb.cpu().numpy() * 255.0 + below * window), 0, 255)


def composite_yuv(rgb: Tensor, alpha: Tensor, picture: Yuv420, corner: NDArray[np.int64]) -> None:
    """Lay splats over ``picture`` [H,W], in place.

    Args:
        rgb: [h,w,3] premultiplied colour as ``rasterize`` returns it; alpha: [h,w,1]. Even sides.
        picture: writable planes, BT.709 limited range.
        corner: [2] x, y of the rendered window, px; even.

    Raises:
        ValueError: odd sizes, or the window leaves the picture.
    """
    left, top = int(corner[0]), int(corner[1])
    _kernel.composite_yuv(rgb.cpu().numpy(), alpha.cpu().numpy(), *picture, left, top)


def composite_cutout(rgb: Tensor, alpha: Tensor, under: Cutout, corner: NDArray[np.int64]) -> None:
    """As :func:`composite_yuv`, over picture and matte."""
    composite_yuv(rgb, alpha, under.picture, corner)
    height, width = rgb.shape[:2]
    left, top = int(corner[0]), int(corner[1])
    window = under.matte[top : top + height, left : left + width]
    above = alpha[..., 0].cpu().numpy()
    window[:] = np.rint(255.0 * above + (1.0 - above) * window)


def replace_background(cut: Cutout, clean: Yuv420, new: Yuv420) -> None:
    """Put another background behind the person, in place.

    Soft edges show the old background through; what it adds there is taken away first, so that
    no rim of it stays around the person.

    Args:
        cut: [H,W] a frame as filmed and the person's matte.
        clean: [H,W] the scene without the person.
        new: [H,W] what is to stand behind; ``EMPTY`` everywhere for a premultiplied picture.
    """
    mattes = _per_plane(cut.matte)
    for i, (plane, old, behind) in enumerate(zip(cut.picture, clean, new, strict=True)):
        matte = mattes[i]
        edge = (matte > 0) & (matte < 255)
        alpha = matte[edge].astype(np.float32) / 255
        scene = old[edge] + np.float32(_brighter(plane, old, matte) - EMPTY[i])
        person = plane[edge] - np.float32(EMPTY[i]) - (1 - alpha) * scene
        low, high = _LEAST[i] - EMPTY[i], _MOST[i] - EMPTY[i]
        mixed = np.clip(person, low * alpha, high * alpha) + (1 - alpha) * behind[edge]
        np.copyto(plane, behind, where=matte == 0)
        plane[edge] = np.rint(mixed + EMPTY[i] * alpha)


def _per_plane(matte: Image) -> tuple[Image, Image, Image]:
    half = cv2.resize(matte, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return matte, half, half


def _brighter(plane: Image, clean: Image, matte: Image) -> float:
    """How much the scene of this frame differs from the clean one: exposure and light change."""
    seen = np.asarray(matte == 0, np.uint8)
    if np.count_nonzero(seen) < _FEW * seen.size:
        return 0.0
    return float(cv2.mean(plane, seen)[0] - cv2.mean(clean, seen)[0])


def straight(cut: Cutout) -> Yuv420:
    """The colours of a premultiplied picture, not multiplied, as video with alpha stores them.

    Where the person is not, the nearest colours go on: encoders smear edges, and black would be
    smeared into the person.
    """
    planes = []
    for i, (plane, matte) in enumerate(zip(cut.picture, _per_plane(cut.matte), strict=True)):
        filled = _continued(plane, matte, EMPTY[i], _COARSE // (1 if i == 0 else 2))
        edge = (matte > 0) & (matte < 255)
        alpha = matte[edge].astype(np.float32) / 255
        colour = (plane[edge] - np.float32(EMPTY[i])) / alpha + EMPTY[i]
        trust = np.minimum(4 * alpha, 1)  # below a quarter, rounding counts for more than colour
        near = filled[edge]
        mixed = near + (np.clip(colour, _LEAST[i], _MOST[i]) - near) * trust
        np.copyto(filled, plane, where=matte == 255)
        filled[edge] = np.rint(mixed)
        planes.append(filled)
    return Yuv420(*planes)


def _continued(plane: Image, matte: Image, empty: int, step: int) -> Image:
    """The colours of a premultiplied plane [h,w] carried on smoothly beyond its matte [h,w]."""
    height, width = plane.shape
    grid = (max(1, width // step), max(1, height // step))
    colour = cv2.resize(plane, grid, interpolation=cv2.INTER_AREA).astype(np.float32) - empty
    alpha = cv2.resize(matte, grid, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    total = float(colour.sum()) / max(float(alpha.sum()), 1e-6)
    near, weight = (cv2.GaussianBlur(sums, (0, 0), 1.0) for sums in (colour, alpha))
    filled = (near + _AFAR * total) / (weight + _AFAR) + empty
    small = np.rint(np.clip(filled, 0, 255)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height)), np.uint8)
