"""The avatar folder: published whole or not at all, and never used when it is not whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import artifacts
import numpy as np
import pytest
import torch

from synctalk import bundle
from synctalk import dataset as ds
from synctalk.bundle import AvatarBundle, TorsoPlates, write_bundle
from synctalk.dataset import SubjectDataset
from synctalk.errors import BundleError, InputError
from synctalk.render.torso import NeckWindow

TENSORS = {
    "base": torch.arange(12.0).reshape(3, 4).T,  # not contiguous, as parameters may be
    "steps": torch.tensor([3, 1]),
    "half": torch.full((2,), 0.5, dtype=torch.float16),
}


@pytest.fixture
def source(tmp_path: Path) -> SubjectDataset:
    return artifacts.dataset(tmp_path / "source" / "me.dataset")


@pytest.fixture
def folder(tmp_path: Path, source: SubjectDataset) -> Path:
    out = tmp_path / "made" / "me.avatar"
    out.parent.mkdir()
    return write_bundle(out, artifacts.bundle_manifest(), TENSORS, source).path


def refused(path: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        AvatarBundle.open(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy
    return caught.value


def test_what_was_written_is_what_is_opened(folder: Path, source: SubjectDataset) -> None:
    opened = AvatarBundle.open(folder)
    opened.verify()
    facts, sent = opened.manifest, artifacts.bundle_manifest()
    assert (facts.cuts, facts.crop, facts.window) == (sent.cuts, sent.crop, sent.window)
    assert (facts.training_curve, facts.parents) == (sent.training_curve, sent.parents)
    assert (dict(facts.settings), dict(facts.metrics)) == (sent.settings, sent.metrics)
    assert set(facts.files) == set(bundle.PARTS)
    tensors = opened.tensors()
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype
    assert (folder / bundle.SOURCE).read_bytes() == (source.path / ds.FRAMES).read_bytes()
    assert (folder / bundle.BUNDLE_PLATES).read_bytes() == (source.path / ds.PLATES).read_bytes()


def test_an_avatar_outlives_the_dataset_it_was_made_from(
    folder: Path, source: SubjectDataset
) -> None:
    for path in source.path.iterdir():
        path.unlink()
    AvatarBundle.open(folder).verify()


def test_nothing_is_left_beside_it(folder: Path) -> None:
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_an_older_avatar_gives_way(folder: Path, source: SubjectDataset) -> None:
    newer = artifacts.bundle_manifest(metrics={"psnr": 40.0})
    write_bundle(folder, newer, TENSORS, source)
    assert AvatarBundle.open(folder).manifest.metrics["psnr"] == 40.0
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_folder_of_someone_elses_does_not(tmp_path: Path, source: SubjectDataset) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"dear")
    with pytest.raises(InputError) as caught:
        write_bundle(tmp_path / "photos", artifacts.bundle_manifest(), TENSORS, source)
    assert caught.value.reason == "OUTPUT_EXISTS"
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["me.jpg"]


def test_a_failed_write_shows_nothing_and_keeps_the_older_avatar(
    folder: Path, source: SubjectDataset
) -> None:
    (source.path / ds.PLATES).unlink()
    newer = artifacts.bundle_manifest(metrics={"psnr": 40.0})
    with pytest.raises(FileNotFoundError):
        write_bundle(folder, newer, TENSORS, source)
    with pytest.raises(FileNotFoundError):
        write_bundle(folder.with_name("new.avatar"), newer, TENSORS, source)
    assert not folder.with_name("new.avatar").exists()
    opened = AvatarBundle.open(folder)
    opened.verify()
    assert opened.manifest.metrics["psnr"] == 36.5


def test_an_abandoned_draft_does_not_stand_in_the_way(folder: Path, source: SubjectDataset) -> None:
    draft = folder.with_name(folder.name + ".writing")
    draft.mkdir()
    (draft / "half").write_bytes(b"a file")
    write_bundle(folder, artifacts.bundle_manifest(), TENSORS, source)
    assert {p.name for p in folder.iterdir()} == {*bundle.PARTS, bundle.MANIFEST}


def test_damaged_tensors_are_not_loaded(folder: Path) -> None:
    opened = AvatarBundle.open(folder)
    artifacts.flip_a_byte(folder / bundle.WEIGHTS)
    with pytest.raises(BundleError, match=bundle.WEIGHTS) as caught:
        opened.tensors()
    assert caught.value.reason == "BUNDLE_DAMAGED"


@pytest.mark.parametrize("name", [bundle.SOURCE, bundle.BUNDLE_PLATES])
def test_a_flipped_bit_or_a_lost_end_of_a_part_is_named(folder: Path, name: str) -> None:
    opened = AvatarBundle.open(folder)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()  # it may be one file with the dataset's
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        (folder / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=name) as caught:
            opened.verify()
        assert caught.value.reason == "BUNDLE_DAMAGED"
    (folder / name).write_bytes(whole)
    opened.verify()


@pytest.mark.parametrize("name", bundle.PARTS)
def test_a_missing_part_is_named_when_opened(folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = refused(folder)
    assert error.reason == "BUNDLE_INCOMPLETE"
    assert name in error.message


@pytest.mark.parametrize(
    ("step", "reason", "remedy"),
    [(1, "BUNDLE_NEWER", "later"), (-1, "BUNDLE_VERSION", "Train the avatar again")],
)
def test_a_version_that_is_not_read_is_refused_with_what_to_do(
    folder: Path, step: int, reason: str, remedy: str
) -> None:
    path = folder / bundle.MANIFEST
    raw = json.loads(path.read_text())
    version = (max if step > 0 else min)(bundle.READABLE) + step
    path.write_text(json.dumps({**raw, "schema_version": version}))
    error = refused(folder)
    assert error.reason == reason
    assert f"version {version}" in error.message
    assert remedy in error.remedy


def test_what_a_later_release_added_to_this_version_is_passed_over(folder: Path) -> None:
    path = folder / bundle.MANIFEST
    raw = json.loads(path.read_text())
    made = AvatarBundle.open(folder)
    (folder / "later.bin").write_bytes(b"of no concern")
    later = {
        **raw,
        "later": [1],
        "files": {**raw["files"], "later.bin": ds.sha256_file(folder / "later.bin")},
    }
    path.write_text(json.dumps(later))
    opened = AvatarBundle.open(folder)
    assert opened.manifest.files.keys() - made.manifest.files.keys() == {"later.bin"}
    assert dataclasses.replace(opened.manifest, files=made.manifest.files) == made.manifest
    opened.verify()


def test_facts_that_older_releases_did_not_write_have_defaults(folder: Path) -> None:
    path = folder / bundle.MANIFEST
    raw = json.loads(path.read_text())
    for name in ("encoder", "consent_id", "parents", "fps", "lost"):
        del raw[name]
    path.write_text(json.dumps(raw))
    manifest = AvatarBundle.open(folder).manifest
    assert (manifest.encoder, manifest.consent_id, manifest.parents) == ("", None, ())
    assert manifest.fps == 25
    assert (manifest.lost, manifest.played) == ((), range(7, 20))  # its longest shot, as then


def test_what_is_played_has_a_face_in_every_frame(tmp_path: Path, source: SubjectDataset) -> None:
    made = write_bundle(tmp_path / "a", artifacts.bundle_manifest(lost=(10,)), TENSORS, source)
    assert AvatarBundle.open(made.path).manifest.played == range(20, 33)


def test_an_avatar_without_any_face_is_refused(folder: Path) -> None:
    path = folder / bundle.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lost": list(range(artifacts.N))}))
    error = refused(folder)
    assert error.reason == "BUNDLE_MANIFEST"
    assert "a face in no frame" in error.message


@pytest.mark.parametrize("text", ["", "no json", "{}", '{"schema_version": 1}'])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / bundle.MANIFEST).write_text(text)
    assert refused(folder).reason in ("BUNDLE_MANIFEST", "BUNDLE_VERSION")


def test_what_is_no_avatar_says_how_to_make_one(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert error.reason == "BUNDLE_NOT_FOUND"
    assert "synctalk train" in error.remedy


def test_restored_necks_come_back_where_they_were_made_and_weigh_nothing_elsewhere(
    tmp_path: Path, source: SubjectDataset
) -> None:
    rng = np.random.default_rng(1)
    corners = (2 * rng.integers(0, 10, (artifacts.N, 2))).astype(np.int32)
    shot = range(7, 20)
    weights = rng.integers(0, 256, (len(shot), 16, 32), np.uint8)
    grey = np.full((16, 32, 3), 128, np.uint8)
    torso = TorsoPlates(NeckWindow(32, 16, corners), shot, ((grey, w) for w in weights))
    facts = artifacts.bundle_manifest()
    made = write_bundle(tmp_path / "a", facts, TENSORS, source, torso=torso)
    made.verify()
    assert made.has_torso
    order = np.array([6, 7, 8, 9, 8, 7])
    necks = list(made.necks(made.tensors()[bundle.TORSO_CORNERS].numpy(), order))
    for index, neck in zip(order, necks, strict=True):
        assert (neck.left, neck.top) == tuple(corners[index])
        assert (neck.weight == (weights[index - 7] if index in shot else 0)).all()
    assert abs(int(necks[1].picture.y[8, 8]) - 126) <= 1


def test_an_avatar_without_restored_necks_says_so(folder: Path) -> None:
    assert not AvatarBundle.open(folder).has_torso
