"""A few pictures of a video, spread over its length, as normalising would write them."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
from clips import clicks, make_video, regular

from synctalk.errors import MediaError
from synctalk.media import MediaLimits, VideoReader, normalise, sample_frames
from synctalk.media.samples import _decoded

SOUND = clicks((0.2,), 8.0, 48000)


def numbers(path: Path, count: int, **settings: object) -> list[int]:
    """Number of the frame that each sample shows, by its brightness."""
    samples = sample_frames(path, count, **settings)  # type: ignore[arg-type]
    white = [sample.image[-4, -4].mean() for sample in samples]
    return [round(float(v) * 219 / 255 + 16) - 20 for v in white]


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_samples_are_spread_over_the_whole_video(tmp_path: Path, container: str) -> None:
    times = regular(200, 25)
    make_video(tmp_path / "clip", times, wav=SOUND, container=container)
    assert numbers(tmp_path / "clip", 4) == pytest.approx([25, 75, 125, 175], abs=1)


def test_long_videos_are_sought_and_short_ones_decoded_alike(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", regular(200, 5), wav=SOUND)  # 40 s
    assert numbers(clip, 5) == pytest.approx([20, 60, 100, 140, 180], abs=1)


def test_time_counts_from_the_first_frame(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", regular(100, 25, start_s=3.0), wav=SOUND)
    assert [s.time_s for s in sample_frames(clip, 2)] == pytest.approx([1.0, 3.0], abs=0.05)


def test_samples_are_the_frames_that_normalising_writes(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", regular(50, 25), wav=SOUND, size=(81, 47), rotation=90)
    normalise(clip, tmp_path / "frames.mp4", tmp_path / "audio.wav")
    frames = VideoReader(tmp_path / "frames.mp4")
    for sample in sample_frames(clip, 3):
        assert np.array_equal(sample.image, frames.read(round(sample.time_s * 25)))


def test_a_video_cut_short_gives_the_samples_that_are_there(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", regular(200, 25), wav=SOUND, fast_start=True)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    shown = numbers(clip, 8)
    assert 1 <= len(shown) < 8
    assert shown == sorted(shown)


def test_what_is_not_a_video_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "clip.mp4"
    text.write_text("no video" * 100)
    with pytest.raises(MediaError) as caught:
        sample_frames(text, 3)
    assert caught.value.reason == "NOT_MEDIA"


def test_8k_is_refused_before_a_picture_is_decoded(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", regular(2, 25), wav=SOUND, size=(640, 480))
    with pytest.raises(MediaError) as caught:
        sample_frames(clip, 3, limits=MediaLimits(max_side_px=512))
    assert caught.value.reason == "PICTURE_TOO_LARGE"


@pytest.mark.parametrize(
    ("aspect", "reason"),
    [(Fraction(1, 64), "PICTURE_TOO_SMALL"), (Fraction(10), "PICTURE_TOO_LARGE")],
)
def test_pixels_far_from_square_are_refused(tmp_path: Path, aspect: Fraction, reason: str) -> None:
    clip = make_video(tmp_path / "clip.mp4", regular(5, 25), aspect=aspect)
    with pytest.raises(MediaError) as caught:
        sample_frames(clip, 3, limits=MediaLimits(max_side_px=512))
    assert caught.value.reason == reason


def test_memory_that_ran_out_does_not_pass_for_damage() -> None:
    packet, container = Mock(), Mock()
    packet.decode.side_effect = av.error.MemoryError(errno.ENOMEM, "of this process")
    container.demux.return_value = [packet]
    with pytest.raises(av.error.MemoryError):
        next(_decoded(container, Mock()))
