"""One view: rasterise, composite on the plate, compare with the frame, differentiate.

Views are independent, so on the CPU each runs in a thread of its own with a one-threaded
rasteriser: two views on two cores scale almost ideally, where two threads on one view do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.gaussians.scene import activate
from synctalk.render import RasterizeMeta, l1_dssim, rasterize


@dataclass(frozen=True)
class View:
    """One frame to compare with.

    Args:
        rgb: [h,w,3] uint8; plate: [h,w,3] uint8; matte: [h,w] uint8.
        viewmat: [4,4] head to camera, mm.
        K: [3,3] px of these images.
        weight: [h,w] weight of the image loss, or None for even.
    """

    rgb: Tensor
    plate: Tensor
    matte: Tensor
    viewmat: Tensor
    K: Tensor
    weight: Tensor | None = None


@dataclass(frozen=True)
class ViewGradient:
    """What one view says about its parameters.

    Args:
        loss: of the view.
        params: [N,14] gradient.
        image_plane: [N] norm of the gradient on the projected means, in halves of the image's
            sides, so that it is alike at every resolution (as gsplat's ``DefaultStrategy``).
    """

    loss: float
    params: Tensor
    image_plane: Tensor


@dataclass(frozen=True)
class ViewLoss:
    """Weights of the loss terms; see ``TrainConfig``."""

    lambda_dssim: float
    alpha_weight: float


class ViewPool:
    """Runs views side by side."""

    def __init__(self, unit_mm: float, loss: ViewLoss, device: torch.device, threads: int) -> None:
        self._unit_mm = unit_mm
        self._loss = loss
        self._device = device
        self._pool = ThreadPoolExecutor(threads, "view", torch.set_num_threads, (1,))

    def gradients(self, params: Tensor, views: Sequence[View]) -> list[ViewGradient]:
        """Gradients of ``params`` [V,N,14] (or [1,N,14] for all), a row a view, in order."""
        rows = params.detach().expand(len(views), -1, -1)
        return list(self._pool.map(self._one, rows, views))

    def images(self, params: Tensor, views: Sequence[View]) -> list[NDArray[np.uint8]]:
        """Composited frames [h,w,3] uint8 of ``params`` [V,N,14]."""
        return list(self._pool.map(self._image, params.detach(), views))

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _render(self, params: Tensor, view: View) -> tuple[Tensor, Tensor, RasterizeMeta]:
        splats = activate(params, self._unit_mm)
        height, width = view.matte.shape
        rgb, alpha, meta = rasterize(
            splats.means, splats.quats, splats.scales, splats.opacities, splats.colors,
            view.viewmat[None], view.K[None], width, height, num_threads=1,
        )  # fmt: skip
        plate = view.plate.to(rgb.dtype) / 255.0
        return rgb[0] + (1.0 - alpha[0]) * plate, alpha[0, ..., 0], meta

    def _image(self, params: Tensor, view: View) -> NDArray[np.uint8]:
        with torch.no_grad():
            image, _, _ = self._render(params, view)
        result: NDArray[np.uint8] = (image.clamp(0, 1) * 255.0).round().byte().cpu().numpy()
        return result

    def _one(self, params: Tensor, view: View) -> ViewGradient:
        leaf = params.clone().requires_grad_()
        image, alpha, meta = self._render(leaf, view)
        loss = l1_dssim(
            image[None], view.rgb[None],
            weight=None if view.weight is None else view.weight[None],
            lambda_dssim=self._loss.lambda_dssim, num_threads=1,
        )  # fmt: skip
        matte = view.matte.to(alpha.dtype) / 255.0
        loss = loss + self._loss.alpha_weight * (alpha - matte).abs().mean()
        torch.autograd.backward(loss)
        assert leaf.grad is not None
        height, width = view.matte.shape
        half = torch.tensor([width / 2, height / 2], device=leaf.device)
        return ViewGradient(
            float(loss.detach()), leaf.grad, (meta.means2d_grad[0] * half).norm(dim=1)
        )
