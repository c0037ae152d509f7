"""NIQE and BRISQUE, from their papers and their authors' published parameters.

Both fit (asymmetric) generalised Gaussians to locally normalised luminance. NIQE (Mittal,
Soundararajan, Bovik 2013) measures the distance to natural images' parameters; BRISQUE (Mittal,
Moorthy, Bovik 2012) lets a support vector machine judge them. Lower is better.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

SHAPES = np.arange(0.2, 10.001, 0.001)
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
BLOCK = 96


def asymmetric_fit(values: Array) -> tuple[float, float, float]:
    """Shape and the left and right deviation of an asymmetric generalised Gaussian."""
    left = np.sqrt(np.mean(values[values < 0] ** 2)) if (values < 0).any() else 0.0
    right = np.sqrt(np.mean(values[values > 0] ** 2)) if (values > 0).any() else 0.0
    ratio = left / max(right, 1e-12)
    r = np.mean(np.abs(values)) ** 2 / max(np.mean(values**2), 1e-12)
    r *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = SHAPES[np.argmin((RATIOS - r) ** 2)]
    return float(shape), float(left), float(right)


def normalised(luma: Array, window: Array, constant: float) -> Array:
    mean = cv2.filter2D(luma, -1, window, borderType=cv2.BORDER_REPLICATE)
    square = cv2.filter2D(luma * luma, -1, window, borderType=cv2.BORDER_REPLICATE)
    return (luma - mean) / (np.sqrt(np.abs(square - mean * mean)) + constant)


def halved(luma: Array) -> Array:
    """Half the size by the antialiased cubic kernel that NIQE was fitted with."""
    x = np.abs((np.arange(8) - 3.5) / 2)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    taps = np.where(x <= 1, near, far)
    taps /= taps.sum()
    even = cv2.sepFilter2D(luma, -1, taps, taps, anchor=(3, 3), borderType=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(even[::2, ::2])


class Niqe:
    """Natural image quality evaluator; parameters of ``niqe_pris_params.npz``."""

    def __init__(self, folder: Path) -> None:
        given = np.load(folder / "niqe_pris_params.npz")
        self.mean, self.cov = given["mu_pris_param"], given["cov_pris_param"]
        self.window = given["gaussian_window"]

    def features(self, image: Image) -> Array:
        """Of each 96 px block of an RGB image [H,W,3]: [B,36]."""
        luma = np.round(image @ np.array([65.481, 128.553, 24.966]) / 255 + 16)
        rows, columns = (n // BLOCK for n in luma.shape)
        luma = np.ascontiguousarray(luma[: rows * BLOCK, : columns * BLOCK])
        scales = []
        for block in (BLOCK, BLOCK // 2):
            field = normalised(luma, self.window, 1.0)
            tiles = [
                field[y * block : (y + 1) * block, x * block : (x + 1) * block]
                for x in range(columns)
                for y in range(rows)
            ]
            scales.append(np.array([self._block(tile) for tile in tiles]))
            luma = halved(luma)
        return np.concatenate(scales, axis=1)

    def _block(self, field: Array) -> list[float]:
        shape, left, right = self._spread(field)
        found = [shape, (left + right) / 2]
        for shift in SHIFTS:
            shape, left, right = self._spread(field * np.roll(field, shift, axis=(0, 1)))
            found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
        return found

    @staticmethod
    def _spread(values: Array) -> tuple[float, float, float]:
        shape, left, right = asymmetric_fit(values)
        unit = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        return shape, left * unit, right * unit

    def score(self, features: Array) -> float:
        """Distance of the features [B,36] of one image, or of several, from natural ones."""
        away = features.mean(0) - self.mean[0]
        cov = (np.cov(features, rowvar=False) + self.cov) / 2
        return float(np.sqrt(away @ np.linalg.pinv(cov) @ away))


class Brisque:
    """Blind image spatial quality evaluator; the model fitted on the LIVE database."""

    def __init__(self, folder: Path) -> None:
        self.svm = cv2.ml.SVM_load(str(folder / "brisque_model_live.yml"))
        store = cv2.FileStorage(str(folder / "brisque_range_live.yml"), cv2.FILE_STORAGE_READ)
        self.low, self.high = store.getNode("range").mat()
        side = cv2.getGaussianKernel(7, 7 / 6)
        self.window = side @ side.T

    def score(self, image: Image) -> float:
        """Of an RGB image [H,W,3]: 0 pristine to 100."""
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) / 255.0
        found = self._features(luma)
        found += self._features(
            cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
        )
        scaled = -1 + 2 * (np.array(found) - self.low) / (self.high - self.low)
        answer = self.svm.predict(scaled.astype(np.float32)[None])[1]
        return float(np.clip(answer[0, 0], 0, 100))

    def _features(self, luma: Array) -> list[float]:
        field = normalised(luma, self.window, 1 / 255)
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
