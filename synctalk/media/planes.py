"""One picture as planar YUV 4:2:0, and its way to and from RGB.

Everything inside the project is BT.709, limited range. Pictures of unknown colour matrix count
as BT.709 so that their samples are kept as they are. The conversion flags matter: without
accurate rounding and full chroma, swscale darkens a picture by one to two levels.
"""

from __future__ import annotations

from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

UInt8Array = NDArray[np.uint8]

EXACT = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
EXACT_SCALING = EXACT & ~Interpolation.BILINEAR | Interpolation.BICUBIC

# AVColorSpace (the tag of a frame) -> the matrix that swscale shall use.
_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}


class Yuv420(NamedTuple):
    """Planar 4:2:0 picture of even size, BT.709 limited range.

    Args:
        y: [H, W] uint8 luma, 16..235.
        u: [H/2, W/2] uint8 blue difference, 16..240.
        v: [H/2, W/2] uint8 red difference, 16..240.
    """

    y: UInt8Array
    u: UInt8Array
    v: UInt8Array


def plane(frame: av.VideoFrame, index: int) -> UInt8Array:
    """Writable view [h, w] of plane ``index`` of an 8-bit planar frame, without its padding."""
    raw = frame.planes[index]
    rows = np.frombuffer(raw, np.uint8)[: raw.line_size * raw.height]  # type: ignore[call-overload]
    view: UInt8Array = rows.reshape(raw.height, raw.line_size)[:, : raw.width]
    return view


def yuv_from_frame(frame: av.VideoFrame) -> Yuv420:
    """Copy the planes of a decoded picture, converting it first where it is not yuv420p BT.709."""
    if not is_plain(frame):
        frame = convert_to_yuv(frame, frame.width, frame.height)
    # Never a view, even of planes without padding: the decoder predicts later frames from them.
    return Yuv420(*(plane(frame, i).copy() for i in range(3)))


def frame_from_yuv(picture: Yuv420) -> av.VideoFrame:
    """Copy planes into a frame for an encoder."""
    height, width = picture.y.shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for i in range(3):
        plane(frame, i)[:] = picture[i]
    return frame


def is_plain(frame: av.VideoFrame) -> bool:
    """True where the samples are yuv420p, BT.709 (or unknown) and limited (or unknown) range."""
    return (
        frame.format.name == "yuv420p"
        and frame.colorspace in (1, 2)
        and frame.color_range in (0, 1)
    )


def convert_to_yuv(
    frame: av.VideoFrame,
    width: int,
    height: int,
    reformatter: VideoReformatter | None = None,
) -> av.VideoFrame:
    """Scale to ``width`` × ``height`` and convert to yuv420p BT.709 limited range."""
    scaled = (width, height) != (frame.width, frame.height)
    return (reformatter or VideoReformatter()).reformat(
        frame,
        width=width,
        height=height,
        format="yuv420p",
        src_colorspace=_MATRIX.get(frame.colorspace, Colorspace.ITU709),
        dst_colorspace=Colorspace.ITU709,
        src_color_range=_source_range(frame),
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT_SCALING if scaled else EXACT,
        threads=1,
    )


def frame_to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter | None = None) -> UInt8Array:
    """Decoded picture as contiguous RGB [H, W, 3] uint8."""
    # To planes: swscale's exact way to packed pixels takes three times as long for the same bits.
    planar = (reformatter or VideoReformatter()).reformat(
        frame,
        format="gbrp",
        src_colorspace=_MATRIX.get(frame.colorspace, Colorspace.ITU709),
        dst_colorspace=Colorspace.ITU709,
        src_color_range=_source_range(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
        threads=1,
    )
    green, blue, red = (plane(planar, i) for i in range(3))
    return np.asarray(cv2.merge([red, green, blue]), np.uint8)


def frame_from_rgb(image: UInt8Array, reformatter: VideoReformatter | None = None) -> av.VideoFrame:
    """RGB [H, W, 3] uint8 as a yuv420p BT.709 limited-range frame."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    return (reformatter or VideoReformatter()).reformat(
        frame,
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT,
        threads=1,
    )


def rgb_to_yuv(image: UInt8Array) -> Yuv420:
    """RGB [H, W, 3] uint8 of even size to planes."""
    frame = frame_from_rgb(image)
    y, u, v = (np.ascontiguousarray(plane(frame, i)) for i in range(3))
    return Yuv420(y, u, v)


def yuv_to_rgb(picture: Yuv420) -> UInt8Array:
    """Planes to RGB [H, W, 3] uint8."""
    return frame_to_rgb(frame_from_yuv(picture))


def _source_range(frame: av.VideoFrame) -> ColorRange:
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    return ColorRange.JPEG if full or frame.format.is_rgb else ColorRange.MPEG
