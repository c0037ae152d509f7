"""The 68 iBUG (300-W) points of a face mesh.

Most points are a mesh point or the middle of two. Checked against the published mean shape of
300-W: its brow points lie between the two rims that the mesh has, its inner-lip points at 0.26 of
the mouth's half width (mesh: 82 at 0.22, 81 at 0.42). The jaw's 17 points are spaced evenly along
the outline from temple over chin to temple, which no set of mesh points is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synctalk.face.tracking import FloatArray

JAW_OUTLINE = (
    *(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356),
)
_CHIN_AT = JAW_OUTLINE.index(152)
_JAW_HALF = 9  # points 0-8: image left temple to chin

_RIGHT_BROW = ((70, 46), (63, 53), (105, 52), (66, 65), (107, 55))
_LEFT_BROW = ((336, 285), (296, 295), (334, 282), (293, 283), (300, 276))
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_OUTER_LIPS = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
_INNER_LIPS = (
    (62,) * 2,
    (82, 81),
    (13,) * 2,
    (312, 311),
    (292,) * 2,
    (317, 402),
    (14,) * 2,
    (87, 178),
)
_SINGLE = tuple((i, i) for i in _NOSE + _EYES + _OUTER_LIPS)

INNER_PAIRS: NDArray[np.int64] = np.array([*_RIGHT_BROW, *_LEFT_BROW, *_SINGLE, *_INNER_LIPS])
"""[51, 2] the two mesh points whose middle is iBUG point 17 + i."""


def landmarks68_of_mesh(mesh: FloatArray) -> FloatArray:
    """[T, 68, D] iBUG points of [T, 468 or 478, D] meshes, D = 2 or 3, in the mesh's units."""
    inner = mesh[:, INNER_PAIRS].mean(axis=2)
    jaw = np.stack([_even_jaw(frame[list(JAW_OUTLINE)]) for frame in mesh])
    return np.concatenate([jaw, inner], axis=1).astype(np.float32)


def _even_jaw(outline: FloatArray) -> FloatArray:
    """[17, D] points evenly spaced (in x, y) along each half of a [23, D] outline."""
    right = _resample(outline[: _CHIN_AT + 1], _JAW_HALF)
    left = _resample(outline[_CHIN_AT:], _JAW_HALF)
    return np.concatenate([right, left[1:]])


def _resample(line: FloatArray, count: int) -> FloatArray:
    steps = np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(steps)])
    wanted = np.linspace(0, at[-1], count)
    return np.stack([np.interp(wanted, at, column) for column in line.T], axis=1)
