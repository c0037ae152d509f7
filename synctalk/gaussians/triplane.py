"""The paper's own representation and deformation (S §III-D eq. 16–20; METHOD rows 8–9).

Three orthogonal feature grids, each in several resolutions, give every canonical Gaussian its
geometric feature f_mu. One set of MLP heads turns f_mu into the canonical attributes, another
turns f_mu with the masked lip and expression features into offsets of position, rotation and
scale. Kept as the reference and for ablation; ``basis.py`` is what avatars ship with by default.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, pad

from synctalk.face_sync import FacialMask, MaskedAttention
from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.scene import COLOR, MEAN, N_COLUMNS, OPACITY

Heads = Literal["all", "sh-opacity", "geometry"]

RESOLUTIONS = (64, 128)
CHANNELS = 16
HIDDEN = 64
N_DEFORMED = 10
"""Position, rotation and scale deform; opacity and colour stay canonical (eq. 19)."""


class Triplane(nn.Module):
    """f_mu of canonical positions: L resolutions × 3 planes × D channels, concatenated (eq. 17)."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.planes = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(3, CHANNELS, side, side)) for side in RESOLUTIONS
        )

    @property
    def dim(self) -> int:
        """Channels of f_mu."""
        return 3 * CHANNELS * len(RESOLUTIONS)

    def forward(self, means: Tensor) -> Tensor:
        """Features [N, dim] of positions [N,3] in scene units."""
        low, high = self.get_buffer("low"), self.get_buffer("high")
        unit = 2 * (means - low) / (high - low) - 1
        pairs = torch.stack([unit[:, [0, 1]], unit[:, [1, 2]], unit[:, [2, 0]]])[:, None]
        levels = [
            grid_sample(plane, pairs, align_corners=True, padding_mode="border")[:, :, 0]
            for plane in self.planes
        ]
        return torch.cat([level.permute(2, 0, 1).flatten(1) for level in levels], dim=1)


class TriplaneDeformation(nn.Module):
    """Canonical Gaussians from triplane features, deformed by masked attention and MLPs.

    Args:
        base: [N,14] packed parameters the heads start from.
        mask: facial masks of the N Gaussians.
        n_lip, n_expression, n_pose: numbers of coefficients.
        column_scale: [14] step sizes of the columns, as in ``BasisDeformation``.
        heads: the columns that the canonical heads decide (Table IV).
    """

    def __init__(
        self,
        base: Tensor,
        mask: FacialMask,
        n_lip: int,
        n_expression: int,
        n_pose: int,
        column_scale: Tensor,
        heads: Heads = "all",
    ) -> None:
        super().__init__()
        self.register_buffer("headed", headed_columns(heads))
        self.register_buffer("column_scale", column_scale)
        self.register_buffer("sizes", torch.tensor([n_lip, n_expression, n_pose]))
        self.register_buffer("m_lip", mask.lip)
        self.register_buffer("m_exp", mask.expression)
        self.base = nn.Parameter(base / column_scale)
        low, high = base[:, MEAN].amin(0) - 0.05, base[:, MEAN].amax(0) + 0.05
        self.triplane = Triplane(low, high)
        dim = self.triplane.dim
        self.canonical = _head(dim, N_COLUMNS)
        self.attention = MaskedAttention(dim, n_lip, n_expression)
        self.offsets = nn.Sequential(
            nn.Linear(dim + n_lip + n_expression + n_pose, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, N_DEFORMED),
        )
        _zero_last(self.offsets)

    def canonical_params(self) -> Tensor:
        """Canonical parameters [1,N,14] (eq. 18)."""
        f_mu = self.triplane(self._positions())
        params: Tensor = self._canonical(f_mu) * self.get_buffer("column_scale")
        return params[None]

    def forward(self, f: DrivingCoefficients) -> Tensor:
        """Deformed parameters [V,N,14] of V frames (eq. 19–20)."""
        f_mu = self.triplane(self._positions())
        canonical = self._canonical(f_mu)
        mask = FacialMask(self.get_buffer("m_lip"), self.get_buffer("m_exp"))
        frames = [
            canonical + self._offset(f_mu, mask, f.lip[i], f.expression[i], f.pose[i])
            for i in range(len(f))
        ]
        return torch.stack(frames) * self.get_buffer("column_scale")

    def _canonical(self, f_mu: Tensor) -> Tensor:
        params: Tensor = self.base + self.canonical(f_mu) * self.get_buffer("headed")
        return params

    def _offset(
        self, f_mu: Tensor, mask: FacialMask, lip: Tensor, expression: Tensor, pose: Tensor
    ) -> Tensor:
        f_lip, f_exp = self.attention(f_mu, lip, expression, mask)
        shared = pose.expand(f_mu.shape[0], -1)
        offset = self.offsets(torch.cat([f_mu, f_lip, f_exp, shared], dim=1))
        return pad(offset, (0, N_COLUMNS - N_DEFORMED))

    def _positions(self) -> Tensor:
        return (self.base * self.get_buffer("column_scale"))[:, MEAN].detach()


def headed_columns(heads: Heads) -> Tensor:
    """[14] 1 for the columns that the canonical heads decide, else 0."""
    colours = torch.zeros(N_COLUMNS)
    colours[COLOR], colours[OPACITY] = 1, 1
    return {"all": torch.ones(N_COLUMNS), "sh-opacity": colours, "geometry": 1 - colours}[heads]


def _head(dim: int, out: int) -> nn.Sequential:
    head = nn.Sequential(nn.Linear(dim, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, out))
    _zero_last(head)
    return head


def _zero_last(head: nn.Sequential) -> None:
    last = head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
