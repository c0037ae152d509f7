"""What the pictures tell, on a few frames a second: sharpness, light, background."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.quality.geometry import FaceMotion
from synctalk.quality.report import Sample

Image = NDArray[np.uint8]
FloatArray = NDArray[np.float64]

SAMPLE_STEP = 5  # frames between samples: five a second
MAX_SAMPLES = 600
_EYE_DISTANCE_PX = 64.0  # sharpness is judged at this face size
_BACKGROUND_PX = 128
_PICTURE_PX = 240


@dataclass(frozen=True)
class FaceLook:
    """One sampled face.

    Args:
        sharpness: see :func:`sharpness_of`.
        brightness: mean, 0..1.
        burnt: share of pixels at the upper end of the scale.
        uneven: |left - right| / (left + right).
    """

    sharpness: float
    brightness: float
    burnt: float
    uneven: float


@dataclass(frozen=True)
class Looks:
    """All samples of a clip.

    Args:
        faces: one for each sampled frame with a face.
        background_levels: median over the samples of the background's mean change from one
            sample to the next, grey levels; None where no background is seen.
        samples: the frames asked for, scaled down.
    """

    faces: tuple[FaceLook, ...]
    background_levels: float | None
    samples: tuple[Sample, ...]


def look_at(
    frames: Iterable[Image],
    motion: FaceMotion,
    cuts: Sequence[int],
    wanted: dict[int, str],
) -> Looks:
    """Measure every fifth frame (fewer in long clips) and keep those in ``wanted``."""
    step = max(SAMPLE_STEP, len(motion.yaw_deg) // MAX_SAMPLES)
    faces: list[FaceLook] = []
    samples: list[Sample] = []
    background = _Background(cuts)
    for index, frame in enumerate(frames):
        if index in wanted:
            samples.append(_sample(frame, index, wanted[index]))
        if index % step or index >= len(motion.yaw_deg):
            continue
        eyes, distance = motion.centre_px[index], float(motion.eye_distance_px[index])
        if not np.isfinite(distance):
            continue
        face = _face_crop(frame, eyes, distance)
        if face is not None:
            faces.append(_look(face))
        background.add(index, frame, eyes, distance)
    return Looks(tuple(faces), background.levels(), tuple(samples))


def sharpness_of(grey: Image) -> float:
    """Variance of the Laplacian over 16 times the picture's own, in thousandths.

    Independent of contrast. Faces in focus have 8-25, under a blur of sigma 2 px (at 100 px
    between the eyes) 1-2.
    """
    values = grey.astype(np.float32)
    spread = float(values.var())
    edges = float(cv2.Laplacian(values, cv2.CV_32F).var())
    return 1000 * edges / (16 * spread) if spread > 1 else 0.0


def _look(face: Image) -> FaceLook:
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    middle = grey.shape[1] // 2
    left, right = float(grey[:, :middle].mean()), float(grey[:, middle:].mean())
    return FaceLook(
        sharpness=sharpness_of(np.asarray(grey, np.uint8)),
        brightness=float(grey.mean()) / 255,
        burnt=float((face.max(2) >= 250).mean()),
        uneven=abs(left - right) / max(left + right, 1.0),
    )


def _face_crop(frame: Image, eyes: FloatArray, distance: float) -> Image | None:
    """From brows to chin, cheek to cheek, scaled to the common face size."""
    height, width = frame.shape[:2]
    x0, x1 = (int(eyes[0] + k * distance) for k in (-0.85, 0.85))
    y0, y1 = (int(eyes[1] + k * distance) for k in (-0.4, 1.4))
    crop = frame[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    if min(crop.shape[:2]) < 8:
        return None
    scale = _EYE_DISTANCE_PX / distance
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(crop, None, fx=scale, fy=scale, interpolation=method), np.uint8)


class _Background:
    """Change of what lies beside the head and above the shoulders, within each shot."""

    def __init__(self, cuts: Sequence[int]) -> None:
        self._cuts = np.asarray(sorted(cuts), int)
        self._last: tuple[int, FloatArray, NDArray[np.bool_]] | None = None
        self._changes: list[float] = []

    def add(self, index: int, frame: Image, eyes: FloatArray, distance: float) -> None:
        small = cv2.resize(frame, (_BACKGROUND_PX, _BACKGROUND_PX), interpolation=cv2.INTER_AREA)
        levels = np.asarray(small, np.float64).mean(2)
        seen = self._region(frame.shape, eyes, distance)
        shot = int(np.searchsorted(self._cuts, index, "right"))
        if self._last and self._last[0] == shot:
            both = seen & self._last[2]
            if both.mean() > 0.04:
                self._changes.append(float(np.abs(levels - self._last[1])[both].mean()))
        self._last = (shot, levels, seen)

    def levels(self) -> float | None:
        return float(np.median(self._changes)) if self._changes else None

    def _region(
        self, shape: tuple[int, ...], eyes: FloatArray, distance: float
    ) -> NDArray[np.bool_]:
        height, width = shape[:2]
        y, x = np.mgrid[:_BACKGROUND_PX, :_BACKGROUND_PX] + 0.5
        dx = (x * width / _BACKGROUND_PX - eyes[0]) / distance
        dy = (y * height / _BACKGROUND_PX - eyes[1]) / distance
        head = (dx / 1.9) ** 2 + ((dy - 0.1) / 2.2) ** 2 < 1
        return np.asarray(~head & (dy < 1.2))


def _sample(frame: Image, index: int, label: str) -> Sample:
    scale = _PICTURE_PX / frame.shape[0]
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Sample(index, label, np.asarray(small, np.uint8), scale)
