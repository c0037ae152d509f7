"""Compositing in YUV agrees with compositing in RGB and leaves the rest of the frame alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synctalk.media.planes import rgb_to_yuv
from synctalk.render.compositing import composite_rgb, composite_yuv

HEIGHT, WIDTH = 96, 128
CORNER = np.array([22, 14])


def smooth_splats() -> tuple[torch.Tensor, torch.Tensor]:
    """A soft, coloured disc [48,64], premultiplied, opaque in the middle and empty at the rim."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    alpha = (1.6 - 1.8 * (x**2 + y**2).sqrt()).clamp(0, 1)[..., None]
    colour = torch.stack([0.5 + 0.4 * x, 0.5 + 0.4 * y, 0.6 - 0.3 * x * y], dim=-1)
    return (colour * alpha).contiguous(), alpha.contiguous()


def smooth_frame() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    return np.stack([60 + x, 40 + 1.5 * y, 200 - x], axis=-1).astype(np.uint8)


def test_yuv_compositing_agrees_with_rgb_compositing() -> None:
    rgb, alpha = smooth_splats()
    frame = smooth_frame()
    picture = rgb_to_yuv(frame)
    composite_yuv(rgb, alpha, picture, CORNER)
    x, y = CORNER
    composite_rgb(rgb, alpha, frame[y : y + 48, x : x + 64])
    for ours, wanted in zip(picture, rgb_to_yuv(frame), strict=True):
        difference = np.abs(ours.astype(int) - wanted)
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.999) <= 2


def test_samples_outside_the_splats_do_not_change() -> None:
    rgb, alpha = smooth_splats()
    before = rgb_to_yuv(smooth_frame())
    after = rgb_to_yuv(smooth_frame())
    composite_yuv(rgb, alpha, after, CORNER)
    touched = np.zeros((HEIGHT, WIDTH), bool)
    touched[14 : 14 + 48, 22 : 22 + 64] = alpha[..., 0].numpy() > 0
    blocks = touched.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).any((1, 3))
    for new, old, mask in zip(after, before, (touched, blocks, blocks), strict=True):
        assert (new[~mask] == old[~mask]).all()
        assert (new[mask] != old[mask]).any()


@pytest.mark.parametrize("corner", [(23, 14), (80, 14), (22, -2)])
def test_a_window_that_is_odd_or_outside_is_refused(corner: tuple[int, int]) -> None:
    rgb, alpha = smooth_splats()
    with pytest.raises(ValueError, match=r"even|leaves"):
        composite_yuv(rgb, alpha, rgb_to_yuv(smooth_frame()), np.array(corner))
