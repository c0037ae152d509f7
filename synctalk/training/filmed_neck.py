"""What was filmed of a neck that an open mouth's jaw hides (beside METHOD row 13).

No small network learns a collar's pattern from a minute of footage, and none has to: with the mouth
closed it was filmed. Such a frame, the one that is most alike around the hole, is moved into place
by optical flow, which goes on smoothly under the jaw, and matched in colour at the hole's border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.parsing_matte import fill_coarsely, smoothstep
from synctalk.render.torso import NeckWindow
from synctalk.training.neck import NeckView, distance

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.float32]

EDGE = 2.0
"""px at 512 next to the jaw where its own edge shows: no neck to learn from or to lay elsewhere."""
FEATHER = 3.0
"""px at 512 over which what was filmed ends."""
COARSE = 4
"""Frames are compared at this fraction of their size."""
MISSING = 30.0
"""Grey levels that a frame is thought to differ by if it shows nothing of the hole."""
KEPT = 0.8
"""A frame replaces the one before's choice if it differs by this share of it: no flicker."""
ODD = 24.0
"""Grey levels of a flow that led astray."""
AT_MOST = 12.0
"""px at 512 that flow moves: what it finds beyond is none."""


@dataclass(frozen=True)
class Filmed:
    """What was filmed elsewhere, moved to where a frame needs it.

    Args:
        colours: [h,w,3] in [0,1].
        weight: [h,w] in [0,1], 0 where nothing was filmed.
    """

    colours: Float
    weight: Float


class ClosedNecks:
    """Necks as closed mouths leave them.

    Args:
        views: of the frames with the most closed mouths.
        window: of the neck.
        size: of the crop, px.
    """

    def __init__(self, views: Sequence[NeckView], window: NeckWindow, size: int) -> None:
        self.views, self._window, self._scale = views, window, size / 512
        self.indices = np.array([view.index for view in views], np.int64)
        side = -(-size // COARSE) + 1
        self._looks = np.zeros((len(views), side, side), np.float32)
        self._shown = np.zeros((len(views), side, side), np.bool_)
        for view, look, shown in zip(views, self._looks, self._shown, strict=True):
            where = self._coarse_window(view.index)
            look[where] = _coarsely(cv2.cvtColor(view.frame, cv2.COLOR_RGB2GRAY))
            shown[where] = _coarsely(self._seen(view).astype(np.uint8)) == 1

    def differences(self, view: NeckView, hole: Mask) -> Float:
        """How far each neck differs from a view around its hole, grey levels, [N]."""
        rows, columns = self._coarse_window(view.index)
        looks, shown = self._looks[:, rows, columns], self._shown[:, rows, columns]
        look = _coarsely(cv2.cvtColor(view.plate, cv2.COLOR_RGB2GRAY))
        known = (_coarsely((view.body & ~hole).astype(np.uint8)) == 1) & shown
        wanted = (_coarsely(hole.astype(np.uint8)) > 0) & shown.any(0)
        off = (np.abs(looks - look) * known).sum((1, 2)) / np.maximum(known.sum((1, 2)), 1)
        found = (shown & wanted).sum((1, 2)) / max(int(wanted.sum()), 1)
        return np.asarray(off + MISSING * (1 - found), np.float32)

    def chosen(self, view: NeckView, hole: Mask, before: int | None) -> int | None:
        """The neck to lay into a view, by its number; ``before`` is the frame before's."""
        if not len(self.views):
            return None
        differ = self.differences(view, hole)
        best = int(differ.argmin())
        if before is not None and differ[best] >= KEPT * differ[before]:
            return before
        return best

    def laid(self, view: NeckView, hole: Mask, number: int) -> Filmed:
        """A neck moved to where a view needs it."""
        other, scale = self.views[number], self._scale
        corners = self._window.corners
        left, top = (corners[view.index] - corners[other.index]).tolist()
        height, width = hole.shape
        to_here = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
        moved = cv2.warpAffine(
            other.frame, to_here, (width, height), flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        shown = self._seen(other).astype(np.uint8) * 255
        seen = cv2.warpAffine(shown, to_here, (width, height), flags=cv2.INTER_NEAREST)
        known = view.body & (distance(hole | view.erased) > EDGE * scale) & (seen > 0)
        flow = self._flow(view.plate, moved, known)
        there = _followed(moved, flow, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
        filmed = _followed(seen, flow) >= 250
        colours = there.astype(np.float32) * np.float32(1 / 255)
        here = view.plate.astype(np.float32) * np.float32(1 / 255)
        colours += fill_coarsely(here - colours, (known & filmed).astype(np.float32))
        weight = smoothstep(distance(~filmed), 0.0, FEATHER * scale)
        return Filmed(np.clip(colours, 0, 1), weight)

    def _flow(self, here: Image, there: Image, known: Mask) -> Float:
        """Where ``there`` shows what is ``known`` here, and smoothly on beyond it, [h,w,2] px."""
        a, b = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (here, there))
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        flow = np.asarray(search.calc(a, b, None), np.float32)
        sure = known & (cv2.absdiff(a, _followed(b, flow)) < ODD)
        sure &= np.hypot(flow[..., 0], flow[..., 1]) < AT_MOST * self._scale
        return fill_coarsely(flow, sure.astype(np.float32))

    def _seen(self, view: NeckView) -> Mask:
        return view.body & (distance(view.erased) > EDGE * self._scale)

    def _coarse_window(self, index: int) -> tuple[slice, slice]:
        left, top = (int(v) // COARSE for v in self._window.corners[index])
        height, width = self._window.height // COARSE, self._window.width // COARSE
        return slice(top, top + height), slice(left, left + width)


def _followed(
    image: Image, flow: Float, how: int = cv2.INTER_LINEAR, beyond: int = cv2.BORDER_CONSTANT
) -> Image:
    """What ``image`` shows where ``flow`` leads."""
    y, x = np.indices(flow.shape[:2], dtype=np.float32)
    at = x + flow[..., 0], y + flow[..., 1]
    return np.asarray(cv2.remap(image, *at, how, borderMode=beyond), np.uint8)


def _coarsely(image: Image) -> Float:
    height, width = image.shape
    small = (width // COARSE, height // COARSE)
    return np.asarray(cv2.resize(image.astype(np.float32), small, interpolation=cv2.INTER_AREA))
