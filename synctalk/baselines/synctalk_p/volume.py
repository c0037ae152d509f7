"""Rays through the head's box and the volume rendering integral along them (P, eq. 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synctalk.baselines.synctalk_p.field import HeadField
from synctalk.baselines.synctalk_p.occupancy import OccupancyGrid


@dataclass(frozen=True)
class Rays:
    """R rays of one or many frames.

    Args:
        origins, directions: [R,3] head frame; mm, and unit vectors.
        lip, expression: [R,K] coefficients of each ray's frame.
    """

    origins: Tensor
    directions: Tensor
    lip: Tensor
    expression: Tensor


@dataclass(frozen=True)
class Rendered:
    """What R rays see.

    Args:
        rgb: [R,3] premultiplied; alpha: [R].
        cells: [S] occupancy cells of the samples; weights: [S] what each contributes.
    """

    rgb: Tensor
    alpha: Tensor
    cells: Tensor
    weights: Tensor


def camera_rays(pixels: Tensor, R: Tensor, t: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Origins and directions [P,3] in the head frame of pixels.

    Args:
        pixels: [P,2] continuous px: the first pixel's centre is (0.5, 0.5).
        R: [3,3] or [P,3,3], t: [3] or [P,3] mm: ``X_cam = R @ X_head + t``.
        K: [3,3] px.
    """
    focal, centre = K.diagonal()[:2], K[:2, 2]
    ahead = torch.cat([(pixels - centre) / focal, torch.ones_like(pixels[:, :1])], 1)
    ahead = torch.nn.functional.normalize(ahead, dim=1)
    back = R.transpose(-1, -2)
    directions = (back @ ahead[..., None])[..., 0]
    origins = -(back @ t[..., None])[..., 0]
    return origins.expand_as(directions), directions


def render_rays(
    field: HeadField,
    grid: OccupancyGrid,
    rays: Rays,
    step_mm: float,
    generator: torch.Generator | None = None,
) -> Rendered:
    """Integrate colour and density along rays, sampled every ``step_mm`` in occupied cells.

    Args:
        generator: shifts each ray's samples at random by up to a step; None samples mid-step.
    """
    near, far = _through(rays, *grid.bounds())
    n = max(1, int((far - near).max().clamp_min(0) / step_mm) + 1)
    shift = torch.full((len(near), 1), 0.5)
    if generator is not None:
        shift = torch.rand(len(near), 1, generator=generator)
    depth = near[:, None] + (torch.arange(n) + shift) * step_mm  # [R,n]
    positions = rays.origins[:, None] + depth[..., None] * rays.directions[:, None]
    cells = grid.cell(positions)
    mask = grid.get_buffer("occupied")[cells] & (depth < far[:, None])
    ray = mask.nonzero()[:, 0]
    density, rgb = field(positions[mask], rays.directions[ray], rays.lip[ray], rays.expression[ray])
    colour, alpha, weights = composite(mask, density * step_mm, rgb)
    return Rendered(colour, alpha, cells[mask], weights)


def composite(mask: Tensor, thickness: Tensor, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The quadrature of eq. 9 (Max 1995): constant density and colour within each step.

    Args:
        mask: bool [R,n], which of the n steps of each ray were sampled, nearest first.
        thickness: [S] density times step length of the samples, in the order of ``mask``.
        rgb: [S,3] their colours.

    Returns:
        premultiplied colour [R,3], alpha [R], and the samples' weights [S].
    """
    steps = thickness.new_zeros(mask.shape).masked_scatter(mask, thickness)
    before = steps.cumsum(1) - steps
    weights = torch.exp(-before) * -torch.expm1(-steps)
    colours = rgb.new_zeros(*mask.shape, 3).masked_scatter(mask[..., None], rgb)
    return (weights[..., None] * colours).sum(1), weights.sum(1), weights[mask]


def _through(rays: Rays, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Where each ray enters and leaves a box, mm [R]; it misses where it leaves first."""
    inverse = 1.0 / torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
    one, other = (low - rays.origins) * inverse, (high - rays.origins) * inverse
    return torch.minimum(one, other).amax(1), torch.maximum(one, other).amin(1)
