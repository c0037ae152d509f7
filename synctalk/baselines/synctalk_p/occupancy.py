"""Which cells of the head's box are worth sampling.

A cell is kept while some ray of the footage still sees it: while the weight T·(1 - exp(-σδ)) of a
sample in it, remembered with slow decay, exceeds a threshold. So empty space in front of the face
and everything behind its surface drop out, and a ray needs a handful of samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool3d

DECAY = 0.97
"""Of the remembered weight, each update."""
SEEN = 0.02
"""Weight from which a cell counts as seen."""


class OccupancyGrid(nn.Module):
    """Cells of a box; all of them occupied at first.

    Args:
        low, high: [3] corners of the box, mm.
        side: cells along each axis.
    """

    def __init__(self, low: Tensor, high: Tensor, side: int) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("occupied", torch.ones(side**3, dtype=torch.bool))
        self._weight = torch.zeros(side**3)

    def centres(self) -> Tensor:
        """Middles of all cells [side³,3], mm."""
        steps = (torch.arange(self.side) + 0.5) / self.side
        unit = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).view(-1, 3)
        low, high = self.get_buffer("low"), self.get_buffer("high")
        return low + unit * (high - low)

    def cell(self, positions: Tensor) -> Tensor:
        """Number of the cell each position [...,3] lies in; those outside count to the rim."""
        low, high = self.get_buffer("low"), self.get_buffer("high")
        at = ((positions - low) * (self.side / (high - low))).long().clamp_(0, self.side - 1)
        x, y, z = at.unbind(-1)
        return (x * self.side + y) * self.side + z

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Corners [3], [3] of the smallest box that holds all occupied cells, mm."""
        centres = self.centres()[self.get_buffer("occupied")]
        half = (self.get_buffer("high") - self.get_buffer("low")) / self.side / 2
        return centres.amin(0) - half, centres.amax(0) + half

    def carve(self, keep: Tensor) -> None:
        """Drop cells for good; ``keep`` is bool [side³]."""
        self.get_buffer("occupied").logical_and_(keep)

    def remember(self, cells: Tensor, weights: Tensor) -> None:
        """Note the weights [S] that samples in ``cells`` [S] had."""
        self._weight.mul_(DECAY).scatter_reduce_(0, cells, weights, "amax")

    def prune(self) -> None:
        """Drop cells that no ray sees, but for neighbours of some that one sees."""
        seen = (self._weight > SEEN).float().view(1, 1, self.side, self.side, self.side)
        near = max_pool3d(seen, 3, stride=1, padding=1).view(-1) > 0
        if near.any():
            self.carve(near)
