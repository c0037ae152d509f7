"""Where in the spectrum a mark lies.

A mark is a tile repeated over the picture, a quarter of its shorter side long, so that scaling
keeps it in proportion and any crop holds whole tiles. The tile is a sum of waves whose numbers,
phases and roles follow from a secret key: some have known signs and are how a detector finds
scale and place; the others' signs are the coded id.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from synctalk.provenance.coding import CODED_BITS, encode

TILES = 4
"""Tiles along the shorter side of a whole picture."""
LOWEST, HIGHEST = 6, 22
"""Waves a tile: coarser ones drown in the picture, finer ones in its compression."""
_SYNC_SHARE = 0.2
_TILT = 0.2
"""Coarse waves are stronger, by this power: they survive more, though they show more, too."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Carriers:
    """The waves of a key.

    Args:
        kx, ky: [N] waves along a tile; of each pair of opposite ones the one with ky >= 0.
        phasors: [N] complex, their phases and strengths.
        n_sync: the first so many have known signs.
        order: [N - n_sync] coded bit that each of the others carries.
    """

    kx: Ints
    ky: Ints
    phasors: NDArray[np.complex64]
    n_sync: int
    order: Ints

    def spectrum(self, mark_id: int, key: bytes) -> NDArray[np.complex64]:
        """[N] amplitude of each wave of a mark."""
        signs = encode(mark_id, key)[self.order]
        return np.asarray(
            self.phasors * np.concatenate([np.ones(self.n_sync), signs]), np.complex64
        )


@lru_cache(8)
def carriers(key: bytes) -> Carriers:
    """Those of ``key``."""
    ky, kx = np.mgrid[0 : HIGHEST + 1, -HIGHEST : HIGHEST + 1]
    radius = np.hypot(kx, ky)
    inside = (radius >= LOWEST) & (radius <= HIGHEST) & ((ky > 0) | (kx > 0))
    kx, ky = kx[inside], ky[inside]
    seed = hashlib.sha256(b"mark carriers" + key).digest()
    random = np.random.Generator(np.random.Philox(key=int.from_bytes(seed[:16], "big")))
    shuffled = random.permutation(len(kx))
    n_sync = round(_SYNC_SHARE * len(kx))
    order = random.permutation(np.resize(random.permutation(CODED_BITS), len(kx) - n_sync))
    kx, ky = kx[shuffled], ky[shuffled]
    strength = (np.hypot(kx, ky) / HIGHEST) ** -_TILT
    phasors = (strength * np.exp(2j * np.pi * random.random(len(kx)))).astype(np.complex64)
    return Carriers(kx, ky, phasors, n_sync, order)


def waves(count: int, period_px: float, length: int) -> NDArray[np.complex64]:
    """[length, count]: the waves 0 .. count - 1 of a period, at pixel centres."""
    first = np.exp(2j * np.pi * (np.arange(length) + 0.5) / period_px)
    powers = np.broadcast_to(first[:, None], (length, count)).copy()
    powers[:, :1] = 1
    return np.asarray(np.cumprod(powers, axis=1), np.complex64)
