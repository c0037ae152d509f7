"""Baking a triplane deformation: its error is what it says, and it can be taken up again."""

from __future__ import annotations

import pytest
import torch

from synctalk.face_sync import facial_mask
from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.lowrank import LowRankDeformation, bake_low_rank
from synctalk.gaussians.restore import restore_deformation
from synctalk.gaussians.scene import MEAN, PIXELS_PER_UNIT, pack
from synctalk.gaussians.triplane import TriplaneDeformation

N_FRAMES = 150


@pytest.fixture(scope="module")
def driving() -> DrivingCoefficients:
    """Smooth coefficients, as speech and a moving head give them."""
    torch.manual_seed(1)
    time = torch.linspace(0, 12, N_FRAMES)[:, None]
    return DrivingCoefficients(
        *(torch.sin(time * torch.rand(1, k) * 3 + 6 * torch.rand(1, k)) for k in (6, 4, 3))
    )


@pytest.fixture(scope="module")
def triplane() -> TriplaneDeformation:
    """A deformation whose last layer was moved away from zero, as training does."""
    torch.manual_seed(0)
    means = torch.rand(400, 3) - 0.5
    base = pack(means, torch.full((400, 3), 0.05), torch.rand(400, 3), 0.8)
    mask = facial_mask(base[:, :3] * 50, 0.0, 12.0)
    model = TriplaneDeformation(base, mask, 6, 4, 3, torch.ones(14))
    last = model.offsets[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, std=0.05)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def baked(triplane: TriplaneDeformation, driving: DrivingCoefficients) -> LowRankDeformation:
    return bake_low_rank(triplane, driving).model


def rms_px(a: torch.Tensor, b: torch.Tensor) -> float:
    gap = (a - b)[..., MEAN].square().sum(-1).mean().sqrt()
    return float(gap) * PIXELS_PER_UNIT


def test_the_baked_deformation_moves_like_the_triplane(
    triplane: TriplaneDeformation, driving: DrivingCoefficients, baked: LowRankDeformation
) -> None:
    with torch.no_grad():
        moved = rms_px(triplane(driving), triplane.canonical_params())
        missed = rms_px(triplane(driving), baked(driving))
    assert missed < 0.05 * moved


def test_the_error_is_measured_on_frames_that_were_not_fitted(
    triplane: TriplaneDeformation, driving: DrivingCoefficients
) -> None:
    result = bake_low_rank(triplane, driving)
    test = torch.arange(N_FRAMES) % 5 == 4
    with torch.no_grad():
        wanted = rms_px(triplane(driving[test]), result.model(driving[test]))
    assert result.error_px == pytest.approx(wanted, rel=1e-3)


def test_one_direction_is_worse_than_many(
    triplane: TriplaneDeformation, driving: DrivingCoefficients
) -> None:
    few, many = (bake_low_rank(triplane, driving, rank=k).error_px for k in (1, 12))
    assert many < 0.5 * few


def test_a_baked_deformation_comes_back_from_its_tensors(
    driving: DrivingCoefficients, baked: LowRankDeformation
) -> None:
    again = restore_deformation(baked.state_dict())
    with torch.no_grad():
        assert torch.equal(again(driving), baked(driving))
