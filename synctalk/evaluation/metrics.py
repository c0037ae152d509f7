"""Image metrics of the paper (section IV-B) on uint8 frames [H,W,3], fast on a CPU.

PSNR and SSIM have their usual definitions (Wang et al. 2004: 11x11 Gaussian window, sigma 1.5,
K1 = .01, K2 = .03, peak 255; window positions wholly inside the image). MS-SSIM is that of Wang et
al. 2003 with its five weights and 2x2 averaging between scales. A clip's figure is the mean of its
frames' figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float32]

PEAK = 255.0
PSNR_CAP_DB = 100.0
"""PSNR of equal images, so that a clip's mean stays finite."""
WINDOW = 11
SIGMA = 1.5
C1 = (0.01 * PEAK) ** 2
C2 = (0.03 * PEAK) ** 2
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_MIN_SIDE = (WINDOW - 1) * 2 ** (len(MS_WEIGHTS) - 1) + 1


def psnr(image: Image, reference: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio, dB, over all channels; at most ``PSNR_CAP_DB``.

    Args:
        image, reference: uint8 [H,W,3].
        mask: bool [H,W]; only these pixels count. None counts all.

    Raises:
        InputError: different shapes, or an empty mask.
    """
    check_pair(image, reference)
    error = cv2.absdiff(image, reference)
    if mask is not None:
        if not mask.any():
            raise InputError("The mask of a PSNR is empty.", reason="EMPTY_MASK")
        error = error[mask]
    mse = float(np.mean(np.square(error, dtype=np.float32), dtype=np.float64))
    return min(PSNR_CAP_DB, 10 * math.log10(PEAK**2 / mse)) if mse else PSNR_CAP_DB


def ssim(image: Image, reference: Image, mask: Mask | None = None) -> float:
    """Structural similarity in [-1,1], mean over channels and window positions.

    Args:
        image, reference: uint8 [H,W,3], both sides at least 11.
        mask: bool [H,W]; only windows centred on these pixels count. None counts all.

    Raises:
        InputError: different shapes, too small, or no window centred in the mask.
    """
    check_pair(image, reference)
    _check_side(image, WINDOW)
    values, _ = _ssim_maps(image.astype(np.float32), reference.astype(np.float32))
    if mask is None:
        return float(values.mean(dtype=np.float64))
    inside = _valid(mask)
    if not inside.any():
        raise InputError("No SSIM window is centred in the mask.", reason="EMPTY_MASK")
    return float(values[inside].mean(dtype=np.float64))


def ms_ssim(image: Image, reference: Image) -> float:
    """Multi-scale structural similarity in [0,1], five scales, mean over channels.

    Args:
        image, reference: uint8 [H,W,3], both sides at least ``MS_MIN_SIDE`` (161).

    Raises:
        InputError: different shapes, or too small for five scales.
    """
    return similarities(image, reference, None).ms_ssim


@dataclass(frozen=True)
class Similarities:
    """Three figures from one computation.

    Args:
        ssim: of the whole image.
        ssim_masked: of the windows centred in the mask; NaN where there is none.
        ms_ssim: of the whole image.
    """

    ssim: float
    ssim_masked: float
    ms_ssim: float


def similarities(image: Image, reference: Image, mask: Mask | None) -> Similarities:
    """``ssim`` with and without ``mask``, and ``ms_ssim``, in half the time of three calls."""
    check_pair(image, reference)
    _check_side(image, MS_MIN_SIDE)
    x, y = image.astype(np.float32), reference.astype(np.float32)
    values, contrast = _ssim_maps(x, y)
    inside = values if mask is None else values[_valid(mask)]
    return Similarities(
        ssim=float(_means(values).mean()),
        ssim_masked=float(inside.mean(dtype=np.float64)) if inside.size else math.nan,
        ms_ssim=_multiscale(x, y, contrast),
    )


def _multiscale(x: FloatArray, y: FloatArray, contrast: FloatArray) -> float:
    """MS-SSIM of float images whose contrast map at full size is known."""
    product = _channel_means(contrast) ** MS_WEIGHTS[0]
    for weight in MS_WEIGHTS[1:]:
        x, y = _halve(x), _halve(y)
        values, contrast = _ssim_maps(x, y)
        coarsest = weight == MS_WEIGHTS[-1]
        product *= _channel_means(values if coarsest else contrast) ** weight
    return float(product.mean())


def _channel_means(values: FloatArray) -> NDArray[np.float64]:
    """Mean of each channel, never negative: a power of it follows."""
    return np.maximum(_means(values), 0)


def _means(values: FloatArray) -> NDArray[np.float64]:
    """Mean of each of up to four channels, summed in double precision."""
    return np.array(cv2.mean(values)[: values.shape[2]])


def _ssim_maps(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """SSIM and its contrast-structure factor at every window position, [H-10,W-10,C]."""
    mu_x, mu_y = _blur(x), _blur(y)
    squares = x * x
    squares += y * y
    variance, covariance = _blur(squares), _blur(x * y)
    # in place: these images are larger than the caches
    means = mu_x * mu_y
    covariance -= means
    mu_x *= mu_x
    mu_y *= mu_y
    mu_x += mu_y
    variance -= mu_x
    for term, constant in ((covariance, C2), (means, C1)):
        term *= 2
        term += constant
    variance += C2
    mu_x += C1
    covariance /= variance
    means /= mu_x
    means *= covariance
    return means, covariance


def _blur(image: FloatArray) -> FloatArray:
    """Gaussian window means where the window lies wholly inside."""
    return _valid(cv2.GaussianBlur(image, (WINDOW, WINDOW), SIGMA))


def _valid(array: NDArray[np.generic]) -> NDArray:  # type: ignore[type-arg]
    edge = WINDOW // 2
    return array[edge:-edge, edge:-edge]


def _halve(image: FloatArray) -> FloatArray:
    """2x2 means; an odd side is first padded by a zero at both ends, as pytorch_msssim does."""
    top, left = image.shape[0] % 2, image.shape[1] % 2
    padded = cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_CONSTANT, value=0)
    height, width = padded.shape[0] // 2, padded.shape[1] // 2
    even = padded[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def check_pair(image: Image, reference: Image) -> None:
    """Raise InputError unless both are uint8 and of one shape."""
    if image.shape != reference.shape or image.dtype != np.uint8 or reference.dtype != np.uint8:
        raise InputError(
            f"Cannot compare {image.dtype}{list(image.shape)} with "
            f"{reference.dtype}{list(reference.shape)}: two uint8 images of one shape are needed.",
            reason="IMAGE_SHAPE",
        )


def _check_side(image: Image, least: int) -> None:
    if min(image.shape[:2]) < least:
        raise InputError(
            f"The image is {image.shape[1]}x{image.shape[0]}; both sides must be {least} or more.",
            reason="IMAGE_TOO_SMALL",
        )
