"""Find faces in one image: BlazeFace (Bazarevsky et al. 2019) as single-shot detectors.

Two networks look at the letterboxed image: the short-range one (faces that fill much of it) and
the full-range one (small faces); their boxes are merged by non-maximum suppression.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.models import require_model
from synctalk.face.networks import Network
from synctalk.face.tracking import FloatArray, Image

MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
# (stride, anchors a cell) of each detector's feature maps
SHORT_RANGE_GRIDS = ((8, 2), (16, 6))
FULL_RANGE_GRIDS = ((4, 1),)


@dataclass(frozen=True)
class Detection:
    """One face.

    Args:
        box: [4] x0 y0 x1 y1, continuous px.
        keypoints: [6, 2] px: right eye, left eye, nose tip, mouth, right ear, left ear.
        score: in [0, 1].
    """

    box: FloatArray
    keypoints: FloatArray
    score: float

    @property
    def area(self) -> float:
        """Box area, px²."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


def make_anchors(size: int, grids: tuple[tuple[int, int], ...]) -> FloatArray:
    """[N, 2] anchor centres in [0, 1], row by row, ``count`` in each cell of each grid."""
    anchors = []
    for stride, count in grids:
        cells = size // stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        anchors.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), count, axis=0))
    return np.concatenate(anchors)


class _Detector:
    """One BlazeFace network with its anchors."""

    def __init__(self, model: str, grids: tuple[tuple[int, int], ...]) -> None:
        self._network = Network(require_model(model))
        self._size = self._network.input_shape[1]
        self._anchors = make_anchors(self._size, grids)

    def __call__(self, image: Image) -> tuple[FloatArray, FloatArray]:
        """[N, 8, 2] points (box corners, six keypoints) in px, and their [N] scores."""
        square, scale, pad = _letterbox(image, self._size)
        regressors, logits = self._network(square)
        score = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
        keep = score >= MIN_SCORE
        raw = regressors[0, keep].reshape(-1, 8, 2) / self._size
        points = raw + self._anchors[keep, None]
        half = raw[:, 1] / 2  # the second pair is width and height, not a position
        centre = points[:, 0].copy()
        points[:, 0], points[:, 1] = centre - half, centre + half
        pixels = (points * self._size - pad) / scale
        return pixels.astype(np.float32), score[keep].astype(np.float32)


def _letterbox(image: Image, size: int) -> tuple[FloatArray, float, FloatArray]:
    """[1, size, size, 3] in [-1, 1] with the whole image centred; scale and padding, px."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    margin = np.array([size - width * scale, size - height * scale])
    pad: FloatArray = (margin / 2).astype(np.float32)
    # +-0.5: cv2's integers are pixel centres, ours are pixel corners
    shift = scale * 0.5 + pad - 0.5
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    if scale < 0.5:
        image, matrix = _halve(image, matrix)
    square = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return (square[None] / np.float32(127.5) - 1).astype(np.float32), scale, pad


def _halve(image: Image, matrix: NDArray[np.float64]) -> tuple[Image, NDArray[np.float64]]:
    """Shrink by area averaging first where bilinear sampling would skip pixels."""
    factor = int(1 / matrix[0, 0])
    height, width = (n // factor for n in image.shape[:2])
    cropped = image[: height * factor, : width * factor]
    small = cv2.resize(cropped, (width, height), interpolation=cv2.INTER_AREA)
    out = matrix.copy()
    out[:, :2] *= factor
    out[:, 2] += matrix[0, 0] * (factor - 1) / 2
    return np.asarray(small, np.uint8), out


def _overlap(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Intersection over the smaller area, so that a box inside another counts as the same."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    own = np.prod(box[2:] - box[:2])
    return np.asarray(inter / np.maximum(np.minimum(areas, own), 1e-6), np.float32)


def merge_overlapping(points: FloatArray, scores: FloatArray) -> list[Detection]:
    """Non-maximum suppression that averages overlapping candidates by score (as BlazeFace does).

    Args:
        points: [N, 8, 2] box corners and keypoints, px.
        scores: [N].
    """
    found = []
    left = np.argsort(-scores)
    while left.size:
        boxes = points[left, :2].reshape(-1, 4)
        same = _overlap(boxes[0], boxes) > MAX_OVERLAP
        same[0] = True
        weight = scores[left[same]]
        mean = np.average(points[left[same]], axis=0, weights=weight).astype(np.float32)
        found.append(Detection(mean[:2].reshape(4), mean[2:], float(weight[0])))
        left = left[~same]
    return found


class FaceDetector:
    """All faces of an image, largest first.

    Raises:
        MissingModelError: a detector's file is not on this machine.
    """

    def __init__(self) -> None:
        """Load both detectors."""
        self._short = _Detector("face_detection_short_range.tflite", SHORT_RANGE_GRIDS)
        self._full = _Detector("face_detection_full_range_sparse.tflite", FULL_RANGE_GRIDS)

    def __call__(self, image: Image) -> list[Detection]:
        """Faces in a uint8 [H, W, 3] RGB image."""
        short_points, short_scores = self._short(image)
        full_points, full_scores = self._full(image)
        points = np.concatenate([short_points, full_points])
        scores = np.concatenate([short_scores, full_scores])
        found = merge_overlapping(points, scores)
        return sorted(found, key=lambda detection: -detection.area)
