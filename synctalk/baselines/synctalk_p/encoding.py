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
PLANES_FIRST, PLANES_SECOND = zip(*PLANES, strict=True)
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
        # of a hash only the last bits count, so the factor's others can go before it overflows
        hashed = [PRIME % self.size] * (levels - self.n_dense)
        factors = [n + 1 for n in cells[: self.n_dense]] + hashed
        self.register_buffer("cells", torch.tensor(cells, dtype=torch.float32))
        self.register_buffer("factors", torch.tensor(factors, dtype=torch.int32))
        tables = torch.arange(len(PLANES) * levels, dtype=torch.int32) * self.size
        self.register_buffer("first", tables.view(len(PLANES), levels, 1))
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
            int32 and float32 [4, 3L, S]; planes outside, levels inside.
        """
        cells = self.get_buffer("cells")[:, None]
        along = positions.clamp(0, 1).T.contiguous()
        x, right = _split(along[PLANES_FIRST, None] * cells, cells)  # [3,L,S]
        y, down = _split(along[PLANES_SECOND, None] * cells, cells)
        factors = self.get_buffer("factors")[:, None]
        row = y * factors
        pairs = ((x, row), (x + 1, row), (x, row + factors), (x + 1, row + factors))
        index = torch.stack([self._entry(a, b) for a, b in pairs])
        left, up = 1 - right, 1 - down
        weight = torch.stack([left * up, right * up, left * down, right * down])
        return index.flatten(1, 2), weight.flatten(1, 2)

    def _entry(self, x: Tensor, row: Tensor) -> Tensor:
        """Where a vertex lies among all tables [3,L,S]: row by row, or hashed in fine grids."""
        n = self.n_dense
        entry = x + row
        torch.bitwise_xor(x[:, n:], row[:, n:], out=entry[:, n:])
        entry[:, n:] &= self.size - 1
        return entry.add_(self.get_buffer("first"))


def _split(at: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Cell, int32, and place in it of positions measured in cells."""
    low = torch.minimum(at.floor(), cells - 1)
    return low.int(), at - low


class _Interpolate(torch.autograd.Function):
    """Weighted sums of table entries; the gradient goes only to the entries that were read."""

    @staticmethod
    def forward(ctx: Any, tables: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.entries = len(tables)
        read = tables.index_select(0, index.flatten()).view_as(weight)
        return (read * weight).sum(0).T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        index, weight = ctx.saved_tensors
        shares = (grads[0].T * weight).flatten()
        return shares.new_zeros(ctx.entries).index_add_(0, index.flatten(), shares), None, None
