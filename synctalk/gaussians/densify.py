"""Adaptive density control of the canonical stage (METHOD row 10).

Splats whose image-plane position keeps a large gradient are cloned (small) or split (large);
transparent ones are removed. Follows the usual strategy of 3D Gaussian splatting as documented by
gsplat's ``DefaultStrategy``, on our packed table and with a hard budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synctalk.gaussians.scene import LOG_SCALE, MEAN, OPACITY, QUAT


@dataclass(frozen=True)
class DensifyConfig:
    """When and how far the canonical splats may multiply.

    Args:
        grad_threshold: mean norm of the image-plane gradient (halves of the image's sides, loss
            averaged over pixels) above which a splat is densified.
        split_scale: splats larger than this (scene units) split, smaller ones are cloned.
        min_opacity: splats more transparent than this are pruned.
        max_growth: the table begins with so many times fewer splats than it may have in the end;
            1: it never grows.
    """

    grad_threshold: float = 2e-4
    split_scale: float = 0.05
    min_opacity: float = 0.02
    max_growth: float = 1.0


def densify(
    params: Tensor,  # [N, 14]
    grad2d: Tensor,  # [N] mean norm of the image-plane gradient
    budget: int,
    config: DensifyConfig,
    generator: torch.Generator,
) -> Tensor:
    """A new packed table of at most ``budget`` rows, ordered by ascending height."""
    keep = torch.sigmoid(params[:, OPACITY][:, 0]) >= config.min_opacity
    params, grad2d = params[keep], grad2d[keep]
    wanted = (grad2d > config.grad_threshold).nonzero()[:, 0]
    room = max(budget - params.shape[0], 0)
    wanted = wanted[grad2d[wanted].argsort(descending=True)][:room]
    large = params[wanted, LOG_SCALE].amax(dim=1).exp() > config.split_scale
    children = params[wanted].clone()
    offset = _sample_offsets(children, generator)
    children[:, MEAN] += torch.where(large[:, None], offset, 0.5 * offset)
    shrink = torch.where(large, 0.47, 0.0)[:, None]  # ln 1.6: the customary split factor
    children[:, LOG_SCALE] -= shrink
    params = params.clone()
    params[wanted, LOG_SCALE] -= shrink
    params = torch.cat([params, children])
    return params[params[:, 1].argsort(stable=True)].contiguous()


def _sample_offsets(params: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from each splat's own normal distribution, scene units [N,3]."""
    noise = torch.randn(params.shape[0], 3, generator=generator) * params[:, LOG_SCALE].exp()
    w, x, y, z = torch.nn.functional.normalize(params[:, QUAT], dim=1).unbind(1)
    axis = torch.stack([x, y, z], dim=1)
    cross = 2 * torch.linalg.cross(axis, noise)
    turned: Tensor = noise + w[:, None] * cross + torch.linalg.cross(axis, cross)
    return turned
