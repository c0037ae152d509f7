"""NIQE and BRISQUE against other implementations, and on pictures whose order is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.special import gamma
from torch.nn import functional as F

from synctalk.errors import InputError, MissingModelError
from synctalk.evaluation.quality import Absent, QualityModels
from synctalk.evaluation.quality.naturalness import Brisque, Niqe
from synctalk.media import VideoReader

from .seeded import Image, noisy, picture

SAMPLE = Path(__file__).parents[4] / "samples" / "portrait.mp4"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "weights" / "quality"


@pytest.fixture(scope="module")
def niqe(folder: Path) -> Niqe:
    found = Niqe.load(QualityModels(folder))
    assert isinstance(found, Niqe)
    return found


@pytest.fixture(scope="module")
def brisque(folder: Path) -> Brisque:
    found = Brisque.load(QualityModels(folder))
    assert isinstance(found, Brisque)
    return found


@pytest.fixture(scope="module")
def portrait() -> Image:
    with VideoReader(SAMPLE) as reader:
        return np.ascontiguousarray(next(iter(reader.iter_rgb())))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (picture(240, 320, 3), 63.454),
        (noisy(picture(240, 320, 3), 20), 49.958),
        (picture(203, 177, 5), 49.724),
    ],
)
def test_brisque_agrees_with_opencv_contrib(
    brisque: Brisque, image: Image, expected: float
) -> None:
    """The numbers are those of cv2.quality.QualityBRISQUE 4.13 with the same model."""
    assert brisque.score(image) == pytest.approx(expected, abs=0.01)


def fit(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """An asymmetric generalised Gaussian by a search over its shape."""
    shapes = np.linspace(0.2, 10, 9801)
    ratios = gamma(2 / shapes) ** 2 / gamma(1 / shapes) / gamma(3 / shapes)
    left = np.sqrt((values[values < 0] ** 2).mean())
    right = np.sqrt((values[values > 0] ** 2).mean())
    g = left / right
    wanted = np.abs(values).mean() ** 2 / (values**2).mean()
    wanted *= (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    shape = shapes[np.abs(ratios - wanted).argmin()]
    unit = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * unit, right * unit


def block_features(block: NDArray[np.float64]) -> list[float]:
    shape, left, right = fit(block.ravel())
    found = [shape, (left + right) / 2]
    for down, along in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shifted = np.roll(np.roll(block, down, 0), along, 1)
        shape, left, right = fit((block * shifted).ravel())
        found += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return found


def second_niqe(image: Image, folder: Path) -> float:
    """As published, with scipy's convolution and torch's antialiased cubic reduction."""
    with np.load(folder / "niqe_pris_params.npz") as given:
        mean, cov, window = (
            given[k] for k in ("mu_pris_param", "cov_pris_param", "gaussian_window")
        )
    luma = np.round(16 + image / 255 @ [65.481, 128.553, 24.966])
    rows, columns = luma.shape[0] // 96, luma.shape[1] // 96
    luma = luma[: 96 * rows, : 96 * columns]
    parts = []
    for side in (96, 48):
        mu = convolve(luma, window, mode="nearest")
        deviation = np.sqrt(np.abs(convolve(luma**2, window, mode="nearest") - mu**2))
        field = ((luma - mu) / (deviation + 1)).reshape(rows, side, columns, side)
        blocks = field.transpose(2, 0, 1, 3).reshape(-1, side, side)
        parts.append([block_features(block) for block in blocks])
        half = (luma.shape[0] // 2, luma.shape[1] // 2)
        luma = F.interpolate(
            torch.from_numpy(luma)[None, None], half, mode="bicubic", antialias=True
        )[0, 0].numpy()
    features = np.concatenate(parts, 1)
    away = features.mean(0) - mean[0]
    return float(np.sqrt(away @ np.linalg.pinv((np.cov(features.T) + cov) / 2) @ away))


@pytest.mark.parametrize(
    "image", [picture(300, 320, 3), noisy(picture(300, 320, 3), 20), picture(192, 480, 5)]
)
def test_niqe_agrees_with_a_second_implementation(niqe: Niqe, folder: Path, image: Image) -> None:
    score = niqe.score(niqe.features(image))
    assert score == pytest.approx(second_niqe(image, folder), rel=5e-3)


def test_blur_and_noise_make_a_portrait_less_natural(
    niqe: Niqe, brisque: Brisque, portrait: Image
) -> None:
    blurred = cv2.GaussianBlur(portrait, (0, 0), 2)
    more = cv2.GaussianBlur(portrait, (0, 0), 4)
    grainy = noisy(portrait, 15)
    natural, soft, softer, rough = (
        niqe.score(niqe.features(image)) for image in (portrait, blurred, more, grainy)
    )
    assert 3 < natural < 8
    assert natural + 1 < soft < softer
    assert natural + 1 < rough
    assert brisque.score(portrait) + 3 < brisque.score(grainy)
    assert brisque.score(portrait) + 20 < brisque.score(blurred)


def test_an_even_picture_is_judged_without_a_warning(niqe: Niqe, brisque: Brisque) -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    assert np.isfinite(brisque.score(grey))
    assert np.isfinite(niqe.score(niqe.features(grey)))


@pytest.mark.parametrize("image", [picture(191, 300), picture(300, 300).astype(np.float32)])
def test_what_cannot_be_judged_is_refused(niqe: Niqe, image: Image) -> None:
    with pytest.raises(InputError, match="192"):
        niqe.features(image)


def test_parameters_that_are_not_here_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("SYNCTALK_MODELS", raising=False)
    for load in (Niqe.load, Brisque.load):
        found = load(QualityModels(tmp_path))
        assert isinstance(found, Absent)
        assert found.reason == "WEIGHTS_ABSENT"
    (tmp_path / "niqe_pris_params.npz").write_bytes(b"nothing")
    with pytest.raises(MissingModelError):
        Niqe.load(QualityModels(tmp_path))
