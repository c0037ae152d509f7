"""What is written is what is read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import click_times, clicks

from synctalk.errors import MediaError
from synctalk.media import (
    VideoPreset,
    VideoReader,
    VideoWriter,
    Yuv420,
    read_audio,
    rgb_to_yuv,
    yuv_to_rgb,
)

RNG = np.random.default_rng(7)


def smooth_picture(width: int, height: int) -> np.ndarray:
    """Colourful, without detail that 4:2:0 cannot hold."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = [40 + 170 * x, 40 + 170 * y, 40 + 85 * (np.sin(6 * x + 4 * y) + 1)]
    return np.stack(channels, -1).round().astype(np.uint8)


def random_planes(width: int = 64, height: int = 48) -> Yuv420:
    y = RNG.integers(16, 236, (height, width), np.uint8)
    u, v = RNG.integers(16, 241, (2, height // 2, width // 2), np.uint8)
    return Yuv420(y, u, v)


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 0), (16, 128, 128)),
        ((255, 0, 0), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (32, 240, 118)),
    ],
)
def test_colours_follow_bt709_limited_range(
    rgb: tuple[int, int, int], yuv: tuple[int, int, int]
) -> None:
    image = np.full((16, 16, 3), rgb, np.uint8)
    planes = rgb_to_yuv(image)
    assert [int(p[4, 4]) for p in planes] == pytest.approx(yuv, abs=1)
    assert yuv_to_rgb(planes)[8, 8].tolist() == pytest.approx(rgb, abs=2)


def test_rgb_round_trip_is_unbiased_and_within_a_level() -> None:
    image = smooth_picture(128, 96)
    error = yuv_to_rgb(rgb_to_yuv(image)).astype(float) - image
    assert abs(error.mean()) < 0.05
    assert np.abs(error).mean() < 0.7
    assert np.abs(error).max() <= 5


@pytest.mark.parametrize(("width", "height"), [(64, 48), (90, 66), (360, 288), (524, 524)])
def test_lossless_keeps_every_sample(tmp_path: Path, width: int, height: int) -> None:
    pictures = [random_planes(width, height) for _ in range(3)]
    with VideoWriter(tmp_path / "a.mp4", width, height, preset=VideoPreset.LOSSLESS) as writer:
        for picture in pictures:
            writer.write_yuv(picture)
    read = list(VideoReader(tmp_path / "a.mp4").iter_yuv())
    assert len(read) == 3
    assert all(
        np.array_equal(a, b)
        for p, q in zip(pictures, read, strict=True)
        for a, b in zip(p, q, strict=True)
    )


def test_grey_lossless_keeps_every_value(tmp_path: Path) -> None:
    masks = RNG.integers(0, 256, (5, 50, 62), np.uint8)
    with VideoWriter(tmp_path / "m.mp4", 62, 50, preset=VideoPreset.GREY_LOSSLESS) as writer:
        for mask in masks:
            writer.write_grey(mask)
    reader = VideoReader(tmp_path / "m.mp4")
    assert np.array_equal(np.stack(list(reader.iter_grey())), masks)
    assert np.array_equal(reader.read_grey(3), masks[3])


def test_delivery_is_close_tagged_and_plays_from_the_start(tmp_path: Path) -> None:
    image = smooth_picture(128, 96)
    path = tmp_path / "d.mp4"
    with VideoWriter(path, 128, 96) as writer:
        for _ in range(10):
            writer.write(image)
    error = VideoReader(path).read(5).astype(float) - image
    assert abs(error.mean()) < 0.5
    assert np.sqrt((error**2).mean()) < 3
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.colorspace, context.color_range) == ("yuv420p", 1, 1)
        assert container.streams.video[0].average_rate == 25
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("preset", [VideoPreset.LOSSLESS, VideoPreset.DELIVERY])
def test_any_frame_can_be_read_in_any_order(tmp_path: Path, preset: VideoPreset) -> None:
    path = tmp_path / "n.mp4"
    with VideoWriter(path, 64, 48, preset=preset) as writer:
        for k in range(130):
            level = np.full((48, 64), 20 + k, np.uint8)
            writer.write_yuv(Yuv420(level, *np.full((2, 24, 32), 128, np.uint8)))
    reader = VideoReader(path)
    assert (len(reader), reader.width, reader.height, reader.fps) == (130, 64, 48, 25.0)
    for index in (129, 0, 60, 61, 61, 25, 24, 128, 99):
        assert int(reader.read_grey(index)[0, 0]) == pytest.approx(20 + index, abs=1)
    part = [int(g[0, 0]) for g in reader.iter_grey(27, 33)]
    assert part == pytest.approx(list(range(47, 53)), abs=1)
    assert all(b > a for a, b in pairwise(part))
    with pytest.raises(IndexError):
        reader.read(130)


def test_frames_are_contiguous_whatever_the_width(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "c.mp4", 90, 66) as writer:
        writer.write(smooth_picture(90, 66))
    frame = VideoReader(tmp_path / "c.mp4").read(0)
    assert frame.flags.c_contiguous
    assert frame.shape == (66, 90, 3)


def test_mpeg_ps_frames_are_found_although_it_cannot_be_sought(shared_data: Path) -> None:
    reader = VideoReader(shared_data / "video" / "grid_s1" / "bgig6n.mpg")
    frames = list(reader.iter_grey())
    assert len(frames) == len(reader) == 75
    for index in (70, 11, 12):
        assert np.array_equal(reader.read_grey(index), frames[index])


def test_sound_is_in_sync_and_as_long_as_the_video(tmp_path: Path) -> None:
    wav = clicks((0.3, 1.0, 1.9), 3.0, 16000)
    with VideoWriter(tmp_path / "s.mp4", 64, 48, audio=wav) as writer:
        for _ in range(50):
            writer.write(smooth_picture(64, 48))
    sound = read_audio(tmp_path / "s.mp4")
    assert len(sound) == 32000
    assert click_times(sound) == pytest.approx([0.3, 1.0, 1.9], abs=0.0005)


def test_sound_shorter_than_the_video_ends_in_silence(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "s.mp4", 64, 48, audio=clicks((0.3,), 0.5, 16000)) as writer:
        for _ in range(50):
            writer.write(smooth_picture(64, 48))
    sound = read_audio(tmp_path / "s.mp4")
    assert len(sound) == 32000
    assert np.abs(sound[16000:]).max() < 0.01


def test_nothing_is_visible_until_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    writer = VideoWriter(path, 64, 48)
    writer.write(smooth_picture(64, 48))
    assert not path.exists()
    writer.close()
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        _write_until_interrupted(path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def _write_until_interrupted(path: Path) -> None:
    with VideoWriter(path, 64, 48) as writer:
        writer.write(smooth_picture(64, 48))
        raise KeyboardInterrupt


def test_frames_of_a_wrong_size_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="expected"),
        VideoWriter(tmp_path / "v.mp4", 64, 48) as writer,
    ):
        writer.write(smooth_picture(48, 64))


def test_what_is_not_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(MediaError):
        VideoReader(path)


def test_writing_into_a_frame_does_not_change_the_frames_after_it(tmp_path: Path) -> None:
    still = rgb_to_yuv(smooth_picture(512, 256))  # of this width, planes have no padding
    with VideoWriter(tmp_path / "still.mp4", 512, 256, preset=VideoPreset.LOSSLESS) as writer:
        for _ in range(25):
            writer.write_yuv(still)
    for frame in VideoReader(tmp_path / "still.mp4").iter_yuv():
        for plane, expected in zip(frame, still, strict=True):
            np.testing.assert_array_equal(plane, expected)
            plane[:] = 0


def test_writing_into_a_matte_does_not_change_the_mattes_after_it(tmp_path: Path) -> None:
    # each is the one before and noise: predicted, and slow enough to be decoded while we write
    steps = RNG.integers(0, 4, (20, 512, 1024), np.uint8)
    mattes = np.cumsum(steps, axis=0, dtype=np.uint8)
    with VideoWriter(tmp_path / "m.mp4", 1024, 512, preset=VideoPreset.GREY_LOSSLESS) as writer:
        for matte in mattes:
            writer.write_grey(matte)
    for matte, expected in zip(VideoReader(tmp_path / "m.mp4").iter_grey(), mattes, strict=True):
        np.testing.assert_array_equal(matte, expected)
        matte[:] = 0
