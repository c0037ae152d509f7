"""Live video, encoded frame by frame: each picture in is a packet out.

Constrained baseline has no B frames; with zerolatency x264 holds nothing back. A group of pictures
refers to nothing before it and brings its parameter sets, so streams may be joined at key frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from services.renderer.encoding import scaled_frame, stamp_frame, tag_colours
from synctalk.media import Yuv420
from synctalk.provenance import Stamp

KEY_FRAME_EVERY = 25
_BITS_PER_PIXEL = 0.4  # at most; a head before a still scene takes a third of it at this crf
_OPTIONS = {
    "preset": "superfast",
    "tune": "zerolatency",
    "profile": "baseline",
    "crf": "21",
    "forced-idr": "1",
}


@dataclass(frozen=True)
class Packet:
    """An access unit in Annex B form."""

    data: bytes
    key_frame: bool


class LiveEncoder:
    """H.264 of one session.

    Args:
        width, height: px, even; pictures of another size are scaled.
        fps: frames per second.
        stamp: finishes every frame, of this size; None: none.
    """

    def __init__(self, width: int, height: int, fps: int, stamp: Stamp | None = None) -> None:
        self._stamp = stamp
        self._size = (width, height)
        self._scaler = VideoReformatter()
        self._count = 0
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = Fraction(1, fps), Fraction(fps)
        tag_colours(context)
        rate_kbps = round(_BITS_PER_PIXEL * width * height * fps / 1000)
        # The buffer is half a second: a key frame may be as large as that and no larger.
        parameters = (
            f"keyint={KEY_FRAME_EVERY}:scenecut=0:repeat-headers=1:threads=1:"
            f"vbv-maxrate={rate_kbps}:vbv-bufsize={rate_kbps // 2}"
        )
        context.options = {**_OPTIONS, "x264-params": parameters}
        self._context = context

    def encode(self, picture: Yuv420, key_frame: bool = False) -> Packet:
        """The packet of ``picture``.

        Args:
            key_frame: make it one; the first is in any case.
        """
        frame = scaled_frame(picture, self._size, self._scaler)
        stamp_frame(frame, self._stamp)
        frame.pts, frame.time_base = self._count, self._context.time_base
        frame.pict_type = PictureType.I if key_frame else PictureType.NONE
        self._count += 1
        (packet,) = self._context.encode(frame)
        return Packet(bytes(packet), packet.is_keyframe)
