"""Hostile files: what each of them costs, and that none is more than pixels and samples."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack_files import BOMBS, CARRIERS, OTHERS, PAGE, File, png, wav
from attack_people import Person
from limited_forks import Outcome, nothing_leaks, run

from services.cli.transfer import upload
from synctalk.errors import MediaError
from synctalk.media import MediaLimits, read_audio, read_picture
from synctalk.media.sandbox import Request

LIMITS = MediaLimits(
    max_duration_s=20, memory_bytes=512 << 20, max_output_bytes=8 << 20, probe_s=10,
    cpu_s_per_media_s=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    with nothing_leaks():
        yield


def decoded(folder: Path, file: File) -> tuple[Outcome, Path]:
    (task, make), source, out = file, folder / "source", folder / "out"
    source.write_bytes(make())
    out.mkdir()
    written = "" if task == "probe" else str(out)
    request = Request(task, str(source), LIMITS, written, max_side=1024, count=3)
    return run(request, folder / "stderr"), out


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_costs_no_more_than_its_limit(tmp_path: Path, what: str) -> None:
    """Refused by name, ended by the kernel, or decoded within the bounds of length and space."""
    outcome, out = decoded(tmp_path, BOMBS[what])
    assert outcome.kind in ("ok", "refused", "limit"), outcome
    assert sum(made.stat().st_size for made in out.iterdir()) <= LIMITS.max_output_bytes


def test_a_picture_of_144_megapixels_is_not_decoded(
    tmp_path: Path,
) -> None:
    """A whole one, through the process that life starts: OpenCV alone would take it."""
    path = tmp_path / "large.png"
    path.write_bytes(png(12_000, 12_000, bytes(12_001 * 12_000)))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(MediaError) as caught:
        read_picture(path)
    assert caught.value.reason == "NOT_A_PICTURE"


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_that_is_something_else(tmp_path: Path, what: str) -> None:
    outcome, out = decoded(tmp_path, OTHERS[what])
    assert outcome.kind == "refused", outcome
    assert outcome.detail in ("NOT_MEDIA", "NOT_A_PICTURE", "UNDECODABLE"), outcome
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("what", CARRIERS)
def test_what_a_good_file_carries_stays_behind(tmp_path: Path, what: str) -> None:
    outcome, out = decoded(tmp_path, CARRIERS[what])
    assert outcome.kind == "ok", outcome
    (made,) = out.iterdir()
    assert PAGE not in made.read_bytes()


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 64, 63, 65, 0])
def test_a_plain_wav_is_bounded_too(tmp_path: Path, claimed: int) -> None:
    """It is read without the decoder, and so by us."""
    path = tmp_path / "plain.wav"
    path.write_bytes(wav(16_000, 1, 16, claimed, bytes(63)))
    with contextlib.suppress(MediaError):
        assert len(read_audio(path, limits=LIMITS)) <= 32


def test_a_long_plain_wav_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    size = 4_000_000_000
    path.write_bytes(wav(16_000, 1, 16, size, b""))
    with path.open("r+b") as file:
        file.truncate(size)  # takes no room on the disk
    with pytest.raises(MediaError) as caught:
        read_audio(path, limits=LIMITS)
    assert caught.value.reason in ("TOO_LONG", "DECODER_LIMIT")


def test_hostile_uploads_fail_by_name_and_the_suite_goes_on(
    stranger: Person, tmp_path: Path
) -> None:
    tenant, made = stranger.tenant, {}
    for what, file in {
        "a video of 20000 x 20000": BOMBS["a video of 20000 x 20000"],
        "a QuickTime reference": OTHERS["a QuickTime reference"],
    }.items():
        path = tmp_path / f"{len(made)}.mp4"
        path.write_bytes(file[1]())
        video = upload(tenant.api, path, "video", lambda *_: None)
        body = {"name": what, "video": video, "consent": stranger.ids["consent_id"]}
        made[what] = tenant.api.post("avatars", body)["id"]
    ended = {what: tenant.wait(f"avatars/{name}") for what, name in made.items()}
    assert {what: (each["state"], each["error"]["code"]) for what, each in ended.items()} == {
        "a video of 20000 x 20000": ("failed", "UNDECODABLE"),
        "a QuickTime reference": ("failed", "NOT_MEDIA"),
    }
