"""Real H.264 whose brightness says which frame it is."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av
from av.video.codeccontext import VideoCodecContext


class Camera:
    """Encodes plain pictures as a renderer does: constrained baseline, closed groups, Annex B."""

    def __init__(self, width: int = 64, height: int = 64, gop: int = 25) -> None:
        codec = av.CodecContext.create("libx264", "w")
        assert isinstance(codec, VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, 25), Fraction(25)
        codec.profile = "Baseline"
        codec.options = {
            "preset": "ultrafast", "tune": "zerolatency", "bf": "0", "g": str(gop),
            "x264-params": f"keyint={gop}:scenecut=0:repeat-headers=1:annexb=1:threads=1",
        }  # fmt: skip
        self._codec = codec
        self._count = 0

    def shoot(self, luma: int, *, key: bool = False) -> tuple[bytes, bool]:
        """One picture; its access unit, and whether a decoder can begin with it."""
        frame = av.VideoFrame(self._codec.width, self._codec.height, "yuv420p")
        for plane, value in zip(frame.planes, (luma, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.pts, frame.time_base = self._count, Fraction(1, 25)
        self._count += 1
        if key:
            frame.pict_type = av.video.frame.PictureType.I
        (packet,) = self._codec.encode(frame)
        return bytes(packet), packet.is_keyframe


@cache
def clip(n_frames: int, width: int = 64, height: int = 64) -> tuple[tuple[bytes, bool], ...]:
    """Pictures that grow brighter."""
    camera = Camera(width, height)
    return tuple(camera.shoot(16 + n % 200) for n in range(n_frames))
