"""What a view says about its parameters."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from synctalk.gaussians.scene import pack
from synctalk.training.views import View, ViewLoss, ViewPool

N = 60


def splats() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    means = torch.rand(N, 3, generator=g) - 0.5
    return pack(means, torch.full((N, 3), 0.06), torch.rand(N, 3, generator=g), 0.8)


def view(side: int) -> View:
    """The same picture and camera at any resolution."""
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC)
    viewmat = torch.eye(4)
    viewmat[2, 3] = 3.0
    K = torch.tensor([[2.0 * side, 0, side / 2], [0, 2.0 * side, side / 2], [0, 0, 1]])
    matte = torch.full((side, side), 255, dtype=torch.uint8)
    plate = torch.zeros(side, side, 3, dtype=torch.uint8)
    return View(torch.from_numpy(picture), plate, matte, viewmat, K)


def test_the_gradient_on_the_image_plane_is_alike_at_every_resolution() -> None:
    """One threshold tells who multiplies, at half resolution too."""
    pool = ViewPool(1.0, ViewLoss(0.0, 0.0), torch.device("cpu"), 1)
    try:
        (coarse,) = pool.gradients(splats()[None], [view(64)])
        (fine,) = pool.gradients(splats()[None], [view(128)])
    finally:
        pool.close()
    assert coarse.image_plane.shape == (N,)
    assert float(coarse.image_plane.median()) > 0
    ratio = (fine.image_plane / coarse.image_plane).median()
    assert 0.8 < float(ratio) < 1.25
