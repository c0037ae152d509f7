"""One segment from features to a file: stateless, so that any replica can do any segment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.renderer.encoding import SegmentEncoder
from services.renderer.lips import SegmentFeatures, segment_lips
from services.renderer.loading import LoadedAvatar
from synctalk.avatar import Avatar, Driving
from synctalk.backdrop import Backdrop, Order
from synctalk.bundle import BundleManifest
from synctalk.dubbing import cutouts, dubbed_frames, play_order
from synctalk.errors import Cancelled, InputError
from synctalk.media import Yuv420
from synctalk.media.alpha import AlphaCodec
from synctalk.provenance import Stamp
from synctalk.render.compositing import Cutout

MAX_SIDE_PX = 4096


@dataclass(frozen=True)
class RenderedSegment:
    """What a segment cost, seconds."""

    frame_count: int
    render_s: float
    encode_s: float


def output_size(manifest: BundleManifest, width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height of the video; 0 means the avatar's own, or what keeps its shape.

    Raises:
        InputError: odd, negative, too large, or of another shape than the avatar's footage.
    """
    own_width, own_height = manifest.source_width, manifest.source_height
    width = width_px or (_even(own_width * height_px / own_height) if height_px else own_width)
    height = height_px or (_even(own_height * width_px / own_width) if width_px else own_height)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX) or width % 2 or height % 2:
        raise InputError(
            f"video_options asks for {width_px} x {height_px} px",
            reason="VIDEO_SIZE",
            remedy=f"Ask for even sizes of at most {MAX_SIDE_PX} px.",
        )
    if abs(width * own_height - height * own_width) > 2 * max(own_width, own_height):
        raise InputError(
            f"{width} x {height} px is of another shape than the avatar's "
            f"{own_width} x {own_height}",
            reason="VIDEO_SHAPE",
            remedy="Give only the width or only the height, and the other follows.",
        )
    return width, height


@dataclass(frozen=True)
class Look:
    """How a segment is to look.

    Args:
        width, height: px, even.
        backdrop: what stands behind the person; None: what was filmed.
        alpha: how video with an alpha channel is stored; goes with a transparent backdrop.
        stamp: finishes every frame, see :class:`SegmentEncoder`.
    """

    width: int
    height: int
    backdrop: Backdrop | None = None
    alpha: AlphaCodec | None = None
    stamp: Stamp | None = None


def segment_frames(
    avatar: LoadedAvatar, features: SegmentFeatures, backdrop: Backdrop | None = None
) -> Iterator[Yuv420]:
    """Its frames at the source's resolution, those of a whole run bit by bit."""
    yield from dubbed_frames(avatar.avatar, *_played(avatar.avatar, features), backdrop)


def segment_cutouts(
    avatar: LoadedAvatar, features: SegmentFeatures, backdrop: Backdrop
) -> Iterator[Cutout]:
    """As :func:`segment_frames`, before a transparent backdrop; colours are straight."""
    yield from cutouts(avatar.avatar, *_played(avatar.avatar, features), backdrop)


def _played(person: Avatar, features: SegmentFeatures) -> tuple[Driving, Order]:
    order = play_order(person.manifest.played, len(features.rows), features.first)
    moves = person.source[order]
    upper, face = moves.expression, features.blendshapes
    if face is not None and (face.required or person.has_expression):
        upper = person.expression.coefficients(order, face.rows, face.before, face.after)
    return Driving(segment_lips(person, features), upper, moves.R, moves.t), order


def render_segment(
    avatar: LoadedAvatar,
    features: SegmentFeatures,
    look: Look,
    path: Path,
    stopping: Callable[[], bool],
) -> RenderedSegment:
    """Render and encode to ``path``.

    Raises:
        Cancelled: ``stopping`` said so between two frames.
    """
    began_s, encode_s = time.perf_counter(), 0.0
    fps = avatar.avatar.manifest.fps
    with SegmentEncoder(path, look.width, look.height, fps, look.alpha, look.stamp) as encoder:
        for write in _writes(avatar, features, look, encoder):
            if stopping():
                raise Cancelled("the caller has gone")
            lap_s = time.perf_counter()
            write()
            encode_s += time.perf_counter() - lap_s
    return RenderedSegment(encoder.frame_count, time.perf_counter() - began_s, encode_s)


def _writes(
    avatar: LoadedAvatar, features: SegmentFeatures, look: Look, encoder: SegmentEncoder
) -> Iterator[Callable[[], None]]:
    """A call for each frame that is ready to be encoded."""
    if look.alpha is not None:
        assert look.backdrop is not None
        for cut in segment_cutouts(avatar, features, look.backdrop):
            yield partial(encoder.write_cutout, cut)
    else:
        for frame in segment_frames(avatar, features, look.backdrop):
            yield partial(encoder.write, frame)


def _even(length: float) -> int:
    return 2 * round(length / 2)
