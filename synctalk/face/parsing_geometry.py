"""Where head, jaw and chin are in a frame, from landmarks alone.

Points are continuous pixels. The head's own frame has its origin between the eyes, u to the image
right and v down along the face, in units of the distance between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.tracking import FloatArray

# MediaPipe's face outline, clockwise from the top of the forehead.
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
# Its lower part, from the jaw's angle at the image left to the one at the image right, is within
# OVAL the points 25, 24, ..., 11; within the outline made of 68 points 3, 4, ..., 13.
JAW_IN_OVAL = tuple(range(25, 10, -1))
JAW_IN_68 = tuple(range(3, 14))
# Points of the 68 that hardly move with expression: jaw ends, nose, eye corners.
RIGID68 = (0, 1, 2, 14, 15, 16, 27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
CANONICAL_SIZE = 128
_CANONICAL_UNIT = 16.0  # canonical px per distance between the eyes: a view of 8 x 8 units
_CANONICAL_EYES = (64.0, 52.0)


@dataclass(frozen=True)
class HeadShape:
    """The subject's average landmarks in the head's frame.

    Args:
        points: [68, 2] float32, units of the distance between the eyes.
        jaw_offsets: [M] float32, same units: how far outside the tracked jaw points the jaw is
            seen, from its angle at the image left to that at the image right.
    """

    points: FloatArray
    jaw_offsets: FloatArray

    @property
    def chin_v(self) -> float:
        """Height of the chin, closed mouth or nearly so."""
        return float(self.points[8, 1])


@dataclass(frozen=True)
class HeadOutline:
    """The head's geometry in one frame.

    Args:
        oval: [N, 2] float32 px, closed outline of the face.
        jaw: [M, 2] float32 px, from angle to angle, image left to right.
        to_head: [2, 3] float64, affine from px to the head's frame.
    """

    oval: FloatArray
    jaw: FloatArray
    to_head: NDArray[np.float64]

    def scaled(self, factor: float) -> HeadOutline:
        """The same geometry in an image resized by ``factor``."""
        to_head = self.to_head.copy()
        to_head[:, :2] /= factor
        return HeadOutline(self.oval * np.float32(factor), self.jaw * np.float32(factor), to_head)


def _eye_frame(points: FloatArray) -> FloatArray:
    """``points`` [68, 2] moved to the eyes' midpoint, upright, eyes one unit apart."""
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    ex = left - right
    ey = np.array([-ex[1], ex[0]], np.float32)
    return np.asarray((points - (right + left) / 2) @ np.stack([ex, ey], 1) / (ex @ ex))


def head_shape(landmarks: FloatArray, with_mesh: bool) -> HeadShape:
    """Average shape of ``landmarks`` [T, 68, 2], by the median over frames; no jaw offsets yet."""
    points = np.median([_eye_frame(p) for p in landmarks], axis=0).astype(np.float32)
    n_jaw = len(JAW_IN_OVAL if with_mesh else JAW_IN_68)
    return HeadShape(points, np.zeros(n_jaw, np.float32))


def similarity(source: FloatArray, target: FloatArray) -> NDArray[np.float64]:
    """Least-squares similarity [2, 3] that maps ``source`` [N, 2] to ``target`` [N, 2]."""
    s, t = source.astype(np.float64), target.astype(np.float64)
    ms, mt = s.mean(0), t.mean(0)
    zs, zt = (s - ms) @ (1, 1j), (t - mt) @ (1, 1j)
    ratio = (zs.conj() @ zt) / (zs.conj() @ zs)
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.hstack([linear, (mt - linear @ ms)[:, None]])


def head_outline(landmarks: FloatArray, mesh: FloatArray | None, shape: HeadShape) -> HeadOutline:
    """Geometry of one frame from its ``landmarks`` [68, 2] and, if there, ``mesh`` [478, 3]."""
    to_head = similarity(landmarks[list(RIGID68)], shape.points[list(RIGID68)])
    oval = _oval_from_68(landmarks) if mesh is None else mesh[list(OVAL), :2].copy()
    at = list(JAW_IN_68 if mesh is None else JAW_IN_OVAL)
    tracked = HeadOutline(oval, oval[at], to_head)
    oval[at] += jaw_directions(tracked, shape) * shape.jaw_offsets[:, None]
    return HeadOutline(oval, oval[at], to_head)


def jaw_directions(outline: HeadOutline, shape: HeadShape) -> FloatArray:
    """Outwards from the mouth at each jaw point, px per unit of the head's frame: [M, 2]."""
    to_head = np.vstack([outline.to_head, (0, 0, 1)])
    to_image = np.linalg.inv(to_head)
    centre = to_image[:2] @ (0, 0.55 * shape.chin_v, 1)
    ray = outline.jaw - centre
    unit = np.sqrt(np.linalg.det(to_image[:2, :2]))
    return np.asarray(unit * ray / np.linalg.norm(ray, axis=1, keepdims=True), np.float32)


def _oval_from_68(landmarks: FloatArray) -> FloatArray:
    """Jaw line closed by half an ellipse over the brows, as high as a forehead is on average."""
    jaw = landmarks[:17]
    centre, half = (jaw[0] + jaw[16]) / 2, (jaw[16] - jaw[0]) / 2
    brow = landmarks[17:27].mean(0)
    up = (brow - centre) + 0.45 * (brow - landmarks[33])
    angles = np.linspace(0, np.pi, 13)[1:-1, None]
    arc = centre + half * np.cos(angles) + up * np.sin(angles)
    return np.concatenate([jaw, arc]).astype(np.float32)


def fill_polygon(points: FloatArray, size: int) -> FloatArray:
    """Coverage, float32 [size, size] in [0, 1], of the polygon ``points`` [N, 2] px."""
    mask = np.zeros((size, size), np.uint8)
    fixed = np.round((points - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, shift=8)
    return mask.astype(np.float32) / np.float32(255)


def below_jaw(outline: HeadOutline, size: int) -> FloatArray:
    """1 where a person's skin is neck and not face: under the jaw and, beside it, under the ears.

    Returns:
        float32 [size, size] in [0, 1].
    """
    across = outline.to_head[0, :2] / np.linalg.norm(outline.to_head[0, :2])
    down = np.array([-across[1], across[0]])
    far = 3.0 * size
    left, right = outline.jaw[0] - far * across, outline.jaw[-1] + far * across
    polygon = np.concatenate(
        [outline.jaw, [right], [right + far * down], [left + far * down], [left]]
    )
    return fill_polygon(polygon.astype(np.float32), size)


def head_coordinates(outline: HeadOutline, size: int) -> tuple[FloatArray, FloatArray]:
    """(u, v) of every pixel's centre, each float32 [size, size]."""
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    x, y = centres[None, :], centres[:, None]
    a = outline.to_head.astype(np.float32)
    return a[0, 0] * x + a[0, 1] * y + a[0, 2], a[1, 0] * x + a[1, 1] * y + a[1, 2]


def _index_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """From continuous pixels to OpenCV's, whose pixel centres are integers."""
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    return moved


def _image_to_canonical(outline: HeadOutline) -> NDArray[np.float64]:
    affine = outline.to_head * _CANONICAL_UNIT
    affine[:, 2] += _CANONICAL_EYES
    return _index_affine(affine)


def to_canonical(image: FloatArray, outline: HeadOutline) -> FloatArray:
    """``image`` resampled to the head's frame, [CANONICAL_SIZE, CANONICAL_SIZE, ...]."""
    return np.asarray(
        cv2.warpAffine(image, _image_to_canonical(outline), (CANONICAL_SIZE, CANONICAL_SIZE))
    )


def from_canonical(canonical: FloatArray, outline: HeadOutline, size: int) -> FloatArray:
    """A map of the head's frame laid into an image of ``size`` px."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(
            canonical,
            _image_to_canonical(outline),
            (size, size),
            flags=flags,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def move_with_head(
    image: FloatArray, source: HeadOutline, target: HeadOutline, size: int
) -> FloatArray:
    """``image`` of the frame ``source`` moved to where the head is in the frame ``target``."""
    full = [np.vstack([outline.to_head, (0, 0, 1)]) for outline in (source, target)]
    back = (np.linalg.inv(full[0]) @ full[1])[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(
            image, _index_affine(back), (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
    )
