"""Facial-Aware Masked-Attention (S, section III-B; METHOD row 3).

The paper splits the face at the nose tip: below it only the lip feature may act, above it only the
expression feature. Each Gaussian weighs the channels of both features by an attention vector V
computed from its own geometric feature, and V is multiplied by the mask of its half.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FacialMask:
    """How far the two features may act on each Gaussian.

    Args:
        lip: [N] in [0, 1], 1 in the lower face.
        expression: [N] in [0, 1], 1 in the upper face; ``lip + expression == 1``.
    """

    lip: Tensor
    expression: Tensor


def facial_mask(means: Tensor, nose_tip_y: float, band_mm: float) -> FacialMask:
    """Split canonical Gaussians at the nose tip, with a smooth step across a band.

    Args:
        means: [N, 3] canonical positions in the head frame, mm, y up.
        nose_tip_y: height of the nose tip in the head frame, mm.
        band_mm: height of the seam, centred on the nose tip; 0 is a hard split.

    Returns:
        Masks that are exactly 0 and 1 outside the band.
    """
    height = means[:, 1] - nose_tip_y
    if band_mm <= 0:
        lip = (height < 0).to(means.dtype)
    else:
        across = (0.5 - height / band_mm).clamp(0.0, 1.0)
        lip = across * across * (3.0 - 2.0 * across)
    return FacialMask(lip, 1.0 - lip)


class MaskedAttention(nn.Module):
    """f_lip = f_l * V_lip * M_lip and f_exp = f_e * V_exp * M_exp, per Gaussian (S, eq. 6)."""

    def __init__(self, dim_geo: int, dim_lip: int, dim_exp: int, width: int = 32) -> None:
        """Make an untrained attention.

        Args:
            dim_geo: channels of a Gaussian's geometric feature f_mu.
            dim_lip: channels of the frame's lip feature f_l.
            dim_exp: channels of the frame's expression feature f_e.
            width: hidden channels of the attention network.
        """
        super().__init__()
        self.dim_lip = dim_lip
        self.net = nn.Sequential(
            nn.Linear(dim_geo, width), nn.ReLU(), nn.Linear(width, dim_lip + dim_exp)
        )

    def attend(self, geometry: Tensor, mask: FacialMask) -> tuple[Tensor, Tensor]:
        """Masked attention, constant over time: bake it once after training.

        Args:
            geometry: [N, dim_geo] geometric features f_mu.
            mask: facial mask of the same N Gaussians.

        Returns:
            V_lip * M_lip [N, dim_lip] and V_exp * M_exp [N, dim_exp], each in [0, 1].
        """
        weights = torch.sigmoid(self.net(geometry))
        lip, expression = weights[:, : self.dim_lip], weights[:, self.dim_lip :]
        return lip * mask.lip[:, None], expression * mask.expression[:, None]

    def forward(
        self, geometry: Tensor, lip: Tensor, expression: Tensor, mask: FacialMask
    ) -> tuple[Tensor, Tensor]:
        """Features that act on each Gaussian in one frame.

        Args:
            geometry: [N, dim_geo] geometric features f_mu.
            lip: [dim_lip] the frame's lip feature f_l.
            expression: [dim_exp] the frame's expression feature f_e.
            mask: facial mask of the same N Gaussians.

        Returns:
            f_lip [N, dim_lip] and f_exp [N, dim_exp].
        """
        attention_lip, attention_exp = self.attend(geometry, mask)
        return attention_lip * lip, attention_exp * expression
