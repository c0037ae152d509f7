"""Clips joined to one video: a frame's colour and its sound say where it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synctalk.benchmark.footage import clips_of, join_clips
from synctalk.errors import InputError
from synctalk.media import VideoReader, VideoWriter, read_audio
from synctalk.progress import ignore_progress

RATE = 16_000


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three clips of a second: ever brighter, ever louder."""
    for i in range(3):
        sound = (0.2 * (i + 1) * np.sin(np.arange(RATE) / 4)).astype(np.float32)
        with VideoWriter(tmp_path / f"{i}.mp4", 64, 48, audio=sound, sample_rate=RATE) as writer:
            for _ in range(25):
                writer.write(np.full((48, 64, 3), 60 * (i + 1), np.uint8))
    return tmp_path


def test_clips_follow_each_other_with_their_sound(clips: Path) -> None:
    out = clips / "joined" / "all.mp4"
    join_clips(clips_of(str(clips / "*.mp4")), out, None, ignore_progress)
    with VideoReader(out) as reader:
        seen = np.array([frame.mean() for frame in reader.iter_rgb()])
    assert len(seen) == 75
    assert seen.reshape(3, 25).mean(1) == pytest.approx([60, 120, 180], abs=4)
    wav = read_audio(out, RATE)
    loud = [np.abs(wav[i * RATE + 4000 : i * RATE + 12_000]).max() for i in range(3)]
    assert loud == pytest.approx([0.2, 0.4, 0.6], abs=0.06)


def test_no_more_clips_than_are_needed(clips: Path) -> None:
    out = clips / "joined" / "two.mp4"
    join_clips(clips_of(str(clips / "*.mp4")), out, 1.5, ignore_progress)
    with VideoReader(out) as reader:
        assert sum(1 for _ in reader.iter_rgb()) == 50


def test_a_pattern_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such files"):
        clips_of(str(tmp_path / "*.mpg"))
