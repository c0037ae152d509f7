"""Where a dub is cut into segments: at silences, where a seam could be seen least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

ALIGN = 4  # renderer.proto asks for multiples of so many frames


@dataclass(frozen=True)
class Segment:
    """``count`` frames from ``first`` on."""

    first: int
    count: int

    @property
    def stop(self) -> int:
        """First frame after it."""
        return self.first + self.count


@dataclass(frozen=True)
class VoicedSpan:
    """A voice is heard in the frames from ``first`` to before ``stop``."""

    first: int
    stop: int


def plan_segments(
    n_frames: int, voiced: Sequence[VoicedSpan], target_frames: int
) -> tuple[Segment, ...]:
    """Segments that cover the video, each a third to five thirds of ``target_frames`` long.

    Every cut lies in the middle of a pause where there is one in reach; of several, the one
    nearest to the target is taken.
    """
    least = _aligned(target_frames / 3)
    most = _aligned(target_frames * 5 / 3)
    pauses = [_aligned((a.stop + b.first) / 2) for a, b in pairwise(voiced)]
    cuts = [0]
    while n_frames - cuts[-1] > most:
        wanted = cuts[-1] + _aligned(target_frames)
        latest = min(cuts[-1] + most, n_frames - least)
        reachable = [cut for cut in pauses if cuts[-1] + least <= cut <= latest]
        cuts.append(min(reachable, key=lambda cut: abs(cut - wanted), default=wanted))
    return tuple(Segment(a, b - a) for a, b in pairwise([*cuts, n_frames]))


def _aligned(frame: float) -> int:
    return ALIGN * round(frame / ALIGN)
