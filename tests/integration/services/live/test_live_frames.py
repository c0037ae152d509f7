"""Live rendering in this process: the method's frames, one by one."""

from __future__ import annotations

from itertools import islice

import numpy as np
from live_client import (
    Rows,
)
from live_renderers import N_FRAMES, Stage, rendered_live

from services.renderer.lips import SegmentBlendshapes, SegmentFeatures
from services.renderer.moments import FACE_DELAY
from services.renderer.segment import segment_frames
from synctalk.backdrop import Backdrop, colour
from synctalk.live import FootageCache
from synctalk.media import Yuv420


def largest_difference(ours: Yuv420, theirs: Yuv420) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(ours, theirs, strict=True))


def test_frames_made_one_by_one_are_a_segments(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    for first in (0, 37):
        ours = rendered_live(stage, rows, first)
        assert len(ours) == N_FRAMES - first
        for mine, theirs in zip(ours, pictures[first:], strict=True):
            assert largest_difference(mine, theirs) <= 2  # sums of other lengths round otherwise


def test_so_they_are_with_an_expression_that_comes_two_frames_later(
    stage: Stage, rows: Rows, faces: Rows
) -> None:
    late = np.concatenate([faces[:1].repeat(FACE_DELAY, 0), faces[:-FACE_DELAY]])
    none, part = rows[:0], SegmentBlendshapes(late, faces[:0], faces[:0])
    whole = list(segment_frames(stage.avatar, SegmentFeatures(0, rows, none, none, part)))
    ours = rendered_live(stage, rows, 24, faces)
    # a segment's last frames do not see what comes after it
    for mine, theirs in list(zip(ours, whole[24:], strict=True))[:-FACE_DELAY]:
        assert largest_difference(mine, theirs) <= 2


def test_so_they_are_before_another_background(stage: Stage, rows: Rows) -> None:
    behind = Backdrop(stage.avatar.avatar.bundle, colour("#00c800"))
    none = rows[:0]
    segment = SegmentFeatures(0, rows[:12], none, none)
    whole = list(segment_frames(stage.avatar, segment, behind))
    ours = rendered_live(stage, rows[:12], 0, backdrop=True)
    assert max(map(largest_difference, ours, whole)) <= 2


def test_footage_is_walked_to_and_fro_within_bounded_memory(stage: Stage) -> None:
    person = stage.avatar.avatar
    cache, n = FootageCache(1), person.manifest.n_frames
    first = n - 60
    walk = cache.walk(person, first)
    steps = list(islice(walk, 130))  # forwards, the turn, backwards over several pieces
    expected = [i if i < n else 2 * (n - 1) - i for i in range(first, first + 130)]
    assert [still.number for still in steps] == expected
    again = {still.number: still for still in steps[:60]}
    for still in steps[60:]:
        if still.number in again:
            np.testing.assert_array_equal(still.source.y, again[still.number].source.y)
    assert cache.size_bytes <= 3 * 25 * steps[0].size_bytes
    walk.close()
    assert cache.size_bytes == 0
