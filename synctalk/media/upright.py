"""From a decoded picture of any kind to the one kind that is written: upright, even, yuv420p."""

from __future__ import annotations

import av
from av.video.reformatter import VideoReformatter

from synctalk.media.orientation import Orientation
from synctalk.media.planes import Yuv420, convert_to_yuv, is_plain, plane
from synctalk.media.probe import VideoInfo


class Uprighter:
    """Scales, converts and turns the pictures of one source.

    Args:
        info: the source.
        max_side: larger pictures are scaled down to this longest side, px. ``size`` is (width,
            height) of what comes out.
    """

    def __init__(self, info: VideoInfo, max_side: int) -> None:
        self._orientation = Orientation(info.rotation_deg, info.mirrored)
        self._scaled = _scaled_size(info, self._orientation, max_side)
        w, h = self._scaled[0] // 2 * 2, self._scaled[1] // 2 * 2
        self.size = (h, w) if self._orientation.swaps_sides else (w, h)
        self._converter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Yuv420:
        """The picture; its samples are kept where it is plain already."""
        if not is_plain(frame) or (frame.width, frame.height) != self._scaled:
            frame = convert_to_yuv(frame, *self._scaled, self._converter)
        w, h = self._scaled[0] // 2, self._scaled[1] // 2  # an odd last row or column is left out
        y = plane(frame, 0)[: 2 * h, : 2 * w]
        u, v = (plane(frame, i)[:h, :w] for i in (1, 2))
        return self._orientation.apply(Yuv420(y, u, v))


def _scaled_size(info: VideoInfo, orientation: Orientation, max_side: int) -> tuple[int, int]:
    """Size to scale to before rotation: square pixels, at most ``max_side``."""
    w, h = (info.height, info.width) if orientation.swaps_sides else (info.width, info.height)
    scale = min(1.0, max_side / max(w, h))
    if scale == 1.0:
        return w, h
    return max(2, 2 * round(w * scale / 2)), max(2, 2 * round(h * scale / 2))
