"""Rendered splats over a frame of video, in the frame's own samples.

Dubbing never leaves YUV 4:2:0: a pixel that no splat touches reaches the encoder as it came from
the decoder, and nothing is spent on converting it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synctalk.media.planes import Yuv420
from synctalk.render import _kernel

Image = NDArray[np.uint8]


def composite_rgb(rgb: Tensor, alpha: Tensor, window: Image) -> None:
    """Lay splats over ``window`` [h,w,3] uint8, in place.

    Args:
        rgb: [h,w,3] premultiplied colour as ``rasterize`` returns it; alpha: [h,w,1].
        window: the frame's part that was rendered; a view into the frame.
    """
    below = 1.0 - alpha.cpu().numpy()
    window[:] = np.clip(np.rint(rgb.cpu().numpy() * 255.0 + below * window), 0, 255)


def composite_yuv(rgb: Tensor, alpha: Tensor, picture: Yuv420, corner: NDArray[np.int64]) -> None:
    """Lay splats over ``picture`` [H,W], in place.

    Args:
        rgb: [h,w,3] premultiplied colour as ``rasterize`` returns it; alpha: [h,w,1]. Even sides.
        picture: writable planes, BT.709 limited range.
        corner: [2] x, y of the rendered window, px; even.

    Raises:
        ValueError: odd sizes, or the window leaves the picture.
    """
    left, top = int(corner[0]), int(corner[1])
    _kernel.composite_yuv(rgb.cpu().numpy(), alpha.cpu().numpy(), *picture, left, top)
