"""The visible label: a corner that says that the video is made by AI."""

from __future__ import annotations

import cv2
import numpy as np

from synctalk.media.planes import UInt8Array, Yuv420

TEXT = "AI-generated"
_SHARE = 1 / 22  # of the shorter side: its height
_FONT = cv2.FONT_HERSHEY_DUPLEX
_WHITE, _BLACK, _GREY = 235, 16, 128
_COVER = 0.6  # how much of the picture the box hides


class Label:
    """Draws the label into pictures of one size, bottom left.

    Args:
        width, height: px, even.
    """

    def __init__(self, width: int, height: int) -> None:
        box = _box(width, height)
        self._rows = slice(height - box.shape[0], height)
        self._columns = slice(0, box.shape[1])
        ink = box.astype(np.float32) / 255
        self._keep = (1 - _COVER) * (1 - ink)
        self._add = _COVER * (1 - ink) * _BLACK + ink * _WHITE
        self._keep_half = self._keep[::2, ::2]

    def draw(self, picture: Yuv420) -> None:
        """Into the planes, in place."""
        luma = picture.y[self._rows, self._columns]
        luma[:] = np.rint(luma * self._keep + self._add)
        for plane in (picture.u, picture.v):
            corner = plane[_half(self._rows), _half(self._columns)]
            corner[:] = np.rint(_GREY + (corner.astype(np.float32) - _GREY) * self._keep_half)


def _half(part: slice) -> slice:
    return slice(part.start // 2, part.stop // 2)


def _box(width: int, height: int) -> UInt8Array:
    """The text, white on black, as large as fits the picture; even sides."""
    tall = max(12, round(min(width, height) * _SHARE))
    scale = 0.55 * tall / cv2.getTextSize(TEXT, _FONT, 1, 1)[0][1]
    (long, high), _ = cv2.getTextSize(TEXT, _FONT, scale, 1)
    wide = min(long + tall, width)
    box = np.zeros((_even(tall), _even(wide)), np.uint8)
    at = (tall // 2, (len(box) + high) // 2)
    cv2.putText(box, TEXT, at, _FONT, scale, 255, 1, cv2.LINE_AA)
    return box


def _even(length: int) -> int:
    return length // 2 * 2
