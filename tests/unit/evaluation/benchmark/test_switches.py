"""What the switches of ablations really change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synctalk.benchmark.actors import mels_alone
from synctalk.benchmark.variants import EvenFace, with_less_footage
from synctalk.dataset import FRAMES, SubjectDataset
from synctalk.errors import FootageError
from synctalk.face import load_canonical_face
from synctalk.face.canonical import Region
from synctalk.face_sync import EYE_POINTS, LAYOUT, facial_mask, fit_driving_space
from synctalk.gaussians.initialise import HeadGeometry, HeadViews, random_gaussians
from synctalk.gaussians.restore import restore_deformation
from synctalk.gaussians.scene import COLOR, MEAN, OPACITY, pack
from synctalk.gaussians.triplane import Heads, TriplaneDeformation


def triplane(heads: Heads) -> TriplaneDeformation:
    torch.manual_seed(0)
    base = pack(torch.rand(40, 3) - 0.5, torch.full((40, 3), 0.05), torch.rand(40, 3), 0.8)
    mask = facial_mask(base[:, :3] * 50, 0.0, 12.0)
    model = TriplaneDeformation(base, mask, 6, 4, 3, torch.ones(14), heads)
    last = model.canonical[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight, std=0.5)
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("heads", "colours", "places"),
    [("all", True, True), ("sh-opacity", True, False), ("geometry", False, True)],
)
def test_heads_decide_the_columns_of_their_name(heads: Heads, colours: bool, places: bool) -> None:
    model = triplane(heads)
    moved = (model.canonical_params()[0] - model.base).abs() > 1e-6
    assert bool(moved[:, COLOR].any()) is bool(moved[:, OPACITY].any()) is colours
    assert bool(moved[:, MEAN].any()) is places


def test_heads_outlive_the_file_and_older_files_have_all() -> None:
    model = triplane("geometry")
    again = restore_deformation(model.state_dict())
    assert torch.equal(again.canonical_params(), model.canonical_params())
    old = triplane("all")
    state = {k: v for k, v in old.state_dict().items() if k != "headed"}
    assert torch.equal(restore_deformation(state).canonical_params(), old.canonical_params())


def test_a_random_start_fills_the_heads_box_and_is_grey() -> None:
    face = load_canonical_face()
    geometry = HeadGeometry(
        face.vertices, face.triangles.astype(np.int64), np.arange(5), np.arange(10, 20)
    )
    K = np.array([[600.0, 0, 128], [0, 600.0, 128], [0, 0, 1]], np.float32)
    views = HeadViews(
        np.full((1, 256, 256, 3), 90, np.uint8),
        np.full((1, 256, 256), 255, np.uint8),
        np.diag([1.0, -1.0, -1.0]).astype(np.float32)[None],
        np.array([[0.0, 0.0, 600.0]], np.float32),
        K[None],
    )
    packed, unit_mm = random_gaussians(geometry, views, 500)
    places = packed[:, MEAN].numpy() * unit_mm
    spread = places.std(0) / np.ptp(places, axis=0)
    assert spread == pytest.approx(12**-0.5, abs=0.03), "even, not on a surface"
    assert len(packed[:, COLOR].unique()) == 1
    assert (packed[1:, 1] >= packed[:-1, 1]).all()


def test_blinks_alone_drive_the_eyes_when_nothing_else_may() -> None:
    face = load_canonical_face()
    T = 100
    blink = torch.clamp(torch.sin(torch.arange(T) / 4.0), min=0)
    R = torch.diag(torch.tensor([1.0, -1.0, -1.0])).repeat(T, 1, 1)
    t = torch.tensor([0.0, 0.0, 600.0]).repeat(T, 1)
    K = torch.tensor([[900.0, 0, 128], [0, 900.0, 128], [0, 0, 1]])
    vertices = torch.from_numpy(face.vertices)
    places = torch.cat([vertices, torch.zeros(10, 3)]).repeat(T, 1, 1)
    torch.manual_seed(0)
    places[:, list(EYE_POINTS), 1] -= 4 * blink[:, None] * torch.rand(len(EYE_POINTS))
    places[:, list(EYE_POINTS), 0] += torch.randn(T, 1)  # brows and lids drift, too
    camera = places @ R.transpose(1, 2) + t[:, None]
    pixels = camera @ K.T
    mesh = torch.cat([pixels[..., :2] / pixels[..., 2:], pixels[..., 2:]], 2)
    space = fit_driving_space(mesh, R, t, K, vertices, torch.ones(T, dtype=torch.bool))
    alone = space.blinking_alone(mesh, R, t, K, blink)
    coefficients = alone.expression(mesh, R, t, K)
    assert coefficients.shape == (T, 2)
    assert abs(float(torch.corrcoef(torch.stack([coefficients[:, 0], blink]))[0, 1])) > 0.9
    assert (coefficients[:, 1] == 0).all(), "irises stay"
    assert torch.equal(alone.lip(mesh, R, t, K), space.lip(mesh, R, t, K))
    again = type(alone).from_state(alone.state())
    assert torch.equal(again.expression(mesh, R, t, K), coefficients)


def test_brows_and_eyes_count_in_full_without_semantic_weighting() -> None:
    face, even = load_canonical_face(), EvenFace.make()
    eyes = np.isin(face.regions, (Region.BROW, Region.EYE))
    assert (even.rigid_weight[eyes] == 1).all()
    assert (even.rigid_weight[~eyes] == face.rigid_weight[~eyes]).all()


def test_mels_alone_know_nothing_that_the_encoder_has_learnt() -> None:
    rows = mels_alone(torch.ones(3, LAYOUT.dim))
    kept = set(range(*LAYOUT.mel.indices(LAYOUT.dim))) | {LAYOUT.level}
    assert {i for i in range(LAYOUT.dim) if rows[:, i].all()} == kept
    assert rows.sum() == 3 * len(kept)


def test_less_footage_keeps_the_held_out_frames(subject: SubjectDataset, tmp_path: Path) -> None:
    short = with_less_footage(subject, 4.0, tmp_path / "short")
    first = subject.held_out_range.start
    assert short.held_out_range == subject.held_out_range
    assert np.flatnonzero(short.tracks.valid).tolist() == list(range(first - 100, len(subject)))
    assert (short.path / FRAMES).stat().st_ino == (subject.path / FRAMES).stat().st_ino
    short.verify()
    assert subject.tracks.valid.all(), "the subject's own dataset stays as it is"


def test_more_footage_than_there_is_cannot_be_asked_for(
    subject: SubjectDataset, tmp_path: Path
) -> None:
    with pytest.raises(FootageError) as caught:
        with_less_footage(subject, 10.0, tmp_path / "short")
    assert caught.value.reason == "FOOTAGE_SHORTER"
    assert not (tmp_path / "short").exists()
