"""Whatever comes in, 25 upright frames a second and 16 kHz sound in the source's sync come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import LAST_SHOWN_S, click_times, clicks, make_video, numbers_in, regular

from synctalk.errors import Cancelled, MediaError
from synctalk.media import (
    MediaLimits,
    NormalisedMedia,
    VideoReader,
    normalise,
    probe,
    read_audio,
)
from synctalk.progress import ProgressEvent

CLICKS_S = (0.2, 1.0)
TWO_SECONDS = clicks(CLICKS_S, 2.0, 48000)


class Door:
    """A source file beside the folder that its normalised form goes to."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source.mp4"
        self.out = folder / "out"
        self.out.mkdir()

    def pass_through(self, source: Path | None = None, **settings: object) -> NormalisedMedia:
        return normalise(source or self.source, self.frames, self.audio, **settings)  # type: ignore[arg-type]

    @property
    def frames(self) -> Path:
        return self.out / "frames.mp4"

    @property
    def audio(self) -> Path:
        return self.out / "audio.wav"

    def leaves_nothing(self) -> bool:
        return list(self.out.iterdir()) == []


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def nearest(times_s: list[float]) -> list[int]:
    """Independent statement of what must be shown: the frame nearest each tick."""
    stamps = np.array(times_s) - times_s[0]
    n = int((stamps[-1] + LAST_SHOWN_S) * 25 + 0.5 + 1e-6)
    return [int(np.argmin(np.abs(stamps - k / 25 + 1e-6))) for k in range(n)]


def test_a_regular_25_fps_source_keeps_every_frame_and_its_sync(door: Door) -> None:
    make_video(door.source, regular(50, 25), wav=TWO_SECONDS)
    media = door.pass_through()
    assert numbers_in(door.frames) == list(range(50))
    assert (media.n_frames, media.duplicated, media.dropped, media.samples) == (50, 0, 0, 32000)
    wav = read_audio(door.audio)
    assert len(wav) == 32000
    assert click_times(wav) == pytest.approx(CLICKS_S, abs=0.001)


@pytest.mark.parametrize("fps", [10, 24, 29.97, 50, 60])
def test_other_frame_rates_show_the_frame_nearest_in_time(door: Door, fps: float) -> None:
    times = regular(round(2 * fps), fps)
    make_video(door.source, times, wav=TWO_SECONDS)
    media = door.pass_through()
    assert numbers_in(door.frames) == nearest(times)
    shown = len(set(nearest(times)))
    assert (media.duplicated, media.dropped) == (media.n_frames - shown, len(times) - shown)
    assert click_times(read_audio(door.audio)) == pytest.approx(CLICKS_S, abs=0.001)


def test_variable_frame_rate_is_followed_by_time_stamps(door: Door) -> None:
    times = [0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.32, 0.5, 0.51, 0.52, 0.53, 0.6, 0.64, 0.9, 0.94, 1.3]
    make_video(door.source, times, wav=TWO_SECONDS)
    media = door.pass_through()
    assert media.source_is_vfr
    assert numbers_in(door.frames) == nearest(times)
    assert click_times(read_audio(door.audio)) == pytest.approx(CLICKS_S, abs=0.001)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_video_that_starts_late_takes_its_sound_with_it(door: Door, container: str) -> None:
    make_video(door.source, regular(50, 25, start_s=0.4), wav=TWO_SECONDS, container=container)
    media = door.pass_through()
    assert numbers_in(door.frames) == list(range(50))
    assert media.audio_lead_s == pytest.approx(-0.4, abs=0.03)
    assert click_times(read_audio(door.audio)) == pytest.approx([0.6], abs=0.001)


def test_sound_that_starts_late_is_preceded_by_silence(door: Door) -> None:
    make_video(door.source, regular(50, 25), wav=TWO_SECONDS, wav_start_s=0.5)
    media = door.pass_through()
    wav = read_audio(door.audio)
    assert media.audio_lead_s == pytest.approx(0.5, abs=0.03)
    assert len(wav) == 32000
    assert click_times(wav) == pytest.approx([0.7, 1.5], abs=0.002)


@pytest.mark.parametrize("seconds", [1.2, 5.0])
def test_sound_shorter_or_longer_than_the_video_is_fitted(door: Door, seconds: float) -> None:
    make_video(door.source, regular(50, 25), wav=clicks(CLICKS_S, seconds, 44100), wav_rate=44100)
    media = door.pass_through()
    wav = read_audio(door.audio)
    assert len(wav) == 32000
    assert media.audio_tail_s == pytest.approx(2.0 - seconds, abs=0.05)
    assert click_times(wav) == pytest.approx(CLICKS_S, abs=0.001)


@pytest.mark.parametrize(
    ("counterclockwise", "hflip", "bright_corner"),
    [(90, False, (-1, 0)), (180, False, (-1, -1)), (270, False, (0, -1)), (0, True, (0, -1))],
)
def test_display_matrix_is_applied(
    door: Door, counterclockwise: int, hflip: bool, bright_corner: tuple[int, int]
) -> None:
    make_video(door.source, regular(5, 25), wav=TWO_SECONDS, rotation=counterclockwise, hflip=hflip)
    media = door.pass_through()
    sideways = counterclockwise in (90, 270)
    assert (media.width, media.height) == ((48, 64) if sideways else (64, 48))
    grey = next(VideoReader(door.frames).iter_grey())
    corners = {(r, c): int(grey[r * 3, c * 3]) for r in (0, -1) for c in (0, -1)}
    assert max(corners, key=lambda k: corners[k]) == bright_corner


def test_odd_sizes_lose_a_row_and_a_column_only(door: Door) -> None:
    make_video(door.source, regular(10, 25), wav=TWO_SECONDS, size=(63, 47))
    media = door.pass_through()
    assert (media.width, media.height) == (62, 46)
    assert numbers_in(door.frames) == list(range(10))


def test_large_pictures_are_scaled_to_the_longest_side(door: Door) -> None:
    make_video(door.source, regular(3, 25), wav=TWO_SECONDS, size=(320, 192))
    media = door.pass_through(max_side=100)
    assert (media.width, media.height, media.source_width) == (100, 60, 320)


def test_progress_reports_and_can_stop_without_leaving_anything(door: Door) -> None:
    make_video(door.source, regular(100, 25), wav=TWO_SECONDS)
    events: list[ProgressEvent] = []
    door.pass_through(progress=events.append)
    assert (events[-1].done, events[-1].total) == (100, 100)
    for file in door.out.iterdir():
        file.unlink()

    def stop(event: ProgressEvent) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        door.pass_through(progress=stop)
    assert door.leaves_nothing()


def test_a_real_upload_keeps_its_pixels(door: Door, shared_data: Path) -> None:
    source = shared_data / "video" / "glasses_5s_524.mp4"
    media = door.pass_through(source)
    assert (media.n_frames, media.lossless, media.samples) == (122, True, 122 * 640)
    pairs = zip(VideoReader(source).iter_yuv(), VideoReader(door.frames).iter_yuv(), strict=True)
    assert all(
        np.array_equal(a, b) for before, after in pairs for a, b in zip(before, after, strict=True)
    )


def test_mpeg_1_with_its_own_container_clock_is_read(door: Door, shared_data: Path) -> None:
    media = door.pass_through(shared_data / "video" / "grid_s1" / "bgig6n.mpg")
    assert (media.n_frames, media.width, media.height) == (75, 360, 288)
    assert media.duplicated == media.dropped == 0


# Bad input: a clear error within seconds, nothing left behind.


def refused(door: Door, source: Path | None = None, **settings: object) -> MediaError:
    with pytest.raises(MediaError) as caught:
        door.pass_through(source, **settings)
    assert door.leaves_nothing()
    assert caught.value.remedy
    assert str(source or door.source) in caught.value.message
    return caught.value


def test_a_missing_file_is_refused(door: Door) -> None:
    assert refused(door).reason == "FILE_MISSING"


def test_a_folder_is_refused(door: Door, tmp_path: Path) -> None:
    assert refused(door, tmp_path).reason == "NOT_A_FILE"


def test_an_empty_file_is_refused(door: Door) -> None:
    door.source.touch()
    assert refused(door).reason == "FILE_EMPTY"


def test_a_file_beyond_the_size_limit_is_refused(door: Door) -> None:
    door.source.write_bytes(b"x" * 2000)
    assert refused(door, limits=MediaLimits(max_file_bytes=1000)).reason == "FILE_TOO_LARGE"


NOT_MEDIA = {
    "text.mp4": b"hello world " * 500,
    "archive.zip": b"PK\x03\x04" + b"\x14\x00" * 300,
    "hls.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2,\nlocal.mp4\n#EXT-X-ENDLIST\n",
    "hls.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2,\nlocal.mp4\n#EXT-X-ENDLIST\n",
    "concat.ffconcat": b"ffconcat version 1.0\nfile local.mp4\n",
    "concat.mp4": b"ffconcat version 1.0\nfile local.mp4\n",
    "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\n"
    b"m=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", NOT_MEDIA)
def test_what_is_not_media_is_refused_whatever_its_name(
    door: Door, tmp_path: Path, name: str
) -> None:
    make_video(tmp_path / "local.mp4", regular(50, 25), wav=TWO_SECONDS)
    source = tmp_path / name
    source.write_bytes(NOT_MEDIA[name])
    assert refused(door, source).reason == "NOT_MEDIA"


def test_a_video_with_a_wrong_extension_is_read(door: Door, tmp_path: Path) -> None:
    source = make_video(tmp_path / "notes.txt", regular(50, 25), wav=TWO_SECONDS, container="mp4")
    assert door.pass_through(source).n_frames == 50


def test_a_video_without_sound_is_refused(door: Door) -> None:
    make_video(door.source, regular(50, 25))
    assert refused(door).reason == "NO_AUDIO"


def test_sound_without_video_is_refused(door: Door, shared_data: Path) -> None:
    assert refused(door, shared_data / "audio" / "english_m_11s.flac").reason == "NO_VIDEO"


@pytest.mark.parametrize(("fast_start", "reason"), [(False, "NOT_MEDIA"), (True, "INCOMPLETE")])
def test_a_truncated_mp4_is_refused(door: Door, fast_start: bool, reason: str) -> None:
    make_video(door.source, regular(200, 25), wav=clicks((1,), 8, 48000), fast_start=fast_start)
    whole = door.source.read_bytes()
    door.source.write_bytes(whole[: len(whole) // 2])
    assert refused(door).reason == reason


def test_8k_is_refused_with_what_to_do_instead(door: Door) -> None:
    make_video(door.source, regular(2, 25), wav=TWO_SECONDS, size=(7680, 4320))
    error = refused(door)
    assert error.reason == "PICTURE_TOO_LARGE"
    assert "1920 x 1080" in error.remedy


def test_a_video_beyond_the_length_limit_is_refused(door: Door) -> None:
    make_video(door.source, regular(50, 25), wav=TWO_SECONDS)
    assert refused(door, limits=MediaLimits(max_duration_s=1.0)).reason == "TOO_LONG"


def test_time_stamps_that_jump_for_hours_do_not_fill_the_disk(door: Door) -> None:
    make_video(door.source, [0, 0.04, 4000.0], wav=TWO_SECONDS)
    assert refused(door).reason == "TOO_LONG"


def test_a_decoder_that_makes_no_progress_is_stopped(door: Door) -> None:
    make_video(door.source, regular(50, 25), wav=TWO_SECONDS)
    assert refused(door, limits=MediaLimits(stall_s=0.01)).reason == "DECODER_STALLED"


def test_a_decoder_that_wants_too_much_memory_is_stopped(door: Door) -> None:
    make_video(door.source, regular(12, 25), wav=TWO_SECONDS, size=(3840, 2160))
    tight = replace(MediaLimits(), memory_bytes=48 << 20)
    assert refused(door, limits=tight).reason in ("DECODER_LIMIT", "UNDECODABLE", "DECODER_CRASHED")


def test_a_result_beyond_the_output_limit_is_stopped(door: Door) -> None:
    make_video(door.source, regular(100, 25), wav=TWO_SECONDS)
    tight = replace(MediaLimits(), max_output_bytes=4096)
    assert refused(door, limits=tight).reason == "DECODER_LIMIT"


def test_probe_tells_what_a_file_is(door: Door) -> None:
    make_video(
        door.source, regular(60, 30, start_s=0.5), wav=TWO_SECONDS, size=(64, 32), rotation=-90
    )
    info = probe(door.source)
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.width, info.video.height) == (32, 64)
    assert (info.video.rotation_deg, info.video.codec, info.video.n_frames) == (90, "h264", 60)
    assert info.video.start_s == pytest.approx(0.5, abs=0.001)
    assert info.video.fps == pytest.approx(30, rel=0.02)
    assert not info.video.is_vfr
    assert (info.audio.sample_rate, info.audio.channels, info.audio.codec) == (48000, 1, "aac")
