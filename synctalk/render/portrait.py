"""Portrait-Sync Generator: the rendered face in the original frame (S §III-D; METHOD row 11).

Splats lose single hairs and fine background texture; the original frame has them. A soft mask over
the face takes the rendered pixels inside and leaves the source's outside. Upwards it stops at the
forehead's hairline; downwards it is generous, because beyond the chin the rendered frame *is* the
source plate, and a chin that moves must not be cut.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.topology import FACE_OVAL

Image = NDArray[np.uint8]

SHRINK = 0.06
"""The mask's edge lies this share of the face's height inside the outline (above the mouth)."""
CHIN_DROP = 0.16
"""and this share below it at the chin."""
FEATHER = 0.05
"""Blur of the edge, share of the face's height (standard deviation)."""


def face_mask(mesh: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Soft mask [height,width] in [0,1] of the face to blend.

    Args:
        mesh: [478,2+] tracked points, px of the image.
        height, width: of the image, px.
    """
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
    mask = np.zeros((height, width), np.float32)
    cv2.fillPoly(mask, [np.round(moved).astype(np.int32)], 1.0)
    sigma = FEATHER * face_height
    soft: NDArray[np.float32] = cv2.GaussianBlur(mask, (0, 0), sigma)
    return soft


def blend_portrait(rendered: Image, source: Image, mesh: NDArray[np.float32]) -> Image:
    """``source`` with the face of ``rendered`` in it.

    Args:
        rendered: [H,W,3] composited crop.
        source: [H,W,3] the same crop of the original frame.
        mesh: [478,2+] tracked points of the original frame, px of the crop.
    """
    mask = face_mask(mesh, *source.shape[:2])[..., None]
    blended = source + mask * (rendered.astype(np.float32) - source)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


class TorsoRestorer(Protocol):
    """OOD Audio Torso Restorer (S §III-F; METHOD row 13): its interface; none is built yet.

    It repairs the seam under the chin where the rendered jaw and the source's differ.
    """

    def restore(self, crop: Image, seam: NDArray[np.float32]) -> Image:
        """``crop`` [S,S,3] with the pixels of ``seam`` [S,S] in [0,1] inpainted."""
        ...
