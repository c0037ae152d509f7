"""One segment from features to a file: stateless, so that any replica can do any segment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.renderer.encoding import SegmentEncoder
from services.renderer.lips import SegmentFeatures, segment_lips
from services.renderer.loading import LoadedAvatar
from synctalk.avatar import Driving
from synctalk.bundle import BUNDLE_PLATES, SOURCE, BundleManifest
from synctalk.dubbing import play_order
from synctalk.errors import Cancelled, InputError
from synctalk.media import Yuv420
from synctalk.media.ordered import ordered_frames

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


def segment_frames(avatar: LoadedAvatar, features: SegmentFeatures) -> Iterator[Yuv420]:
    """Its frames at the source's resolution, those of a whole run bit by bit."""
    person, manifest = avatar.avatar, avatar.avatar.manifest
    end = features.first + len(features.rows)
    order = play_order(manifest.n_frames, manifest.cuts, end)[features.first :]
    moves = person.source[order]
    driving = Driving(segment_lips(person, features), moves.expression, moves.R, moves.t)
    crops = person.render_yuv(driving, ordered_frames(avatar.folder / BUNDLE_PLATES, order))
    sources = ordered_frames(avatar.folder / SOURCE, order)
    for index, crop, source in zip(order, crops, sources, strict=True):
        person.blend_into(source, crop, person.source_mesh[index])
        yield source


def render_segment(
    avatar: LoadedAvatar,
    features: SegmentFeatures,
    size: tuple[int, int],
    path: Path,
    stopping: Callable[[], bool],
) -> RenderedSegment:
    """Render and encode to ``path``.

    Raises:
        Cancelled: ``stopping`` said so between two frames.
    """
    began_s, encode_s = time.perf_counter(), 0.0
    with SegmentEncoder(path, *size, avatar.avatar.manifest.fps) as encoder:
        for frame in segment_frames(avatar, features):
            if stopping():
                raise Cancelled("the caller has gone")
            lap_s = time.perf_counter()
            encoder.write(frame)
            encode_s += time.perf_counter() - lap_s
    return RenderedSegment(encoder.frame_count, time.perf_counter() - began_s, encode_s)


def _even(length: float) -> int:
    return 2 * round(length / 2)
