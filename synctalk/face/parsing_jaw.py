"""Where the jaw is seen, beside where landmarks put it.

Face trackers place the jaw a little inside its visible edge, and by how much differs from person to
person. A sliver of jaw left in the torso plate shows at every frame, so the distance is measured
once per subject: along rays from the mouth through each jaw point, averaged over frames, the edge
nearest the usual place.
"""

from __future__ import annotations

import cv2
import numpy as np

from synctalk.face.parsing_geometry import HeadOutline, HeadShape, jaw_directions
from synctalk.face.tracking import FloatArray, Image

_STEP = 0.01  # units of the distance between the eyes
_REACH = np.arange(-0.04, 0.2, _STEP, dtype=np.float32)
_USUAL, _SPREAD = 0.05, 0.05
_BEYOND = 0.03  # the edge's own blur and shadow belong to the head


def _edge_profile(frame: Image, outline: HeadOutline, shape: HeadShape) -> FloatArray:
    """Colour change per step along each jaw point's ray: [M, len(_REACH) - 1]."""
    directions = jaw_directions(outline, shape)
    at = outline.jaw[:, None] + directions[:, None] * _REACH[:, None] - np.float32(0.5)
    smooth = cv2.GaussianBlur(frame, (0, 0), len(frame) / 512)
    colours = cv2.remap(smooth, at[..., 0], at[..., 1], cv2.INTER_LINEAR).astype(np.float32)
    return np.asarray(np.abs(np.diff(colours, axis=1)).sum(-1))


def measure_jaw(frames: list[Image], outlines: list[HeadOutline], shape: HeadShape) -> FloatArray:
    """How far outside the tracked jaw points the jaw's edge is.

    Args:
        frames: uint8 [S, S, 3] each.
        outlines: of ``shape`` without offsets, in the frames' pixels.

    Returns:
        [M] float32, units of the distance between the eyes.
    """
    profiles = [_edge_profile(f, o, shape) for f, o in zip(frames, outlines, strict=True)]
    edge = np.mean(profiles, axis=0)
    offsets = (_REACH[1:] + _REACH[:-1]) / 2
    likely = np.exp(-(((offsets - _USUAL) / _SPREAD) ** 2) / 2)
    best = offsets[(edge * likely).argmax(1)]
    padded = np.pad(best, 2, mode="edge")
    middle = np.median([padded[i : i + len(best)] for i in range(5)], axis=0)
    ends = np.pad(middle, 1, mode="edge")
    return np.asarray((ends[:-2] + 2 * middle + ends[2:]) / 4 + _BEYOND, np.float32)
