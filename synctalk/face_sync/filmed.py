"""Mouths unlike all that were filmed, drawn in to those that are nearest.

A head's splats move in proportion to the coefficients. That is learnt from the mouths of the
footage; far from all of them the movements no longer go together, and lips dissolve into specks
(docs/research/deformation.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 8
"""Filmed mouths whose mean a mouth is drawn in to, the nearest counting most."""
FILMED_SHARE = 0.9
"""Share of the filmed mouths that lie no farther from their own neighbours than any mouth may."""
APART = 12
"""Frames between a filmed mouth and those taken for its neighbours: the same moment says nothing of
how far mouths lie apart."""
_MOST = 2500  # mouths to compare with
_AT_ONCE = 256

Coefficients = NDArray[np.float32]


class FilmedMouths:
    """The mouths that a head has learnt to show.

    Args:
        lips: [F,K] standardised coefficients, in the order in which they were filmed.
    """

    def __init__(self, lips: Coefficients) -> None:
        step = max(1, -(-len(lips) // _MOST))
        self._lips = np.ascontiguousarray(lips[::step], np.float32)
        number = np.arange(len(self._lips))
        self.reach = np.inf
        """How far a mouth may lie from the mean of its neighbours."""
        if len(self._lips) >= 2 * APART + NEIGHBOURS:
            off = self._lips - self._near(self._lips, number, -(-APART // step))
            self.reach = float(np.quantile(np.linalg.norm(off, axis=1), FILMED_SHARE))

    def draw_in(self, lip: Coefficients) -> Coefficients:
        """Coefficients [T,K], brought within reach of filmed ones; those that are stay the same."""
        if not np.isfinite(self.reach):
            return lip
        near = self._near(lip)
        off = lip - near
        share = self.reach / np.maximum(np.linalg.norm(off, axis=1, keepdims=True), 1e-6)
        return np.where(share < 1, near + off * share, lip).astype(np.float32)

    def _near(
        self, lip: Coefficients, number: NDArray[np.int64] | None = None, apart: int = 0
    ) -> Coefficients:
        """[T,K] mean of each mouth's neighbours; of filmed ones ``number``, not of their moment."""
        means = np.empty_like(lip)
        for begin in range(0, len(lip), _AT_ONCE):
            rows = slice(begin, begin + _AT_ONCE)
            distance = np.linalg.norm(lip[rows, None] - self._lips, axis=-1)
            if number is not None:
                beside = np.abs(number[rows, None] - np.arange(len(self._lips))) < apart
                distance[beside] = np.inf
            nearest = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
            away = np.take_along_axis(distance, nearest, 1)
            weight = np.exp(away.min(1, keepdims=True) - away)
            weight /= weight.sum(1, keepdims=True)
            means[rows] = np.einsum("tn,tnk->tk", weight, self._lips[nearest])
        return means
