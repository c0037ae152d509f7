"""Finding a mark without the original: its scale and place by what is known of it, then its id.

A picture's own structure is the noise here, so it is flattened first: what is left of it after a
blur, divided by how much goes on there. The mark stands still in a video, so that flattened frames
may be averaged. Tiles of every plausible length are then tried: the picture's Fourier coefficients
at their harmonics, multiplied with the known waves', peak at the tile's place where the length is
right. The best few are refined, and an id is read from the remaining waves; its keyed check
decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.media.planes import UInt8Array
from synctalk.provenance.carriers import HIGHEST, LOWEST, Carriers, carriers, waves
from synctalk.provenance.coding import CODED_BITS, decode, encode

LONGEST_SIDE_PX = 512
"""Of the shorter side while detecting: larger pictures are made smaller."""
_FEWEST, _MOST = 0.9, 9.0  # tiles along the shorter side: of a crop; of a picture within another
_STEP = 0.045  # tiles; half of it turns the finest wave by a quarter of a turn at the edge
_CANDIDATES, _ANYWAY = 12, 3
_MIN_SCORE = 5.2  # of a candidate after the first; chance gives about 5
_GRID = 128
_WIDTH = 2 * HIGHEST + 1

Floats = NDArray[np.float32]
Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Detection:
    """A mark that was found.

    Args:
        mark_id: what it carries.
        score: how clear its known part is, in standard deviations of what chance gives.
        tiles: tiles along the shorter side; 4 in a whole picture, fewer in a crop.
        bit_accuracy: share of the coded bits that were right before the code corrected them.
    """

    mark_id: int
    score: float
    tiles: float
    bit_accuracy: float


@dataclass(frozen=True)
class _Fit:
    score: float
    across: float  # tiles along the shorter side, by their width
    down: float  # and by their height
    x: float  # the tile's place, grid units
    y: float


def flatten(luma: UInt8Array) -> Floats:
    """[H,W] of a picture's luma as the detector wants it, about -1 to 1; smaller if it is large."""
    short = min(luma.shape)
    if short > LONGEST_SIDE_PX:
        factor = LONGEST_SIDE_PX / short
        size = (round(luma.shape[1] * factor), round(luma.shape[0] * factor))
        luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    values = luma.astype(np.float32)
    side = min(values.shape) // 24 | 1
    left = values - cv2.GaussianBlur(values, (0, 0), max(3.0, min(values.shape) / 64))
    spread = cv2.blur(np.abs(left), (side, side)) + 0.7
    # 1 would make all places equal; 2 is right for a mark that is as strong everywhere.
    return np.asarray(np.clip(left / spread**1.3, -2.5, 2.5), np.float32)


def detect(flat: Floats, key: bytes) -> Detection | None:
    """The mark in a flattened picture, or in the mean of several [H,W]; None if there is none."""
    known = carriers(key)
    image = flat - flat.mean()
    fits = sorted(_coarse(image, known), key=lambda fit: -fit.score)
    for rank, fit in enumerate(_distinct(fits)):
        best = _refined(image, known, fit, _STEP / 2)
        if best.score < _MIN_SCORE and rank >= _ANYWAY:
            continue
        best = _refined(image, known, best, _STEP / 4)
        for received in _received(image, known, best):
            if (mark_id := decode(received, key)) is not None:
                right = float((np.sign(received) == encode(mark_id, key)).mean())
                return Detection(mark_id, best.score, float(best.across), right)
    return None


def _coarse(image: Floats, known: Carriers) -> Iterator[_Fit]:
    """The best place of a tile of each length."""
    for tiles in np.arange(_FEWEST, _MOST, _STEP * min(image.shape) / max(image.shape)):
        yield _best_place(_coefficients(image, tiles, tiles), known, tiles, tiles)


def _distinct(fits: list[_Fit]) -> Iterable[_Fit]:
    kept: list[_Fit] = []
    for fit in fits:
        if all(abs(fit.across - other.across) > 2 * _STEP for other in kept):
            kept.append(fit)
            if len(kept) == _CANDIDATES:
                break
    return kept


def _refined(image: Floats, known: Carriers, fit: _Fit, step: float) -> _Fit:
    """The same, width and height of the tile tuned by ``step``; where it is fine, by ever less."""
    least = step if step == _STEP / 2 else 0.002
    while step >= least:
        for across, down in ((step, step), (step, 0.0), (0.0, step)):
            for sign in (-1, 1):
                a, d = fit.across + sign * across, fit.down + sign * down
                other = _best_place(_coefficients(image, a, d), known, a, d)
                if other.score > fit.score:
                    fit = other
        step /= 2
    return fit


def _coefficients(image: Floats, across: float, down: float) -> Complex:
    """[HIGHEST + 1, _WIDTH] of the waves (ky, kx), kx from -HIGHEST, whitened."""
    height, width = image.shape
    short = min(height, width)
    rows = waves(HIGHEST + 1, short / down, height).conj()
    columns = waves(HIGHEST + 1, short / across, width).conj()
    half = np.concatenate([rows.real, rows.imag], 1).T @ image
    half = half[: HIGHEST + 1] + 1j * half[HIGHEST + 1 :]  # [ky, x]
    both = half @ np.concatenate([columns[:, :0:-1].conj(), columns], 1)
    power = cv2.blur((both.real**2 + both.imag**2), (7, 7), borderType=cv2.BORDER_REFLECT)
    whitened = both / np.sqrt(power + 1e-9)
    return np.asarray(whitened / np.maximum(1, np.abs(whitened) / 1.7), np.complex64)


def _best_place(coefficients: Complex, known: Carriers, across: float, down: float) -> _Fit:
    """Where the known waves fit best."""
    kx, ky = known.kx[: known.n_sync], known.ky[: known.n_sync]
    fits = coefficients[ky, kx + HIGHEST] * known.phasors[: known.n_sync].conj()
    grid = np.zeros((_GRID, _GRID), np.complex64)
    grid[ky, kx] = fits
    surface = np.fft.ifft2(grid).real
    place = int(surface.argmax())
    spread = float(np.sqrt((np.abs(fits) ** 2).sum() / 2))
    y, x = divmod(place, _GRID)
    return _Fit(float(surface.flat[place]) * _GRID * _GRID / spread, across, down, x, y)


def _received(image: Floats, known: Carriers, fit: _Fit) -> Iterator[NDArray[np.float64]]:
    """[CODED_BITS] as they were read, the place tuned to a quarter of a grid unit.

    Then the same with fine and coarse waves weighted by what became of the known ones: scaling
    down and compression take the fine ones first.
    """
    coefficients = _coefficients(image, fit.across, fit.down)
    fits = coefficients[known.ky, known.kx + HIGHEST] * known.phasors.conj()
    n = known.n_sync
    best, best_sum = fits, -np.inf
    for dy in np.arange(-0.75, 1, 0.25):
        for dx in np.arange(-0.75, 1, 0.25):
            turns = (known.kx * (fit.x + dx) + known.ky * (fit.y + dy)) / _GRID
            moved = fits * np.exp(2j * np.pi * turns)
            if (total := float(moved[:n].real.sum())) > best_sum:
                best, best_sum = moved, total
    fineness = np.hypot(known.kx, known.ky) - (LOWEST + HIGHEST) / 2
    slope, level = np.polyfit(fineness[:n], best[:n].real, 1)
    weights = np.maximum(level + slope * fineness[n:], 0.05 * abs(level))
    for values in (best[n:].real, best[n:].real * weights):
        yield np.bincount(known.order, values, CODED_BITS).astype(np.float64)
