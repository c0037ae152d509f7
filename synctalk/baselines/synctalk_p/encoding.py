"""Three 2D multiresolution hash encoders (P, eq. 10 and 11; Müller et al. 2022, section 3).

Each plane of the head's box carries L grids of growing resolution with one feature a vertex
(P: L = 14, F = 1). Grids with more vertices than a table has entries share them by a spatial hash.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLANES = ((0, 1), (1, 2), (0, 2))
"""Axes of the XY, YZ and XZ planes."""
PRIME = 2_654_435_761
"""Müller et al.'s factor of the second axis; the first has 1."""


class TriplaneHash(nn.Module):
    """Positions in the unit cube to features.

    Args:
        levels: L, grids of each plane.
        coarsest, finest: cells along a side of the first and the last grid; between them the
            resolution grows by a constant factor.
        log2_table: each grid has at most 2**log2_table features.
    """

    def __init__(self, levels: int, coarsest: int, finest: int, log2_table: int) -> None:
        super().__init__()
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        cells = [round(coarsest * growth**level) for level in range(levels)]
        self.size = 2**log2_table
        self.n_dense = sum((n + 1) ** 2 <= self.size for n in cells)
        factors = [n + 1 for n in cells[: self.n_dense]] + [PRIME] * (levels - self.n_dense)
        self.register_buffer("cells", torch.tensor(cells, dtype=torch.float32))
        self.register_buffer("factors", torch.tensor(factors))
        tables = torch.arange(len(PLANES) * levels).view(len(PLANES), levels) * self.size
        self.register_buffer("first", tables)
        self.tables = nn.Parameter(torch.empty(tables.numel() * self.size))
        nn.init.uniform_(self.tables, -1e-4, 1e-4)

    @property
    def dim(self) -> int:
        """Features of a position."""
        return len(PLANES) * len(self.get_buffer("cells"))

    def forward(self, positions: Tensor) -> Tensor:
        """Features [S, dim] of positions [S,3] in [0,1]; differentiable by the tables alone."""
        with torch.no_grad():
            index, weight = self.corners(positions)
        features: Tensor = _Interpolate.apply(  # type: ignore[no-untyped-call]
            self.tables, index, weight
        )
        return features

    def corners(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The four table entries around each position in each grid, and their weights.

        Returns:
            int64 and float32 [S, 3L, 4]; planes outside, levels inside.
        """
        cells = self.get_buffer("cells")
        uv = positions.clamp(0, 1)[:, PLANES, None].transpose(2, 3) * cells[:, None]
        low = torch.minimum(uv.floor(), cells[:, None] - 1)  # [S,3,L,2]
        right, down = (uv - low).unbind(-1)
        left, up = 1 - right, 1 - down
        weight = torch.stack([left * up, right * up, left * down, right * down], -1)
        x, y = low.long().unbind(-1)
        row = y * self.get_buffer("factors")
        next_row = row + self.get_buffer("factors")
        pairs = ((x, row), (x + 1, row), (x, next_row), (x + 1, next_row))
        index = torch.stack([self._entry(a, b) for a, b in pairs], -1)
        index += self.get_buffer("first")[..., None]
        return index.flatten(1, 2), weight.flatten(1, 2)

    def _entry(self, x: Tensor, row: Tensor) -> Tensor:
        """Where in its table a vertex lies, [...,L]: row by row, or hashed in the fine grids."""
        n = self.n_dense
        hashed = (x[..., n:] ^ row[..., n:]) & (self.size - 1)
        return torch.cat([x[..., :n] + row[..., :n], hashed], -1)


class _Interpolate(torch.autograd.Function):
    """Weighted sums of table entries; the gradient goes only to the entries that were read."""

    @staticmethod
    def forward(ctx: Any, tables: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.entries = len(tables)
        return (tables[index] * weight).sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        index, weight = ctx.saved_tensors
        shares = (grads[0][..., None] * weight).flatten()
        return shares.new_zeros(ctx.entries).index_add_(0, index.flatten(), shares), None, None
