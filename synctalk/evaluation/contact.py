"""Contact sheets: many frames in one picture, for eyes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

GAP = 4
BAND = 28
PAPER = 245
INK = (40, 40, 40)
DIFFERENCE_GAIN = 4


def contact_sheet(
    rows: Sequence[Sequence[Image]],
    labels: Sequence[str],
    titles: Sequence[str] = (),
    cell: int = 192,
) -> Image:
    """Lay frames out in a grid, every row under its label.

    Args:
        rows: rows of uint8 [H,W,3] frames, all of one shape; each is reduced to ``cell`` px width.
        labels: one line of ASCII text per row, e.g. ``"source"``.
        titles: one short ASCII text per column, e.g. ``"12.4 s"``; may be empty.
        cell: width of a frame on the sheet, px.

    Returns:
        uint8 [H,W,3], dark text on light paper.
    """
    columns = max(len(row) for row in rows)
    height = round(cell * rows[0][0].shape[0] / rows[0][0].shape[1])
    top = BAND if titles else 0
    shape = (top + len(rows) * (BAND + height + GAP), columns * (cell + GAP) + GAP, 3)
    sheet = np.full(shape, PAPER, np.uint8)
    for j, title in enumerate(titles):
        _write(sheet, title, GAP + j * (cell + GAP), BAND)
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = top + i * (BAND + height + GAP)
        _write(sheet, label, GAP, y + BAND)
        for j, image in enumerate(row):
            x = GAP + j * (cell + GAP)
            small = cv2.resize(image, (cell, height), interpolation=cv2.INTER_AREA)
            sheet[y + BAND : y + BAND + height, x : x + cell] = small
    return sheet


def difference(image: Image, reference: Image) -> Image:
    """Absolute difference, four times brighter, so that faint errors show."""
    gain = cv2.convertScaleAbs(cv2.absdiff(image, reference), alpha=DIFFERENCE_GAIN)
    return np.asarray(gain, np.uint8)


def jpeg(image: Image) -> bytes:
    """uint8 [H,W,3] RGB as a small JPEG file."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    assert done
    return bytes(data)


def save_image(path: str, image: Image) -> None:
    """Write uint8 [H,W,3] RGB as PNG.

    Raises:
        OSError: the file cannot be written.
    """
    if not cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {path}")


def _write(sheet: Image, text: str, x: int, bottom: int) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.6
    cv2.putText(sheet, text, (x, bottom - 8), font, size, INK, 1, cv2.LINE_AA)
