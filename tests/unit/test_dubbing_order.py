"""The order in which the source plays on under a dub."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from synctalk.dubbing import play_order
from synctalk.media import VideoWriter
from synctalk.media.cuts import longest_shot
from synctalk.media.ordered import ordered_frames


def test_short_audio_plays_the_shot_forwards() -> None:
    order = play_order(range(20, 100), 30)
    assert order.tolist() == list(range(20, 50))


@pytest.mark.parametrize("length", [81, 160, 1000])
def test_long_audio_goes_to_and_fro_without_a_jump(length: int) -> None:
    order = play_order(range(20, 100), length)
    assert len(order) == length
    assert np.abs(np.diff(order)).max() == 1
    assert order.min() == 20
    assert order.max() == 99


@pytest.mark.parametrize(
    ("cuts", "lost", "played"),
    [
        ((20,), (), range(20, 100)),
        ((20,), (50,), range(51, 100)),
        ((60,), (10, 11, 12), range(13, 60)),  # the longest shot may not have the longest run
        ((50,), (0, 99), range(1, 50)),  # the first of equals
        ((20,), (20,), range(21, 100)),
        ((), range(1, 100), range(1)),
        ((), range(100), range(0)),
    ],
)
def test_what_is_played_has_neither_a_cut_nor_a_frame_without_a_face(
    cuts: tuple[int, ...], lost: Collection[int], played: range
) -> None:
    assert longest_shot(100, cuts, lost) == played


def test_one_frame_of_footage_stands_still() -> None:
    assert play_order(range(1), 5).tolist() == [0] * 5


def test_frames_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, 32, 32) as writer:
        for i in range(60):
            writer.write(np.full((32, 32, 3), 4 * i, np.uint8))
    order = play_order(range(60), 150)
    shown = [
        round((float(frame.y.mean()) - 16) * 255 / 219 / 4) for frame in ordered_frames(path, order)
    ]
    assert shown == order.tolist()
