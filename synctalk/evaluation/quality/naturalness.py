"""NIQE and BRISQUE: how natural one image looks, from their authors' published parameters.

Both fit (asymmetric) generalised Gaussians to locally normalised luminance. NIQE (Mittal,
Soundararajan, Bovik 2013) measures the distance to natural images' parameters; BRISQUE (Mittal,
Moorthy, Bovik 2012) lets a support vector machine judge them. Lower is better.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from synctalk.errors import InputError
from synctalk.evaluation.quality import models as files
from synctalk.evaluation.quality.loading import unusable
from synctalk.evaluation.quality.models import QualityModels
from synctalk.evaluation.quality.spec import Absent

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

SHAPES = np.arange(0.2, 10.001, 0.001)
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
BLOCK = 96
TINY = 1e-12


def asymmetric_fit(values: Array) -> tuple[float, float, float]:
    """Shape and the left and right deviation of an asymmetric generalised Gaussian."""
    below, above = values[values < 0], values[values > 0]
    left = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    right = float(np.sqrt(np.mean(above**2))) if above.size else 0.0
    ratio = left / max(right, TINY)
    r = float(np.mean(np.abs(values))) ** 2 / max(float(np.mean(values**2)), TINY)
    r *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = SHAPES[np.argmin((RATIOS - r) ** 2)]
    return float(shape), left, right


def _spread(values: Array) -> tuple[float, float, float]:
    """Shape and the two scales of the distribution."""
    shape, left, right = asymmetric_fit(values)
    unit = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * unit, right * unit


def _normalised(luma: Array, blur: Callable[[Array], Array], constant: float) -> Array:
    mean = blur(luma)
    return (luma - mean) / (np.sqrt(np.abs(blur(luma * luma) - mean * mean)) + constant)


def _halved(luma: Array) -> Array:
    """Half the size by the antialiased cubic kernel (MATLAB's) that NIQE was fitted with."""
    x = np.abs((np.arange(8) - 3.5) / 2)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    taps = np.where(x <= 1, near, far)
    taps /= taps.sum()
    even = cv2.sepFilter2D(luma, -1, taps, taps, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(even[::2, ::2])


class Niqe:
    """Natural image quality evaluator.

    Args:
        parameters: ``niqe_pris_params.npz``: mean and covariance of natural images' features.

    Raises:
        MissingModelError: the file is something else.
    """

    LEAST_SIDE = 2 * BLOCK
    """Of an image: with fewer than four blocks there is no covariance to speak of."""

    def __init__(self, parameters: Path) -> None:
        """Read the parameters."""
        try:
            with np.load(parameters) as given:
                self._mean = given["mu_pris_param"].reshape(36)
                self._cov = given["cov_pris_param"].reshape(36, 36)
                self._window = given["gaussian_window"].reshape(7, 7)
        except (OSError, ValueError, KeyError) as error:
            raise unusable(parameters, error) from error

    @classmethod
    def load(cls, models: QualityModels) -> Niqe | Absent:
        """With the parameters found on this machine, or how to get them."""
        path = models.find(files.NIQE)
        return path if isinstance(path, Absent) else cls(path)

    def features(self, image: Image) -> Array:
        """[B,36] of the whole 96 px blocks of a uint8 RGB image [H,W,3].

        Raises:
            InputError: a side is shorter than ``LEAST_SIDE``.
        """
        _check(image, self.LEAST_SIDE)
        luma = np.round(image @ np.array([65.481, 128.553, 24.966]) / 255 + 16)
        rows, columns = (n // BLOCK for n in luma.shape)
        luma = np.ascontiguousarray(luma[: rows * BLOCK, : columns * BLOCK])
        scales = []
        for block in (BLOCK, BLOCK // 2):
            field = _normalised(luma, self._blur, 1.0)
            tiles = [
                field[y * block : (y + 1) * block, x * block : (x + 1) * block]
                for x in range(columns)
                for y in range(rows)
            ]
            scales.append(np.array([self._block(tile) for tile in tiles]))
            luma = _halved(luma)
        return np.concatenate(scales, axis=1)

    def score(self, features: Array) -> float:
        """Distance of the features [B,36] of one image, or of several, from natural ones."""
        away = features.mean(0) - self._mean
        cov = (np.cov(features, rowvar=False) + self._cov) / 2
        return float(np.sqrt(away @ np.linalg.pinv(cov) @ away))

    def _blur(self, luma: Array) -> Array:
        return np.asarray(cv2.filter2D(luma, -1, self._window, borderType=cv2.BORDER_REPLICATE))

    @staticmethod
    def _block(field: Array) -> list[float]:
        shape, left, right = _spread(field)
        found = [shape, (left + right) / 2]
        for shift in SHIFTS:
            shape, left, right = _spread(field * np.roll(field, shift, axis=(0, 1)))
            found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
        return found


class Brisque:
    """Blind image spatial quality evaluator, fitted on the LIVE database, as OpenCV computes it.

    Args:
        model: ``brisque_model_live.yml``, the support vector machine.
        limits: ``brisque_range_live.yml``, the range of every feature.

    Raises:
        MissingModelError: a file is something else.
    """

    LEAST_SIDE = 32

    def __init__(self, model: Path, limits: Path) -> None:
        """Read the model."""
        try:
            self._svm = cv2.ml.SVM.load(str(model))
            store = cv2.FileStorage(str(limits), cv2.FILE_STORAGE_READ)
            self._low, self._high = store.getNode("range").mat()
        except (cv2.error, TypeError, ValueError) as error:
            raise unusable(model, error) from error

    @classmethod
    def load(cls, models: QualityModels) -> Brisque | Absent:
        """With the model found on this machine, or how to get it."""
        model, limits = models.find(files.BRISQUE_MODEL), models.find(files.BRISQUE_RANGE)
        if isinstance(model, Absent):
            return model
        return limits if isinstance(limits, Absent) else cls(model, limits)

    def score(self, image: Image) -> float:
        """Of a uint8 RGB image [H,W,3]: 0 pristine to 100.

        Raises:
            InputError: a side is shorter than ``LEAST_SIDE``.
        """
        _check(image, self.LEAST_SIDE)
        features = np.array(self.features(image))
        scaled = -1 + 2 * (features - self._low) / (self._high - self._low)
        answer = self._svm.predict(scaled.astype(np.float32)[None])[1]
        return float(np.clip(answer[0, 0], 0, 100))

    def features(self, image: Image) -> list[float]:
        """The 36 numbers that are judged: 18 at each of two scales."""
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255.0
        height, width = luma.shape
        half = cv2.resize(luma, (width // 2, height // 2), interpolation=cv2.INTER_CUBIC)
        return [*self._scale(luma), *self._scale(half)]

    @staticmethod
    def _scale(luma: Array) -> list[float]:
        field = _normalised(luma, _gaussian, 1 / 255)
        shape, left, right = asymmetric_fit(field)
        found = [shape, (left**2 + right**2) / 2]
        for down, along in SHIFTS:
            move = np.array([[1, 0, along], [0, 1, down]], float)
            shifted = cv2.warpAffine(field, move, field.shape[::-1], flags=cv2.INTER_NEAREST)
            shape, left, right = asymmetric_fit(field * shifted)
            unit = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
            mean = (right - left) * unit * gamma(2 / shape) / gamma(1 / shape)
            found += [shape, mean, left**2, right**2]
        return found


def _gaussian(luma: Array) -> Array:
    """In two passes, as OpenCV does: the signs of rounding errors count in flat regions."""
    return np.asarray(cv2.GaussianBlur(luma, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE))


def _check(image: Image, least: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or min(image.shape[:2]) < least:
        raise InputError(
            f"Cannot judge {image.dtype}{list(image.shape)}: a uint8 RGB image is needed whose "
            f"sides are {least} or more.",
            reason="IMAGE_TOO_SMALL" if image.dtype == np.uint8 else "IMAGE_SHAPE",
        )
