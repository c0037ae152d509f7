"""The canonical head: a packed table of 3D Gaussians (S §III-D, Preliminaries).

One row a Gaussian, 14 columns: mean (3), quaternion wxyz (4), log-scale (3), opacity logit (1),
RGB (3). Positions and scales are in *scene units*: one unit spans 100 px at the head's usual
distance, so that one learning rate fits every resolution and subject. The paper's view-dependent
colour is carried by the pose coefficients of the deformation, not by spherical harmonics: a
portrait's light is fixed in the room and turns *against* the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MEAN = slice(0, 3)
QUAT = slice(3, 7)
LOG_SCALE = slice(7, 10)
OPACITY = slice(10, 11)
COLOR = slice(11, 14)
N_COLUMNS = 14

LOG_SCALE_RANGE = (-9.0, 1.0)
OPACITY_LOGIT_RANGE = (-9.0, 9.0)
PIXELS_PER_UNIT = 100.0


@dataclass(frozen=True)
class Splats:
    """What a rasteriser takes: activated Gaussians in head coordinates.

    Args:
        means: [..., N, 3] mm.
        quats: [..., N, 4] wxyz, not normalised.
        scales: [..., N, 3] mm.
        opacities: [..., N] in (0,1).
        colors: [..., N, 3] RGB, about [0,1].
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor


def activate(params: Tensor, unit_mm: float) -> Splats:
    """Packed parameters [..., N, 14] to splats.

    Log-scales and opacity logits are clamped, so that no step of the optimiser can make a splat
    infinite.
    """
    log_scales = params[..., LOG_SCALE].clamp(*LOG_SCALE_RANGE)
    logits = params[..., OPACITY].clamp(*OPACITY_LOGIT_RANGE)
    return Splats(
        means=params[..., MEAN] * unit_mm,
        quats=params[..., QUAT],
        scales=torch.exp(log_scales) * unit_mm,
        opacities=torch.sigmoid(logits)[..., 0],
        colors=params[..., COLOR],
    )


def pack(
    means: Tensor,  # [N, 3] scene units
    scales: Tensor,  # [N, 3] scene units
    colors: Tensor,  # [N, 3] RGB
    opacity: float,
) -> Tensor:
    """A packed table [N,14] of unrotated Gaussians."""
    n = means.shape[0]
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1.0
    logit = torch.full((n, 1), opacity).logit()
    return torch.cat([means, quats, scales.log(), logit, colors], dim=1).contiguous()
