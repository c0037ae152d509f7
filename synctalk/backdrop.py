"""Another background behind an avatar, or none: footage and plates cut out of their own.

A backdrop is made once for an avatar; frames then come out of it as they come out of the bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.bundle import MATTE, PLATE_MATTE, SOURCE, AvatarBundle
from synctalk.errors import InputError
from synctalk.media import Yuv420, rgb_to_yuv
from synctalk.media.ordered import ordered_frames, ordered_grey
from synctalk.render.compositing import EMPTY, Cutout, replace_background

Image = NDArray[np.uint8]
Order = NDArray[np.int64]

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


class Backdrop:
    """What stands behind the person.

    Args:
        bundle: the avatar.
        picture: [h,w,3] RGB of any size, made to fill the frame; one pixel is a plain colour.
            None: nothing.

    Raises:
        BundleError: the avatar has no mattes.
    """

    def __init__(self, bundle: AvatarBundle, picture: Image | None) -> None:
        manifest = bundle.manifest
        self.transparent = picture is None
        self._folder = bundle.path
        clean = bundle.background()
        size, crop = manifest.size, manifest.crop
        if picture is None:
            self._new = _empty(clean.shape[0], clean.shape[1]), _empty(size, size)
        else:
            behind = cover(picture, manifest.source_width, manifest.source_height)
            self._new = rgb_to_yuv(behind), rgb_to_yuv(crop.cut(behind, size))
        self._clean = rgb_to_yuv(clean), rgb_to_yuv(crop.cut(clean, size))

    def sources(self, order: Order) -> Iterator[Cutout]:
        """Frames of the footage [H,W] before the new background."""
        return self._cut(ordered_frames(self._folder / SOURCE, order), MATTE, order, 0)

    def plates(self, order: Order, pictures: Iterable[Yuv420]) -> Iterator[Cutout]:
        """``pictures`` [S,S], the plates of ``order``, before the new background."""
        return self._cut(pictures, PLATE_MATTE, order, 1)

    def _cut(
        self, pictures: Iterable[Yuv420], mattes: str, order: Order, which: int
    ) -> Iterator[Cutout]:
        pairs = zip(pictures, ordered_grey(self._folder / mattes, order), strict=True)
        for picture, matte in pairs:
            cut = Cutout(picture, matte)
            self._replace(cut, which)
            yield cut

    def replace_behind(self, source: Cutout, plate: Cutout) -> None:
        """Put the new background behind one frame [H,W] and its plate [S,S], in place."""
        self._replace(source, 0)
        self._replace(plate, 1)

    def _replace(self, cut: Cutout, which: int) -> None:
        replace_background(cut, self._clean[which], self._new[which])


def cover(picture: Image, width: int, height: int) -> Image:
    """``picture`` [h,w,3] scaled and cropped so that it fills [height,width,3]."""
    had_height, had_width = picture.shape[:2]
    scale = max(width / had_width, height / had_height)
    size = max(width, round(had_width * scale)), max(height, round(had_height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, size, interpolation=how)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])


def colour(text: str) -> Image:
    """``"#rrggbb"`` as a picture [1,1,3].

    Raises:
        InputError: it is no colour.
    """
    if not _COLOUR.fullmatch(text):
        raise InputError(
            f"{text!r} is not a colour.",
            reason="BAD_COLOUR",
            remedy="Write it as #rrggbb, e.g. #00b140.",
        )
    return np.array([[[int(text[i : i + 2], 16) for i in (1, 3, 5)]]], np.uint8)


def _empty(height: int, width: int) -> Yuv420:
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    return Yuv420(*(np.full(s, v, np.uint8) for s, v in zip(shapes, EMPTY, strict=True)))
