"""Grey image pyramids that the photometric step reads at sub-pixel positions.

Each level holds the image less its own blur (so that slow shading, which stays with the lights
while the head turns, drops out) and that image's gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync.geometry import Float

Grey = NDArray[np.uint8]
Box = tuple[int, int, int, int]
HIGH_PASS_SIGMA_PX = 3.0


@dataclass(frozen=True)
class Pyramid:
    """Levels [h, w, 3] float32 (high-passed intensity, d/dx, d/dy), finest first.

    Args:
        levels: the images; gradients are per pixel of their own level.
        origin: x, y of the crop's first pixel in the frame.
        octave: octave of the finest level; level k is halved ``octave + k`` times.
    """

    levels: tuple[NDArray[np.float32], ...]
    origin: tuple[int, int]
    octave: int

    def lookup(self, x: Float, y: Float, level: int) -> tuple[Float, Float, Float]:
        """Intensity and its gradient per frame pixel at continuous frame pixels x, y [N]."""
        scale = 1.0 / (1 << (self.octave + level))
        column = ((x - (0.5 + self.origin[0])) * scale).astype(np.float32)[None]
        row = ((y - (0.5 + self.origin[1])) * scale).astype(np.float32)[None]
        seen = cv2.remap(
            self.levels[level], column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        image, du, dv = seen[0].T.astype(np.float64)
        return image, du * scale, dv * scale


def build_pyramid(grey: Grey, box: Box, octave: int, n_levels: int) -> Pyramid:
    """The pyramid of the part ``box`` (x0, y0, x1, y1) of a grey frame."""
    x0, y0, x1, y1 = box
    image = grey[y0:y1, x0:x1].astype(np.float32)
    for _ in range(octave):
        image = cv2.pyrDown(image)
    levels = []
    for level in range(n_levels):
        image = cv2.pyrDown(image) if level else image
        detail = image - cv2.GaussianBlur(image, (0, 0), HIGH_PASS_SIGMA_PX)
        dx = cv2.Sobel(detail, cv2.CV_32F, 1, 0, scale=1 / 8)
        dy = cv2.Sobel(detail, cv2.CV_32F, 0, 1, scale=1 / 8)
        levels.append(cv2.merge([detail, dx, dy]))
    return Pyramid(tuple(levels), (x0, y0), octave)


def box_around(uv: Float, margin_px: int, size: tuple[int, int]) -> Box:
    """The box of the points uv [N, 2] with a margin, cut at the image; at least 16 px a side."""
    low, high = uv.min(0) - margin_px, uv.max(0) + margin_px
    x0, y0 = (int(np.clip(low[k], 0, size[k] - 16)) for k in range(2))
    x1, y1 = (int(np.clip(np.ceil(high[k]), (x0, y0)[k] + 16, size[k])) for k in range(2))
    return x0, y0, x1, y1
