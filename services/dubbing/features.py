"""Features of a whole dub on disk: an hour has 90,000 rows, of which a segment reads a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.dubbing.plan import Segment, VoicedSpan

BEFORE, AFTER = 40, 4
"""Frames of context that renderer.proto asks for."""

FloatRows = NDArray[np.float32]


@dataclass(frozen=True)
class SegmentRows:
    """Rows [T, D] of a segment and of the frames around it.

    Args:
        first: the segment's first frame.
        rows, before, after: lip features, then blendshapes if there are any.
        lip_dim: how many values of a row are lip features.
    """

    first: int
    rows: FloatRows
    before: FloatRows
    after: FloatRows
    lip_dim: int


@dataclass
class FeatureSpool:
    """Rows as they come, and where a voice is heard.

    Args:
        path: the file; it is written anew.
        encoder_version, lip_dim: as the header of the stream says.
        n_blendshapes: that follow the lip features in a row.
    """

    path: Path
    encoder_version: str
    lip_dim: int
    n_blendshapes: int = 0
    n_frames: int = 0
    _changes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._file = self.path.open("w+b")

    @property
    def dim(self) -> int:
        """Values of a row."""
        return self.lip_dim + self.n_blendshapes

    def append(self, lip: Sequence[float], blendshapes: Sequence[float] = ()) -> None:
        """Add the row of the next frame.

        Raises:
            ValueError: of another length than the others.
        """
        row = np.array([*lip, *blendshapes], np.float32)
        if len(row) != self.dim:
            raise ValueError(f"a row of {len(row)} values, expected {self.dim}")
        self._file.write(row.tobytes())
        self.n_frames += 1

    def voice(self, frame: int) -> None:
        """A voice begins, or the one that spoke ends, at ``frame``."""
        self._changes.append(frame)

    @property
    def voiced(self) -> tuple[VoicedSpan, ...]:
        """Where a voice is heard."""
        edges = [*self._changes, self.n_frames]
        return tuple(VoicedSpan(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False))

    def read(self, segment: Segment) -> SegmentRows:
        """A segment with its context."""
        before = max(0, segment.first - BEFORE)
        after = min(self.n_frames, segment.stop + AFTER)
        self._file.flush()
        with self.path.open("rb") as file:
            file.seek(before * self.dim * 4)
            flat = np.fromfile(file, np.float32, (after - before) * self.dim)
        rows = flat.reshape(-1, self.dim)
        begin, end = segment.first - before, segment.stop - before
        return SegmentRows(segment.first, rows[begin:end], rows[:begin], rows[end:], self.lip_dim)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
