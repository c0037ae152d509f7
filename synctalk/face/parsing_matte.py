"""Image filters of the parser: guided filter, smooth fill, alpha against a known background."""

from __future__ import annotations

import cv2
import numpy as np

from synctalk.face.tracking import FloatArray


def smoothstep(x: FloatArray, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def guided_upsample(
    guide: FloatArray, image: FloatArray, full_guide: FloatArray, radius: int, eps: float
) -> FloatArray:
    """Upsample ``image`` [h, w] to ``full_guide`` [H, W] so that its edges follow the guide's.

    He, Sun: Fast Guided Filter, 2015. Guides are grey, in [0, 1]; ``guide`` is the small one.
    """

    def mean(x: FloatArray) -> FloatArray:
        return np.asarray(cv2.blur(x, (2 * radius + 1, 2 * radius + 1)))

    mean_g, mean_i = mean(guide), mean(image)
    covariance = mean(guide * image) - mean_g * mean_i
    variance = mean(guide * guide) - mean_g * mean_g
    a = covariance / (variance + np.float32(eps))
    b = mean_i - a * mean_g
    size = full_guide.shape[::-1]
    return np.asarray(cv2.resize(mean(a), size) * full_guide + cv2.resize(mean(b), size))


def fill_smoothly(image: FloatArray, weight: FloatArray) -> FloatArray:
    """Continue ``image`` [H, W, C] from where ``weight`` [H, W] is 1 into where it is 0.

    Pull-push over an image pyramid (Gortler et al., The Lumigraph, 1996): near the border of a
    hole its nearest pixels count, deep inside ever wider averages.
    """
    h, w = weight.shape
    if min(h, w) <= 2:
        total = float(weight.sum())
        mean = (image * weight[..., None]).sum((0, 1)) / max(total, 1e-6)
        return np.broadcast_to(mean, image.shape).astype(np.float32)
    half = ((w + 1) // 2, (h + 1) // 2)
    small_w = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image * weight[..., None], half, interpolation=cv2.INTER_AREA)
    small = small.reshape(half[1], half[0], -1) / np.maximum(small_w, 1e-6)[..., None]
    coarse = fill_smoothly(small.astype(np.float32), np.minimum(small_w * 4, 1))
    up = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_LINEAR).reshape(image.shape)
    return np.asarray(up + (image - up) * weight[..., None])


def alpha_from_background(
    frame: FloatArray, foreground: FloatArray, background: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Solve ``frame = alpha * foreground + (1 - alpha) * background`` per pixel.

    Args:
        frame, foreground, background: float32 [H, W, 3] in 0..255.

    Returns:
        alpha [H, W] in [0, 1] and its contrast [H, W]: the squared colour distance of foreground
        and background, in squared grey levels.
    """
    difference = foreground - background
    contrast = np.einsum("ijk,ijk->ij", difference, difference)
    projected = np.einsum("ijk,ijk->ij", frame - background, difference)
    return np.clip(projected / np.maximum(contrast, 1), 0, 1), contrast
