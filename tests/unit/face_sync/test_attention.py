"""Masked attention: each half of the face is out of the other's reach, exactly."""

from __future__ import annotations

import torch

from synctalk.face_sync import MaskedAttention, facial_mask

NOSE_TIP = -31.0
HEIGHTS = torch.tensor([40.0, -26.0, -28.5, -31.0, -33.5, -36.0, -70.0])


def means() -> torch.Tensor:
    return torch.stack([torch.zeros(7), HEIGHTS, torch.ones(7)], dim=1)


def test_masks_are_exact_outside_the_band_and_smooth_inside():
    mask = facial_mask(means(), NOSE_TIP, band_mm=10.0)
    assert mask.lip.tolist() == [0.0, 0.0, 0.15625, 0.5, 0.84375, 1.0, 1.0]
    assert torch.equal(mask.lip + mask.expression, torch.ones(7))


def test_a_band_of_zero_is_a_hard_split():
    assert facial_mask(means(), NOSE_TIP, 0.0).lip.tolist() == [0, 0, 0, 0, 1, 1, 1]


def attention() -> tuple[MaskedAttention, torch.Tensor]:
    torch.manual_seed(3)
    return MaskedAttention(8, 5, 4), torch.randn(7, 8)


def test_lips_have_no_influence_above_the_band_and_expressions_none_below():
    module, geometry = attention()
    mask = facial_mask(means(), NOSE_TIP, band_mm=10.0)
    f_lip, f_exp = module(geometry, torch.randn(5), torch.randn(4), mask)
    assert f_lip.shape == (7, 5)
    assert f_exp.shape == (7, 4)
    assert not f_lip[:2].any()
    assert not f_exp[5:].any()
    assert bool(f_lip[2:].all())
    assert bool(f_exp[:5].all())


def test_no_gradient_crosses_the_seam():
    module, geometry = attention()
    mask = facial_mask(means(), NOSE_TIP, band_mm=10.0)
    lip = torch.randn(5, requires_grad=True)
    f_lip, _ = module(geometry, lip, torch.randn(4), mask)
    f_lip[:2].sum().backward()
    assert not lip.grad.any()


def test_features_are_the_paper_s_products():
    module, geometry = attention()
    mask = facial_mask(means(), NOSE_TIP, band_mm=10.0)
    lip, expression = torch.randn(5), torch.randn(4)
    v_lip, v_exp = module.attend(geometry, mask)
    assert bool(((v_lip >= 0) & (v_lip <= 1)).all())
    f_lip, f_exp = module(geometry, lip, expression, mask)
    torch.testing.assert_close(f_lip, v_lip * lip)
    torch.testing.assert_close(f_exp, v_exp * expression)
