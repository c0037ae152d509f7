"""Lips of a segment from encoder features, bit by bit as in a whole run.

A lip coefficient depends on the features around its frame, and matrix products round differently
for different numbers of rows. So lips are computed in blocks that lie the same in every run, each
from exactly the rows that it depends on; the segment brings those beyond its ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import CHUNK, Avatar
from synctalk.errors import InputError
from synctalk.face import ARKIT_NAMES
from synctalk.face_sync import LAYOUT
from synctalk.face_sync.lip_head import FUTURE_FRAMES, REACH_BACK

BEFORE, AFTER = 40, 4
"""Rows that a segment brings along, as renderer.proto says."""
PAST, FUTURE = REACH_BACK, FUTURE_FRAMES
"""Rows before and after its own that a frame's lips depend on."""

FloatRows = NDArray[np.float32]


@dataclass(frozen=True)
class SegmentBlendshapes:
    """Blendshapes of a segment and of the frames around it, each [., 52].

    Args:
        required: refuse an avatar that cannot follow them.
    """

    rows: FloatRows
    before: FloatRows
    after: FloatRows
    required: bool = False


@dataclass(frozen=True)
class SegmentFeatures:
    """Encoder features of a segment.

    Args:
        first: index of its first frame in the whole video.
        rows: [T, D] of its frames.
        before, after: [<= 40, D], [<= 4, D] of the frames around it.
        blendshapes: of the same frames; None keeps the avatar's own expression.

    Raises:
        InputError: shapes are wrong, the segment is not aligned, or context is missing.
    """

    first: int
    rows: FloatRows
    before: FloatRows
    after: FloatRows
    blendshapes: SegmentBlendshapes | None = None

    def __post_init__(self) -> None:
        widths = {part.shape[1] for part in (self.rows, self.before, self.after) if len(part)}
        if widths != {LAYOUT.dim} or not len(self.rows):
            raise InputError(
                f"{len(self.rows)} frames with features of {sorted(widths)} values, "
                f"expected {LAYOUT.dim}",
                reason="FEATURE_SHAPE",
                remedy="Send the features of ExpressionService unchanged.",
            )
        if self.first % CHUNK or (len(self.after) and len(self.rows) % CHUNK):
            raise InputError(
                f"a segment of frames {self.first} to {self.first + len(self.rows) - 1}",
                reason="SEGMENT_NOT_ALIGNED",
                remedy=f"Begin and end segments at multiples of {CHUNK} frames.",
            )
        if len(self.before) != min(self.first, BEFORE):
            raise InputError(
                f"{len(self.before)} rows of context before frame {self.first}",
                reason="CONTEXT_MISSING",
                remedy=f"Send the {BEFORE} frames before a segment, or all there are.",
            )
        self._check_blendshapes()

    def _check_blendshapes(self) -> None:
        if (face := self.blendshapes) is None:
            return
        pairs = ((face.rows, self.rows), (face.before, self.before), (face.after, self.after))
        if any(part.shape != (len(own), len(ARKIT_NAMES)) for part, own in pairs):
            raise InputError(
                f"blendshapes of {face.rows.shape} for {len(self.rows)} frames",
                reason="BLENDSHAPES",
                remedy=f"Send {len(ARKIT_NAMES)} blendshapes with every frame and its context, "
                "or with none.",
            )


def segment_lips(avatar: Avatar, features: SegmentFeatures) -> FloatRows:
    """Lip coefficients [T, K]."""
    rows = np.concatenate([features.before, features.rows, features.after])
    start = len(features.before)
    stop = start + len(features.rows)
    blocks = []
    for begin in range(start, stop, CHUNK):
        end = min(begin + CHUNK, stop)
        low = max(0, begin - PAST)
        lips = avatar.lips_from_audio(rows[low : end + FUTURE])
        blocks.append(lips[begin - low : end - low])
    return np.concatenate(blocks)
