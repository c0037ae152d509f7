"""Turn pictures upright as their display matrix says."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType

from synctalk.media.planes import UInt8Array, Yuv420


@dataclass(frozen=True)
class Orientation:
    """How to show a stored picture: mirror it left to right first, then rotate it.

    Args:
        rotation_deg: clockwise, one of 0, 90, 180, 270.
        mirrored: whether to mirror first.
    """

    rotation_deg: int = 0
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        """True where width and height change places."""
        return self.rotation_deg in (90, 270)

    def apply(self, picture: Yuv420) -> Yuv420:
        """The upright picture; exact."""
        y, u, v = (self._turn(p) for p in picture)
        return Yuv420(y, u, v)

    def _turn(self, image: UInt8Array) -> UInt8Array:
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, -self.rotation_deg // 90))


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Read the display matrix of a decoded frame; upright where there is none.

    The matrix maps (x, y), y down, to (a x + c y, b x + d y), in 16.16 fixed point.
    """
    # PyAV's stub promises a dict, its code gives the container.
    side_data = cast(SideDataContainer, frame.side_data)
    try:
        matrix = bytes(side_data[SideDataType.DISPLAYMATRIX])
    except KeyError:
        return Orientation()
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    quarter_turns = round(math.degrees(math.atan2(b, a)) / 90) % 4
    return Orientation(quarter_turns * 90, mirrored)
