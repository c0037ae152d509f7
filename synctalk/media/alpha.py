"""Video with an alpha channel: VP9 in WebM for browsers, ProRes 4444 in MOV for editing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import av
from av.video.reformatter import VideoReformatter

from synctalk.media.planes import EXACT_SCALING, UInt8Array, Yuv420, plane


@dataclass(frozen=True)
class AlphaCodec:
    """How such video is encoded.

    Args:
        container: name of the muxer; also what the file's name ends with.
        codec: name of the encoder; decoder: of one that gives the alpha channel back.
        pix_fmt: what the encoder takes.
        options: of the encoder. One thread: the output must not depend on the machine.
        sound: name of the encoder of the sound beside it.
    """

    container: str
    codec: str
    decoder: str
    pix_fmt: str
    sound: str
    options: Mapping[str, str] = field(hash=False)


FF_QP2LAMBDA = 118
"""FFmpeg's unit of quality; one quantiser for all frames saves ProRes its search for the best."""

VP9_ALPHA = AlphaCodec(
    "webm", "libvpx-vp9", "libvpx-vp9", "yuva420p", "libopus",
    {"deadline": "realtime", "cpu-used": "6", "crf": "22", "b": "0", "threads": "1",
     "auto-alt-ref": "0", "lag-in-frames": "0"},
)  # fmt: skip
PRORES_4444 = AlphaCodec(
    "mov", "prores_ks", "prores", "yuva444p10le", "pcm_s16le",
    {"profile": "4444", "alpha_bits": "8", "vendor": "apl0", "threads": "1",
     "flags": "+qscale", "global_quality": str(2 * FF_QP2LAMBDA)},
)  # fmt: skip
BY_CONTAINER = {codec.container: codec for codec in (VP9_ALPHA, PRORES_4444)}


class AlphaFrames:
    """Makes frames of ``pix_fmt`` for an encoder, scaled to ``width`` x ``height``."""

    def __init__(self, pix_fmt: str, width: int, height: int) -> None:
        self._pix_fmt, self._width, self._height = pix_fmt, width, height
        self._converter = VideoReformatter()

    def __call__(self, picture: Yuv420, matte: UInt8Array) -> av.VideoFrame:
        """A frame of straight colours ``picture`` [H,W] with ``matte`` [H,W] as its alpha."""
        height, width = matte.shape
        frame = av.VideoFrame(width, height, "yuva420p")
        for i, values in enumerate((*picture, matte)):
            plane(frame, i)[:] = values
        frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
        frame = self._converter.reformat(
            frame, self._width, self._height, self._pix_fmt, interpolation=EXACT_SCALING, threads=1
        )
        frame.colorspace = frame.color_primaries = frame.color_trc = frame.color_range = 1
        return frame
