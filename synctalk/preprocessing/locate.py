"""Where the head is, told from a few pictures of the video before any long work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synctalk.dataset import FPS, Crop
from synctalk.errors import FootageError
from synctalk.face import FaceTrack, FaceTracker
from synctalk.media import FrameSample
from synctalk.quality import QualityThresholds

FACE_HEIGHTS_PER_CROP = 3.2
MIN_SIDE_PX = 256


def locate_head(samples: Sequence[FrameSample], tracker: FaceTracker, source: Path) -> Crop:
    """The square around the head: the whole frame when that is square.

    Args:
        samples: pictures spread over the video.
        tracker: finds the face in each.
        source: for messages.

    Raises:
        FootageError: ``NO_FRAMES`` when there is no picture, ``NO_FACE`` when none shows a face,
            ``SEVERAL_FACES`` when most show more than one; the frames looked at are named.
    """
    if not samples:
        raise undecodable_frames(source)
    cuts = list(range(1, len(samples)))  # they are far apart: track each on its own
    track = tracker.track((sample.image for sample in samples), cuts=cuts)
    _refuse(track, samples, source)
    width, height = track.size
    if width == height:
        return Crop(0, 0, width)
    points = track.landmarks68[track.found]
    face_height = float(np.median(np.ptp(points[..., 1], axis=1)))
    side = int(min(width, height, max(FACE_HEIGHTS_PER_CROP * face_height, MIN_SIDE_PX)))
    side -= side % 2
    x, y = np.median(points.mean(1), axis=0)
    left = int(np.clip(x - side / 2, 0, width - side)) // 2 * 2
    top = int(np.clip(y - 0.45 * side, 0, height - side)) // 2 * 2
    return Crop(left, top, side)


def undecodable_frames(source: Path) -> FootageError:
    """The error for a video of which no picture can be had."""
    return FootageError(
        f"{source}: not one of its frames can be decoded.",
        reason="NO_FRAMES",
        remedy="The file is damaged or was cut off: copy or upload it again.",
    )


def _refuse(track: FaceTrack, samples: Sequence[FrameSample], source: Path) -> None:
    if not track.found.any():
        raise FootageError(
            f"{source}: no face in any of {len(samples)} frames looked at ({_named(samples)}).",
            reason="NO_FACE",
            remedy="Film one person from the front, well lit, face at least 100 px high.",
        )
    several = [s for s, n in zip(samples, track.n_faces, strict=True) if n > 1]
    if len(several) > QualityThresholds().refuse_several_share * len(samples):
        raise FootageError(
            f"{source}: several faces in {len(several)} of {len(samples)} frames looked at "
            f"({_named(several)}).",
            reason="SEVERAL_FACES",
            remedy="Film one person alone, without portraits or mirrors behind.",
        )


def _named(samples: Sequence[FrameSample]) -> str:
    """Numbers of the frames at 25 a second, as all reports count them."""
    return ", ".join(str(round(sample.time_s * FPS)) for sample in samples)
