"""Stage 1 of training: the head without expression, and how fast each of its columns moves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from synctalk.gaussians.basis import DrivingCoefficients
from synctalk.gaussians.scene import COLOR, LOG_SCALE, MEAN, N_COLUMNS, OPACITY, QUAT


def column_scale() -> Tensor:
    """Step size of each packed column relative to the colours' (METHOD: recipe's rates)."""
    scale = torch.ones(N_COLUMNS)
    scale[MEAN], scale[QUAT], scale[LOG_SCALE], scale[OPACITY], scale[COLOR] = 0.3, 0.4, 1, 6, 1
    return scale


class CanonicalHead(nn.Module):
    """Stage 1: the same head in every frame."""

    def __init__(self, base: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("column_scale", scale)
        self.base = nn.Parameter(base / scale)

    def canonical_params(self) -> Tensor:
        """Packed parameters [1,N,14]."""
        return (self.base * self.get_buffer("column_scale"))[None]

    def forward(self, f: DrivingCoefficients) -> Tensor:
        """Packed parameters [1,N,14], whatever the coefficients."""
        return self.canonical_params()
