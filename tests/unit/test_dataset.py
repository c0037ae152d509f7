"""The dataset folder: published whole or not at all, and never read when it is not whole."""

from __future__ import annotations

import json
from pathlib import Path

import artifacts
import numpy as np
import pytest

from synctalk import dataset as ds
from synctalk.dataset import AudioFeatures, Crop, SubjectDataset, held_out_count
from synctalk.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return artifacts.dataset(tmp_path / "me.dataset").path


def refused(path: Path) -> DatasetError:
    with pytest.raises(DatasetError) as caught:
        SubjectDataset.open(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy
    return caught.value


def test_what_was_published_is_what_is_opened(folder: Path) -> None:
    opened = SubjectDataset.open(folder)
    opened.verify()
    facts, sent = opened.manifest, artifacts.manifest()
    assert (facts.cuts, facts.crop, facts.timings_s) == (sent.cuts, sent.crop, sent.timings_s)
    assert set(facts.files) == set(ds.PARTS)
    for name, array in vars(artifacts.tracks()).items():
        assert np.array_equal(getattr(opened.tracks, name), array)
        assert getattr(opened.tracks, name).dtype == array.dtype


def test_publishing_takes_the_working_folder_away_and_nothing_else_along(tmp_path: Path) -> None:
    work = artifacts.working_folder(tmp_path / "work")
    (work / "stages.json").write_text("{}")
    (work / "scratch").mkdir()
    (work / "scratch" / "x").touch()
    ds.publish(work, tmp_path / "me", artifacts.manifest())
    assert [p.name for p in tmp_path.iterdir()] == ["me"]
    assert {p.name for p in (tmp_path / "me").iterdir()} == {*ds.PARTS, ds.MANIFEST}


@pytest.mark.parametrize("name", [ds.FRAMES, ds.TRACKS, ds.AUDIO_FEATURES])
def test_a_working_folder_that_lacks_a_part_is_not_published(tmp_path: Path, name: str) -> None:
    work = artifacts.working_folder(tmp_path / "work")
    (work / name).unlink()
    with pytest.raises(DatasetError, match=name) as caught:
        ds.publish(work, tmp_path / "me", artifacts.manifest())
    assert caught.value.reason == "DATASET_INCOMPLETE"
    assert not (tmp_path / "me").exists()


def test_an_older_dataset_gives_way(tmp_path: Path, folder: Path) -> None:
    work = artifacts.working_folder(tmp_path / "again")
    ds.publish(work, folder, artifacts.manifest(source_name="newer.mp4"))
    assert SubjectDataset.open(folder).manifest.source_name == "newer.mp4"
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_a_folder_of_someone_elses_does_not(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"dear")
    work = artifacts.working_folder(tmp_path / "work")
    with pytest.raises(DatasetError) as caught:
        ds.publish(work, tmp_path / "photos", artifacts.manifest())
    assert caught.value.reason == "OUTPUT_EXISTS"
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["me.jpg"]


@pytest.mark.parametrize("name", [ds.FRAMES, ds.TRACKS, ds.BACKGROUND, ds.QUALITY])
def test_one_flipped_bit_in_any_part_is_noticed_and_named(folder: Path, name: str) -> None:
    opened = SubjectDataset.open(folder)
    artifacts.flip_a_byte(folder / name)
    with pytest.raises(DatasetError, match=name) as caught:
        opened.verify()
    assert caught.value.reason == "DATASET_DAMAGED"


@pytest.mark.parametrize("name", [ds.PLATES, ds.MATTE, ds.AUDIO])
def test_a_missing_part_is_named_when_opened(folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = refused(folder)
    assert error.reason == "DATASET_INCOMPLETE"
    assert name in error.message


def test_another_schema_version_is_refused_not_guessed(folder: Path) -> None:
    path = folder / ds.MANIFEST
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "schema_version": ds.SCHEMA_VERSION + 1}))
    error = refused(folder)
    assert error.reason == "DATASET_VERSION"
    assert f"{ds.SCHEMA_VERSION + 1}" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "{}",
        '{"schema_version": 1}',
        '{"schema_version": 1, "crop": {"x": 0}}',
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / ds.MANIFEST).write_text(text)
    assert refused(folder).reason in ("DATASET_MANIFEST", "DATASET_VERSION")


def test_what_is_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert error.reason == "DATASET_NOT_FOUND"
    assert "synctalk preprocess" in error.remedy
    assert refused(tmp_path / "gone").reason == "DATASET_NOT_FOUND"


@pytest.mark.parametrize(("n", "held"), [(1, 1), (10, 1), (11, 1), (33, 3), (275, 25), (646, 58)])
def test_the_last_eleventh_is_held_out(n: int, held: int) -> None:
    assert held_out_count(n) == held


def test_held_out_frames_are_the_last_and_never_trained_on(folder: Path) -> None:
    opened = SubjectDataset.open(folder)
    assert [*opened.train_range, *opened.held_out_range] == list(range(artifacts.N))
    assert list(opened.held_out_range) == [30, 31, 32]


def test_a_crop_takes_its_window_and_scales_by_area() -> None:
    frame = np.zeros((8, 10, 3), np.uint8)
    frame[2:6, 4:8] = np.arange(16).reshape(4, 4, 1) * 10
    whole = Crop(4, 2, 4).cut(frame, 4)
    assert np.array_equal(whole, frame[2:6, 4:8])
    assert whole.flags.c_contiguous
    half = Crop(4, 2, 4).cut(frame, 2)
    assert half[..., 0].tolist() == [[25, 45], [105, 125]]


def test_audio_features_come_back_as_they_were(folder: Path) -> None:
    rng = np.random.default_rng(1)
    sent = AudioFeatures(rng.random((80, 80), np.float32), rng.random((33, 64), np.float32))
    ds.save_audio_features(folder / ds.AUDIO_FEATURES, sent)
    got = SubjectDataset.open(folder).audio_features()
    assert np.array_equal(got.mel, sent.mel)
    assert np.array_equal(got.visual, sent.visual)


def test_a_plate_is_exact_outside_the_erased_spans() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (6, 10, 3)).astype(np.uint8)
    plate = frame.copy()
    plate[2, 3] ^= 1
    plate[2, 6] ^= 1
    plate[4, :] ^= 1
    spans = ds.erased_spans(frame, plate)
    assert spans.tolist() == [[0, 0], [0, 0], [3, 7], [0, 0], [0, 10], [0, 0]]
    decoded = 255 - plate  # a codec that got everything wrong
    kept = ds.keep_outside(decoded, frame, spans)
    assert (kept[2, 3:7] == decoded[2, 3:7]).all()
    assert (kept[4] == decoded[4]).all()
    kept[2, 3:7] = frame[2, 3:7]
    kept[4] = frame[4]
    assert (kept == frame).all()
