"""Portrait-Sync Generator of the predecessor (P, section 3.4): blurred face and neck colour."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.topology import FACE_OVAL

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

JAW = FACE_OVAL[9:28]
"""From below one ear over the chin to the other."""
BLUR = 0.04
"""Standard deviation of the blur G, share of the face's height. P gives no number."""


def fill_neck(plate: Image, jaw: Float, colour: Float) -> Image:
    """``plate`` [S,S,3] with the mean neck colour where the source's lower face was.

    P fills "the dark gap" that a mouth less open than the source's leaves at the jaw with the
    average neck colour. Where the rendered head covers it, it does not show.

    Args:
        jaw: [J,2] the source's jaw, px.
        colour: [3] RGB in 0..1.
    """
    inside = _soft(jaw, plate.shape[0])[..., None]
    filled = plate + inside * (255 * colour - plate)
    return np.rint(filled).clip(0, 255).astype(np.uint8)


def blend_face(rendered: Image, source: Image, mesh: Float) -> Image:
    """The face F_r of ``rendered`` in the original F_o, its region's edge blurred by G.

    Args:
        rendered, source: [S,S,3]; mesh: [478,2+] tracked points of the source, px.
    """
    weight = _soft(mesh[list(FACE_OVAL), :2], source.shape[0])[..., None]
    mixed = source + weight * (rendered.astype(np.float32) - source)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def _soft(outline: Float, side: int) -> Float:
    """Weight [side,side] of a polygon with a blurred edge that fades out where it ends."""
    height = float(np.ptp(outline[:, 1]))
    mask = np.zeros((side, side), np.float32)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    sigma = max(BLUR * height, 0.5)
    blurred = cv2.GaussianBlur(mask, (0, 0), sigma)
    return np.asarray(np.clip(2 * blurred - 1, 0, 1) if height else blurred, np.float32)
