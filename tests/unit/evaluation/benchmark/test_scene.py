"""Which frames other people's speech is scored over."""

from __future__ import annotations

import pytest

from synctalk.benchmark.scene import SEGMENT_FRAMES, dubbed_part


@pytest.mark.parametrize(
    ("played", "held_out", "wanted"),
    [
        (range(500), range(455, 500), range(455, 500)),  # one shot
        (range(176, 702), range(1618, 1779), range(176, 176 + SEGMENT_FRAMES)),  # tested on another
        (range(100, 480), range(455, 500), range(455, 480)),  # a second of it is enough
        (range(100, 470), range(455, 500), range(100, 350)),  # less is not
        (range(9000), range(8000, 9000), range(8000, 8000 + SEGMENT_FRAMES)),
        (range(10), range(9, 10), range(10)),  # all that there is
        (range(0), range(9, 10), range(0)),
    ],
)
def test_speech_is_scored_over_what_dubbing_plays(
    played: range, held_out: range, wanted: range
) -> None:
    assert dubbed_part(played, held_out) == wanted
