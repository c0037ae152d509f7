"""The person's matte against a rendered person's exact one, in the crop and beyond it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import artifacts
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synctalk import dataset as ds
from synctalk.dataset import Crop, SubjectDataset
from synctalk.face.parsing_frame import PartLabel
from synctalk.face.plates import Background
from synctalk.media import VideoPreset, VideoReader, VideoWriter
from synctalk.training.mattes import person_mattes, plate_matte, trust_beyond

SIDE, N = 256, artifacts.N
GREEN = np.array([0, 200, 0])
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Truth:
    """What was rendered: frames, mattes and the empty scene."""

    frames: list[Image]
    mattes: list[Image]
    scene: Image


@pytest.fixture(scope="module")
def truth(shared_data: Path) -> Truth:
    """Every tenth frame: the person moves enough to show what is behind."""
    folder = shared_data / "virtual" / "subject_a"
    wide = VideoReader(folder / "matte_train.mp4").iter_grey()
    scene = cv2.cvtColor(cv2.imread(str(folder / "background.png")), cv2.COLOR_BGR2RGB)
    frames = list(islice(VideoReader(folder / "small.mp4"), 0, 10 * N, 10))
    return Truth(frames, [_halved(m) for m in islice(wide, 0, 10 * N, 10)], _small(scene))


def _small(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _halved(matte: Image) -> Image:
    full = (matte.astype(np.float32) - 16) / 219  # the truth is stored in limited range
    return _small(np.round(255 * np.clip(full, 0, 1)).astype(np.uint8))


def made_dataset(
    folder: Path, truth: Truth, crop: Crop, cuts: tuple[int, ...] = ()
) -> SubjectDataset:
    """A dataset whose labels are the exact person's, as the parser would have them at best."""
    artifacts.working_folder(folder)
    box = slice(crop.y, crop.y + crop.side), slice(crop.x, crop.x + crop.side)
    small = (crop.side, crop.side)
    lossless, grey = VideoPreset.LOSSLESS, VideoPreset.GREY_LOSSLESS
    with (
        VideoWriter(folder / ds.FRAMES, SIDE, SIDE, preset=lossless) as frames,
        VideoWriter(folder / ds.MASKS, *small, preset=grey) as masks,
        VideoWriter(folder / ds.MATTE, *small, preset=grey) as heads,
    ):
        for frame, matte in zip(truth.frames, truth.mattes, strict=True):
            frames.write(frame)
            labels = np.where(matte[box] > 127, PartLabel.TORSO, PartLabel.BACKGROUND)
            masks.write_grey(labels.astype(np.uint8))
            heads.write_grey(np.zeros(small, np.uint8))
    manifest = artifacts.manifest(
        source_width=SIDE, source_height=SIDE, crop=crop, size=crop.side, cuts=cuts
    )
    found = np.ones(N, bool)
    return SubjectDataset(folder, manifest, replace(artifacts.tracks(), valid=found))


def before_green(frame: Image, matte: Image, scene: Image) -> NDArray[np.floating]:
    alpha = matte[..., None] / 255
    return np.clip(frame - (1 - alpha) * scene, 0, 255 * alpha) + (1 - alpha) * GREEN


def psnr_db(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a - b) ** 2)))


def test_the_matte_is_the_rendered_persons(truth: Truth, tmp_path: Path) -> None:
    made = person_mattes(made_dataset(tmp_path / "d", truth, Crop(0, 0, SIDE)), lambda event: None)
    found = [each.source for each in made.frames]
    frames = list(zip(truth.frames, found, truth.mattes, strict=True))
    assert np.mean([np.abs(f.astype(float) - t).mean() / 255 for _, f, t in frames]) < 0.0045
    wanted = [before_green(frame, t, truth.scene) for frame, _, t in frames]
    shown = [before_green(frame, f, made.background) for frame, f, _ in frames]
    quality_db = np.mean([psnr_db(a, b) for a, b in zip(shown, wanted, strict=True)])
    assert quality_db > 37


def test_beyond_the_crop_the_person_is_found_too(truth: Truth, tmp_path: Path) -> None:
    crop = Crop(48, 24, 144)
    made = person_mattes(made_dataset(tmp_path / "d", truth, crop), lambda event: None)
    outside = np.ones((SIDE, SIDE), bool)
    outside[crop.y : crop.y + crop.side, crop.x : crop.x + crop.side] = False
    for found, matte in zip(made.frames, truth.mattes, strict=True):
        assert found.source.shape == (SIDE, SIDE)
        assert found.plate.shape == (crop.side, crop.side)
        errors = np.abs(found.source.astype(float) - matte) / 255
        assert errors[~outside].mean() < 0.01
        assert errors[outside].mean() < 0.03


def test_shots_that_dubbing_never_plays_have_no_matte(truth: Truth, tmp_path: Path) -> None:
    data = made_dataset(tmp_path / "d", truth, Crop(0, 0, SIDE), cuts=(5, 30))
    found = [each.source for each in person_mattes(data, lambda event: None).frames]
    assert len(found) == N
    assert [f.any() for f in found] == [5 <= i < 30 for i in range(N)]


def test_behind_an_erased_head_the_neck_goes_on_and_nothing_else_does() -> None:
    person = np.zeros((128, 128), np.uint8)
    person[20:70, 44:84] = 255  # head
    person[70:100, 54:74] = 255  # neck
    person[100:, 10:118] = 255  # torso
    labels = np.where(person > 0, PartLabel.FACE, PartLabel.BACKGROUND).astype(np.uint8)
    labels[70:100][person[70:100] > 0] = PartLabel.NECK
    labels[100:][person[100:] > 0] = PartLabel.TORSO
    head = np.zeros_like(person)
    head[20:70, 44:84] = 255
    matte = plate_matte(person, labels, head, np.full(128, 50, np.float32))
    assert (matte[52:, 58:70] == 255).all()  # up to where it ends behind the face
    assert (matte[:48] == 0).all()
    assert (matte[:68, 44:52] == 0).all()  # beside the neck the jaw leaves nothing
    assert (matte[102:] == person[102:]).all()


def test_a_plain_scene_is_trusted_behind_the_persons_rim_and_a_busy_one_is_not() -> None:
    seen = np.ones((200, 200), bool)
    seen[50:150, 50:150] = False
    plain = np.full((200, 200, 3), 120, np.uint8)
    busy = np.random.default_rng(0).integers(0, 255, plain.shape, np.uint8)
    for image, trusted in ((plain, True), (busy, False)):
        scene = trust_beyond(Background(image, seen, seen.astype(np.float32)))
        assert (scene.trust[52, 60:140] > 0.9).all() == trusted
        assert (scene.trust[seen] == 1).all()
        assert scene.trust[100, 100] == 0
