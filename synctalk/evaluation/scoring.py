"""Scores and examples gathered frame by frame, so that no clip is ever held."""

from __future__ import annotations

import heapq

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.evaluation.metrics import psnr, similarities
from synctalk.evaluation.result import Example, FrameScores, Image

Mask = NDArray[np.bool_]

N_EXAMPLES = 10
N_WORST = 6
EXAMPLE_SIDE = 256


class Scores:
    """Image metrics of the frames seen so far; ``psnr`` lists the full-frame values."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._rows: list[tuple[float, ...]] = []
        self.psnr: list[float] = []

    def add(self, image: Image, reference: Image, head: Mask, mouth: Mask) -> None:
        """Compare ``image`` with ``reference``, uint8 [H,W,3], in masks [H,W]."""
        self.psnr.append(psnr(image, reference))
        structure = similarities(image, reference, mouth)
        self._rows.append(
            (
                self.psnr[-1],
                psnr(image, reference, head) if head.any() else np.nan,
                psnr(image, reference, mouth) if mouth.any() else np.nan,
                structure.ssim,
                structure.ssim_masked,
                structure.ms_ssim,
            )
        )

    def result(self) -> FrameScores:
        """All scores so far."""
        return FrameScores(*np.array(self._rows, np.float64).T)


class Gallery:
    """Reduced frames worth showing: ten evenly spread over ``n`` from ``first``, and the worst."""

    def __init__(self, first: int, n: int) -> None:
        """Nothing seen yet."""
        self._first = first
        self._spread = set(np.linspace(0, n - 1, min(N_EXAMPLES, n)).round().astype(int).tolist())
        self._worst: list[tuple[float, int, Example]] = []
        self.examples: list[Example] = []

    def add(self, i: int, score: float, source: Image, rendered: Image) -> None:
        """Consider frame ``i``, uint8 [S,S,3] each, whose PSNR is ``score``."""
        among_worst = len(self._worst) < N_WORST or -score > self._worst[0][0]
        if i not in self._spread and not among_worst:
            return
        example = Example(self._first + i, score, _reduced(source), _reduced(rendered))
        if i in self._spread:
            self.examples.append(example)
        if among_worst:
            keep = heapq.heappush if len(self._worst) < N_WORST else heapq.heapreplace
            keep(self._worst, (-score, i, example))

    def worst(self) -> tuple[Example, ...]:
        """Lowest PSNR first."""
        return tuple(e for _, _, e in sorted(self._worst, reverse=True, key=lambda w: w[:2]))


def _reduced(image: Image) -> Image:
    size = (EXAMPLE_SIDE, EXAMPLE_SIDE)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
