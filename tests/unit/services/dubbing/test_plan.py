"""Where a dub is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.dubbing.plan import Segment, VoicedSpan, plan_segments


@st.composite
def speech(draw: st.DrawFn) -> tuple[int, list[VoicedSpan]]:
    lengths = draw(st.lists(st.integers(1, 400), min_size=1, max_size=30))
    edges = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    return edges[-1], [VoicedSpan(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]


@given(speech(), st.integers(12, 185).map(lambda n: 4 * n))
def test_segments_cover_every_frame_once_and_are_aligned(
    sound: tuple[int, list[VoicedSpan]], target: int
) -> None:
    n_frames, voiced = sound
    segments = plan_segments(n_frames, voiced, target)
    assert segments[0].first == 0
    assert segments[-1].stop == n_frames
    assert all(a.stop == b.first for a, b in pairwise(segments))
    assert all(segment.first % 4 == 0 for segment in segments)
    assert all(segment.count <= target * 5 / 3 + 2 for segment in segments)
    assert len(segments) == 1 or min(segment.count for segment in segments) >= target / 3 - 2


def test_a_cut_lies_in_the_middle_of_the_pause_nearest_to_the_target() -> None:
    voiced = [VoicedSpan(0, 60), VoicedSpan(68, 150), VoicedSpan(162, 300)]
    assert plan_segments(300, voiced, 148)[0] == Segment(0, 156)


def test_speech_without_a_pause_is_cut_at_the_target() -> None:
    assert plan_segments(1000, [VoicedSpan(0, 1000)], 148)[0] == Segment(0, 148)


def test_a_short_dub_is_one_segment() -> None:
    assert plan_segments(7, [], 148) == (Segment(0, 7),)
