from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as reference_ms_ssim
from pytorch_msssim import ssim as reference_ssim
from skimage.metrics import peak_signal_noise_ratio

from synctalk.errors import InputError
from synctalk.evaluation.metrics import (
    PSNR_CAP_DB,
    Image,
    ms_ssim,
    psnr,
    similarities,
    ssim,
)


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Smooth colour noise: it has structure at every scale, as photographs do."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (4, 16, 64):
        grid = rng.normal(0, 40 / cells**0.3, (cells, cells, 3))
        image += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 128, 0, 255).astype(np.uint8)


def degraded(image: Image, noise: float, blur: float, seed: int = 1) -> Image:
    rng = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(image, (0, 0), blur).astype(float)
    return np.clip(soft + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].double()


SIZES = [(256, 256), (200, 320), (177, 203)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("noise", "blur"), [(3, 0.5), (25, 2.0)])
def test_metrics_agree_with_the_reference_implementations(
    height: int, width: int, noise: float, blur: float
) -> None:
    image = picture(height, width)
    other = degraded(image, noise, blur)
    x, y = tensor(other), tensor(image)

    assert psnr(other, image) == pytest.approx(peak_signal_noise_ratio(image, other), abs=1e-4)
    assert ssim(other, image) == pytest.approx(
        float(reference_ssim(x, y, data_range=255)), abs=2e-5
    )
    assert ms_ssim(other, image) == pytest.approx(
        float(reference_ms_ssim(x, y, data_range=255)), abs=2e-5
    )


def test_ms_ssim_of_structure_in_reverse_is_zero_not_nan() -> None:
    image = picture(192, 192)
    assert 0 <= ms_ssim(255 - image, image) < 0.05


def test_equal_images_reach_the_best_value() -> None:
    image = picture(192, 192)
    assert psnr(image, image) == PSNR_CAP_DB
    assert ssim(image, image) == pytest.approx(1, abs=1e-6)
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-6)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((32, 32, 3), np.uint8)
    assert psnr(black + np.uint8(1), black) == pytest.approx(20 * np.log10(255))
    assert psnr(black + np.uint8(255), black) == pytest.approx(0, abs=1e-9)


def test_a_mask_counts_only_its_own_pixels() -> None:
    image = picture(64, 64)
    spoilt = image.copy()
    spoilt[:, 32:] = 255 - spoilt[:, 32:]
    left = np.zeros((64, 64), bool)
    left[:, :32] = True

    assert psnr(spoilt, image, left) == PSNR_CAP_DB
    assert psnr(spoilt, image, ~left) == pytest.approx(
        peak_signal_noise_ratio(image[:, 32:], spoilt[:, 32:]), abs=1e-4
    )
    untouched = left.copy()
    untouched[:, 26:] = False  # windows reach five pixels beyond their centre
    assert ssim(spoilt, image, untouched) == pytest.approx(1, abs=1e-5)
    assert ssim(spoilt, image, ~left) < 0.2


def test_similarities_are_the_three_metrics_in_one() -> None:
    image = picture(192, 200)
    other = degraded(image, 9, 1.0)
    mask = np.zeros((192, 200), bool)
    mask[50:90, 60:120] = True
    found = similarities(other, image, mask)
    assert found.ssim == pytest.approx(ssim(other, image), abs=1e-12)
    assert found.ssim_masked == pytest.approx(ssim(other, image, mask), abs=1e-12)
    assert found.ms_ssim == pytest.approx(ms_ssim(other, image), abs=1e-12)
    assert np.isnan(similarities(other, image, np.zeros_like(mask)).ssim_masked)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda a, b: psnr(a, b[:, :8]), "IMAGE_SHAPE"),
        (lambda a, b: psnr(a.astype(np.float32), b), "IMAGE_SHAPE"),
        (lambda a, b: psnr(a, b, np.zeros((16, 16), bool)), "EMPTY_MASK"),
        (lambda a, b: ssim(a, b, np.zeros((16, 16), bool)), "EMPTY_MASK"),
        (lambda a, b: ssim(a[:8], b[:8]), "IMAGE_TOO_SMALL"),
        (lambda a, b: ms_ssim(a, b), "IMAGE_TOO_SMALL"),
    ],
)
def test_what_cannot_be_compared_is_refused(call: object, reason: str) -> None:
    image = picture(16, 16)
    with pytest.raises(InputError) as refused:
        call(image, image)  # type: ignore[operator]
    assert refused.value.reason == reason
