"""Marking frames: a table of the mark, weighted by what the picture hides, added to the luma."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.media.planes import UInt8Array
from synctalk.provenance.carriers import HIGHEST, TILES, carriers, waves

FLAT, STRONGEST = 1.0, 3.2
"""Luma levels, rms: where nothing goes on, and at most."""
PER_DEVIATION = 0.3
"""What a level of local detail (mean deviation from a 5 x 5 blur) adds."""
MEAN_SQUARE = 1.65**2
"""Most that a frame changes, luma levels squared: 43.8 dB, and 42.5 dB in RGB."""
_STEP = 8


class Marker:
    """Marks pictures of one size with one id.

    Args:
        mark_id: 1 to 2**48 - 1.
        key: the installation's secret.
        width, height: px.
    """

    def __init__(self, mark_id: int, key: bytes, width: int, height: int) -> None:
        self.mark_id = mark_id
        self._pattern = pattern(mark_id, key, width, height)
        self._small = (max(1, width // _STEP), max(1, height // _STEP))
        self._gain = np.empty_like(self._pattern)

    def mark(self, luma: UInt8Array) -> None:
        """Add the mark to ``luma`` [H,W] in place.

        Raises:
            ValueError: it is of another size.
        """
        if luma.shape != self._pattern.shape:
            raise ValueError(f"luma of shape {luma.shape}, expected {self._pattern.shape}")
        gain = self._gains(luma)
        cv2.resize(gain, luma.shape[::-1], self._gain, interpolation=cv2.INTER_LINEAR)
        cv2.multiply(self._gain, self._pattern, self._gain)
        luma[:] = cv2.add(luma, self._gain, dtype=cv2.CV_8U)

    def _gains(self, luma: UInt8Array) -> NDArray[np.float32]:
        """How strong the mark may be, a value for each 8 x 8 pixels: more where much goes on."""
        detail = cv2.absdiff(luma, cv2.blur(luma, (5, 5)))
        detail = cv2.resize(detail, self._small, interpolation=cv2.INTER_AREA).astype(np.float32)
        gain = np.minimum(FLAT + PER_DEVIATION * cv2.blur(detail, (3, 3)), STRONGEST)
        mean_square = float((gain * gain).mean())
        return np.asarray(gain * min(1.0, (MEAN_SQUARE / mean_square) ** 0.5), np.float32)


@lru_cache(4)
def pattern(mark_id: int, key: bytes, width: int, height: int) -> NDArray[np.float32]:
    """[height, width], of mean square 1: what :class:`Marker` adds where the gain is 1."""
    known = carriers(key)
    grid = np.zeros((HIGHEST + 1, 2 * HIGHEST + 1), np.complex64)
    grid[known.ky, known.kx + HIGHEST] = known.spectrum(mark_id, key)
    period = min(width, height) / TILES
    down, along = waves(HIGHEST + 1, period, height), waves(2 * HIGHEST + 1, period, width)
    along = along * along[:, HIGHEST : HIGHEST + 1].conj()  # from -HIGHEST on
    table = ((down @ grid) @ along.T).real
    return np.asarray(table / np.sqrt((table * table).mean()), np.float32)
