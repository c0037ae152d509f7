"""Image filters of the parser: guided upsampling, smooth fill, alpha against a background."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from synctalk.face.tracking import FloatArray


def smoothstep(x: FloatArray, low: float, high: float) -> FloatArray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def guided_upsample(
    guide: FloatArray, image: FloatArray, full_guide: FloatArray, radius: int, eps: float
) -> FloatArray:
    """Upsample ``image`` [h, w] to ``full_guide`` [H, W] so that its edges follow the guide's.

    He, Sun: Fast Guided Filter, 2015. Guides are grey, in [0, 1]; ``guide`` is the small one.
    """
    box = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_i = cv2.blur(guide, box), cv2.blur(image, box)
    covariance = cv2.blur(guide * image, box) - mean_g * mean_i
    variance = cv2.blur(guide * guide, box) - mean_g * mean_g
    a = covariance / (variance + np.float32(eps))
    b = mean_i - a * mean_g
    size = full_guide.shape[::-1]
    a, b = cv2.resize(cv2.blur(a, box), size), cv2.resize(cv2.blur(b, box), size)
    return np.asarray(a * full_guide + b)


def fill_smoothly(image: FloatArray, weight: FloatArray) -> FloatArray:
    """Continue ``image`` [H, W, C] from where ``weight`` [H, W] is 1 into where it is 0.

    Pull-push over an image pyramid (Gortler et al., The Lumigraph, 1996): near the border of a
    hole its nearest pixels count, deep inside ever wider averages.
    """
    if min(weight.shape) <= 2:
        mean = (image * weight[..., None]).sum((0, 1)) / max(float(weight.sum()), 1e-6)
        return np.asarray(np.broadcast_to(mean, image.shape), np.float32)
    up = fill_coarsely(image, weight)
    return np.asarray(up + (image - up) * _channels(weight, image.shape[2]))


def fill_coarsely(image: FloatArray, weight: FloatArray) -> FloatArray:
    """As :func:`fill_smoothly`, but smooth everywhere: at half resolution, three times faster."""
    h, w = weight.shape
    half = ((w + 1) // 2, (h + 1) // 2)
    small_w = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    channels = image.shape[2]
    small = cv2.resize(image * _channels(weight, channels), half, interpolation=cv2.INTER_AREA)
    small = small.reshape(half[1], half[0], channels)
    small *= _channels(1 / np.maximum(small_w, np.float32(1e-6)), channels)
    coarse = fill_smoothly(small, np.minimum(small_w * 4, 1))
    return np.asarray(cv2.resize(coarse, (w, h))).reshape(image.shape)


def _channels(plane: FloatArray, n: int) -> FloatArray:
    """``plane`` [H, W] as [H, W, n]: products are four times faster than broadcast ones."""
    return np.asarray(cv2.merge([plane] * n).reshape(*plane.shape, n))


def alpha_from_background(
    colours: Sequence[FloatArray],
    foreground: Sequence[FloatArray],
    background: Sequence[FloatArray],
) -> tuple[FloatArray, FloatArray]:
    """Solve ``colours = alpha * foreground + (1 - alpha) * background`` per pixel.

    Args:
        colours, foreground, background: float32 [N] in 0..255 of each channel.

    Returns:
        alpha [N] in [0, 1] and its contrast [N]: the squared colour distance of foreground and
        background, in squared grey levels.
    """
    contrast, projected = np.zeros((2, len(colours[0])), np.float32)
    for colour, front, back in zip(colours, foreground, background, strict=True):
        difference = front - back
        contrast += difference * difference
        projected += (colour - back) * difference
    return np.clip(projected / np.maximum(contrast, 1), 0, 1), contrast
