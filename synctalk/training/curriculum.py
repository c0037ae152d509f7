"""Which frames to show: rare mouth shapes and blinks more often (METHOD row 10)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 12


def rarity(
    mouth_opening: NDArray[np.floating], blink: NDArray[np.floating], power: float
) -> NDArray[np.float64]:
    """Sampling probability of each frame [T], inverse to how common its face is.

    Args:
        mouth_opening: [T], any unit.
        blink: [T] in [0,1].
        power: 0 = even, 1 = every filled bin of (opening, blink) equally often.
    """
    edges = np.quantile(mouth_opening, [0.01, 0.99])
    opening = np.clip((mouth_opening - edges[0]) / max(float(np.ptp(edges)), 1e-6), 0, 1)
    cell = (opening * (BINS - 1)).astype(int) * 2 + (blink > 0.5)
    count = np.bincount(cell, minlength=2 * BINS)[cell]
    weight = count.astype(float) ** -power
    weights: NDArray[np.float64] = weight / weight.sum()
    return weights


def thin(probability: NDArray[np.float64], limit: int, seed: int) -> NDArray[np.int64]:
    """At most ``limit`` frame numbers, sorted, drawn without replacement by ``probability``."""
    n = len(probability)
    if n <= limit:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, limit, replace=False, p=probability))


def batch(probability: NDArray[np.float64], size: int, seed: int, step: int) -> NDArray[np.int64]:
    """The frames of one step: a function of seed and step alone, so that a resumed run agrees."""
    rng = np.random.default_rng((seed, step))
    return rng.choice(len(probability), size, p=probability)
