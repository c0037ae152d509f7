"""The radiance field F: (x, d, f_l, f_e; H³) -> (c, σ) (P, eq. 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synctalk.baselines.synctalk_p.encoding import TriplaneHash
from synctalk.face_sync import MaskedAttention, facial_mask

HIDDEN = 64
GEOMETRY = 15
"""Channels that density's network hands to colour's."""
SEAM_MM = 12.0
"""Height of the seam between lips' and expression's half of the face."""
EMPTY_LOGIT = -2.0
"""Space starts nearly empty, so that the first gradients reach all depths."""


class HeadField(nn.Module):
    """Colour and density at points of the head, given what lips, eyes and brows do.

    Args:
        encoding: of positions.
        low, high: [3] corners of the head's box, head frame, mm.
        nose_tip_y: height at which the face is split, mm.
        n_lip, n_expression: coefficients of f_l and f_e.
    """

    def __init__(
        self,
        encoding: TriplaneHash,
        low: Tensor,
        high: Tensor,
        nose_tip_y: float,
        n_lip: int,
        n_expression: int,
    ) -> None:
        super().__init__()
        self.encoding = encoding
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("nose_tip_y", torch.tensor(nose_tip_y))
        dim = encoding.dim
        self.attention = MaskedAttention(dim, n_lip, n_expression)
        self.density = nn.Sequential(
            nn.Linear(dim + n_lip + n_expression, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 1 + GEOMETRY),
        )
        self.colour = nn.Sequential(
            nn.Linear(GEOMETRY + len(_harmonics(torch.zeros(1, 3))[0]), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 3),
        )

    def forward(
        self, positions: Tensor, directions: Tensor, lip: Tensor, expression: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Density and colour of S points.

        Args:
            positions: [S,3] head frame, mm.
            directions: [S,3] unit vectors from the camera, head frame.
            lip, expression: [S,K] coefficients of each point's frame.

        Returns:
            density [S], 1/mm, and RGB [S,3] in (0,1).
        """
        low, high = self.get_buffer("low"), self.get_buffer("high")
        f_x = self.encoding((positions - low) / (high - low))
        mask = facial_mask(positions, float(self.get_buffer("nose_tip_y")), SEAM_MM)
        f_l, f_e = self.attention(f_x, lip, expression, mask)
        out = self.density(torch.cat([f_x, f_l, f_e], 1))
        density = nn.functional.softplus(out[:, 0] + EMPTY_LOGIT)
        seen = torch.cat([out[:, 1:], _harmonics(directions)], 1)
        return density, torch.sigmoid(self.colour(seen))


def _harmonics(d: Tensor) -> Tensor:
    """Real spherical harmonics of degrees 1 and 2 but for their constants, [S,8]."""
    x, y, z = d.unbind(1)
    return torch.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], 1)
