"""The working folder: finished stages are taken up again, refused input leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from synctalk.errors import InputError
from synctalk.preprocessing.work import WorkFolder

SETTINGS = {"tracker": "mesh", "size": 512}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "me.mp4"
    path.write_bytes(b"footage")
    return path


def never() -> None:
    raise AssertionError("a finished stage was done again")


def test_a_finished_stage_is_not_done_again(tmp_path: Path, source: Path) -> None:
    first = WorkFolder(tmp_path / "out", source, SETTINGS)
    assert first.stage("cuts", lambda: [3, 8]) == [3, 8]
    (first.folder / "frames.mp4").write_bytes(b"frames")
    again = WorkFolder(tmp_path / "out", source, SETTINGS)
    assert again.stage("cuts", never) == [3, 8]
    assert list(again.timings_s) == ["cuts"]
    assert (again.folder / "frames.mp4").exists()


def test_a_stage_that_was_interrupted_is_done_again(tmp_path: Path, source: Path) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    work = WorkFolder(tmp_path / "out", source, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        work.stage("track", interrupted)
    again = WorkFolder(tmp_path / "out", source, SETTINGS)
    assert again.stage("track", lambda: {"found": 9}) == {"found": 9}


@pytest.mark.parametrize("change", ["footage", "settings"])
def test_other_footage_or_settings_begin_anew(tmp_path: Path, source: Path, change: str) -> None:
    work = WorkFolder(tmp_path / "out", source, SETTINGS)
    work.stage("cuts", lambda: [3])
    (work.folder / "frames.mp4").write_bytes(b"old")
    settings = dict(SETTINGS)
    if change == "footage":
        source.write_bytes(b"other footage")
    else:
        settings["size"] = 256
    anew = WorkFolder(tmp_path / "out", source, settings)
    assert anew.stage("cuts", lambda: [7]) == [7]
    assert not (anew.folder / "frames.mp4").exists()


def test_discarding_removes_what_had_to_be_made_and_no_more(tmp_path: Path, source: Path) -> None:
    (tmp_path / "mine").mkdir()
    work = WorkFolder(tmp_path / "mine" / "new" / "newer" / "out", source, SETTINGS)
    work.stage("cuts", lambda: [])
    work.discard()
    assert (tmp_path / "mine").is_dir()
    assert list((tmp_path / "mine").iterdir()) == []


def test_discarding_spares_a_made_folder_that_holds_something_else(
    tmp_path: Path, source: Path
) -> None:
    work = WorkFolder(tmp_path / "new" / "out", source, SETTINGS)
    (tmp_path / "new" / "notes.txt").write_text("mine")
    work.discard()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, source: Path) -> None:
    with pytest.raises(InputError, match=r"me\.mp4") as caught:
        WorkFolder(source / "out", source, SETTINGS)
    assert caught.value.reason == "OUTPUT_NOT_WRITABLE"
