"""The picture of a training run: a rendered held-out frame, its source, and the PSNR curve."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.bundle import CurvePoint
from synctalk.errors import SyncTalkError
from synctalk.training import HeldOutCheck

MIN_WIDTH_PX = 480
PLOT_HEIGHT_PX = 160
MARGIN_PX = 28
QUALITY = 88

_PAPER, _INK, _GRID, _LINE = (255, 255, 255), (40, 40, 40), (215, 215, 215), (30, 90, 200)

Image = NDArray[np.uint8]


def draw_preview(check: HeldOutCheck, steps: int) -> bytes:
    """A JPEG: rendered on the left, source on the right, held-out PSNR over the steps below.

    Args:
        check: the latest.
        steps: of the whole run.
    """
    pair = np.concatenate([check.rendered, check.source], axis=1)
    scale = max(1.0, MIN_WIDTH_PX / pair.shape[1])
    size = (round(pair.shape[1] * scale), round(pair.shape[0] * scale))
    pair = cv2.resize(pair, size, interpolation=cv2.INTER_CUBIC)
    picture = np.concatenate([pair, _plot(check.curve, steps, size[0])])
    ok, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    if not ok:
        raise SyncTalkError("the preview cannot be encoded", reason="PREVIEW_NOT_ENCODED")
    return data.tobytes()


def _plot(curve: Sequence[CurvePoint], steps: int, width: int) -> Image:
    plot: Image = np.full((PLOT_HEIGHT_PX, width, 3), _PAPER, np.uint8)
    values = [point.psnr_db for point in curve]
    low, high = np.floor(min(values)) - 1, np.ceil(max(values)) + 1
    right, bottom = width - MARGIN_PX, PLOT_HEIGHT_PX - MARGIN_PX

    def x(step: int) -> int:
        return round(MARGIN_PX + (right - MARGIN_PX) * step / steps)

    def y(psnr_db: float) -> int:
        return int(bottom - (bottom - MARGIN_PX) * (psnr_db - low) / (high - low))

    for level in (low, high):
        cv2.line(plot, (MARGIN_PX, y(level)), (right, y(level)), _GRID, 1, cv2.LINE_AA)
        _write(plot, f"{level:.0f}", (4, y(level) + 4))
    points = np.array([(x(point.step), y(point.psnr_db)) for point in curve], np.int32)
    cv2.polylines(plot, [points], False, _LINE, 2, cv2.LINE_AA)
    for point in points:
        cv2.circle(plot, (int(point[0]), int(point[1])), 3, _LINE, -1, cv2.LINE_AA)
    last = curve[-1]
    _write(plot, f"held-out PSNR {last.psnr_db:.1f} dB", (MARGIN_PX, 16))
    _write(plot, f"step {last.step} of {steps}", (MARGIN_PX, PLOT_HEIGHT_PX - 8))
    return plot


def _write(image: Image, text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
