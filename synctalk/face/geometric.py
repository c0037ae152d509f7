"""Blendshapes measured on the mesh: distances on the pose-free face, calibrated per subject.

Each shape is a distance in mm on a face of the canonical size, measured from the subject's own
resting value and divided by the travel that a full expression has. Where the footage shows a
larger travel, that becomes the full expression. What this geometry cannot tell (cheekPuff,
cheekSquint, eyeSquint, jawForward, jawLeft, jawRight, mouthRollUpper, mouthShrug, noseSneer,
tongueOut) stays 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synctalk.face import topology as t
from synctalk.face.blendshapes import ARKIT_NAMES, finish, mesh_of
from synctalk.face.normalise import remove_pose
from synctalk.face.tracking import FaceTrack, FloatArray

Array = NDArray[np.float64]

RIGHT_LIDS = ((161, 163), (160, 144), (159, 145), (158, 153), (157, 154))
LEFT_LIDS = ((388, 390), (387, 373), (386, 374), (385, 380), (384, 381))
INNER_EYE_CORNERS, EYE_CORNERS = (133, 362), (33, 133, 362, 263)
IRIS_CENTRES = (t.RIGHT_IRIS[0], t.LEFT_IRIS[0])
RIGHT_BROW_INNER, LEFT_BROW_INNER = (55, 107, 65, 66), (285, 336, 295, 296)
RIGHT_BROW_OUTER, LEFT_BROW_OUTER = (46, 70, 53, 63), (276, 300, 283, 293)

# Travel of a full expression, mm on the canonical face.
BROW_UP_MM, BROW_DOWN_MM = 5.0, 4.0
JAW_MM, CORNER_MM, WIDTH_MM, LIP_MM = 24.0, 10.0, 14.0, 8.0
GAZE_MM = 6.0
CLOSED_EYE = 0.35  # a closed lid's opening over the open one's, when no blink was seen


def _rise(value: Array, full: float, rest: float = 50.0) -> Array:
    """How far above its resting percentile, 1 at ``full`` mm or at the clip's own most."""
    base = np.percentile(value, rest)
    travel = max(full, float(np.percentile(value, 99.5) - base))
    return np.asarray((value - base) / travel)


def _fall(value: Array, full: float, rest: float = 50.0) -> Array:
    return _rise(-value, full, 100 - rest)


def _gap(face: Array, a: int, b: int) -> Array:
    return np.asarray(np.linalg.norm(face[:, a] - face[:, b], axis=1))


def _height(face: Array, points: Sequence[int]) -> Array:
    return np.asarray(face[:, list(points), 1].mean(axis=1))


def _opening(face: Array, lids: Sequence[tuple[int, int]], corners: tuple[int, int]) -> Array:
    """Eye opening over eye width."""
    gaps = np.stack([face[:, upper, 1] - face[:, lower, 1] for upper, lower in lids])
    return np.asarray(gaps.mean(axis=0) / _gap(face, *corners))


def _eye_shapes(face: Array, side: str) -> dict[str, Array]:
    lids, corners = (LEFT_LIDS, (362, 263)) if side == "Left" else (RIGHT_LIDS, (33, 133))
    iris = t.LEFT_IRIS if side == "Left" else t.RIGHT_IRIS
    outward = 1.0 if side == "Left" else -1.0
    opening = _opening(face, lids, corners)
    wide_open = float(np.percentile(opening, 70))
    seen_closed = float(np.percentile(opening, 0.5))
    closed = seen_closed if seen_closed < 0.6 * wide_open else CLOSED_EYE * wide_open
    blink = (wide_open - opening) / (wide_open - closed)
    aside = (face[:, iris[0], 0] - face[:, list(corners), 0].mean(axis=1)) * outward
    up = _height(face, IRIS_CENTRES) - _height(face, EYE_CORNERS)  # the eyes move together
    return {
        f"eyeBlink{side}": blink,
        f"eyeWide{side}": (opening - wide_open) / (0.6 * wide_open),
        f"eyeLookOut{side}": _rise(aside, GAZE_MM),
        f"eyeLookIn{side}": _fall(aside, GAZE_MM),
        f"eyeLookUp{side}": _rise(up, GAZE_MM / 2),
        f"eyeLookDown{side}": _fall(up, GAZE_MM / 2) * (1 - np.clip(blink, 0, 1)),
    }


def _brow_shapes(face: Array) -> dict[str, Array]:
    # Heights above the inner eye corners, which no expression moves: what error is left in the
    # head's pose moves both.
    eyes = _height(face, INNER_EYE_CORNERS)
    right, left = _height(face, RIGHT_BROW_INNER) - eyes, _height(face, LEFT_BROW_INNER) - eyes
    right_outer = _height(face, RIGHT_BROW_OUTER) - eyes
    left_outer = _height(face, LEFT_BROW_OUTER) - eyes
    right_down = _fall((right + right_outer) / 2, BROW_DOWN_MM)
    left_down = _fall((left + left_outer) / 2, BROW_DOWN_MM)
    # People frown with both brows: the other side steadies each.
    return {
        "browInnerUp": _rise((right + left) / 2, BROW_UP_MM),
        "browOuterUpLeft": _rise(left_outer, BROW_UP_MM),
        "browOuterUpRight": _rise(right_outer, BROW_UP_MM),
        "browDownLeft": (2 * left_down + right_down) / 3,
        "browDownRight": (2 * right_down + left_down) / 3,
    }


def _mouth_shapes(face: Array) -> dict[str, Array]:
    jaw = _gap(face, 2, t.CHIN)
    lips = np.maximum(face[:, 13, 1] - face[:, 14, 1], 0)
    width = _gap(face, 61, 291)
    narrow = _fall(width, WIDTH_MM)
    jaw_open = _rise(jaw, JAW_MM, 5)
    open_lips = np.clip(_rise(lips, 12.0, 5), 0, 1)
    shift = face[:, [61, 291], 0].mean(axis=1)
    return {
        "jawOpen": jaw_open,
        "mouthLeft": _rise(shift, CORNER_MM),
        "mouthRight": _fall(shift, CORNER_MM),
        "mouthClose": np.clip(jaw_open, 0, 1) - open_lips,
        "mouthPucker": narrow * (1 - open_lips),
        "mouthFunnel": narrow * open_lips,
        "mouthRollLower": _fall(face[:, 14, 1] - face[:, 17, 1], LIP_MM) * (1 - open_lips),
    }


def _corner_shapes(face: Array, side: str) -> dict[str, Array]:
    corner, upper, inner, lower = (291, 270, 311, 321) if side == "Left" else (61, 40, 81, 91)
    corners = _height(face, (61, 291))
    out = face[:, corner, 0] * (1 if side == "Left" else -1)
    up = face[:, corner, 1]
    thickness = _gap(face, upper, lower)
    return {
        f"mouthSmile{side}": _rise(0.5 * out + up - _height(face, (0, 17)), CORNER_MM),
        f"mouthFrown{side}": _fall(up, CORNER_MM),
        f"mouthStretch{side}": _rise(out - 0.5 * up, CORNER_MM),
        f"mouthDimple{side}": 0.5 * _rise(out, CORNER_MM),
        f"mouthPress{side}": _fall(thickness, LIP_MM, 30),
        f"mouthUpperUp{side}": _rise(face[:, inner, 1] - corners, LIP_MM),
        f"mouthLowerDown{side}": _fall(face[:, lower, 1] - corners, 2 * LIP_MM),
    }


class GeometricCapturer:
    """Blendshapes from distances on the pose-free mesh; needs nothing but the track."""

    def capture(self, track: FaceTrack, *, cuts: Sequence[int] = ()) -> FloatArray:
        """[T, 52]; see :class:`synctalk.face.blendshapes.BlendshapeCapturer`."""
        mesh = mesh_of(track)
        raw = _measure(remove_pose(mesh)) if len(mesh) else np.zeros((0, len(ARKIT_NAMES)))
        return finish(raw, track.found, cuts)


def _measure(face: Array) -> Array:
    """[T, 52] unclipped scores of pose-free meshes."""
    shapes = _brow_shapes(face) | _mouth_shapes(face)
    for side in ("Left", "Right"):
        shapes |= _eye_shapes(face, side) | _corner_shapes(face, side)
    zero = np.zeros(len(face))
    return np.stack([shapes.get(name, zero) for name in ARKIT_NAMES], axis=1)
