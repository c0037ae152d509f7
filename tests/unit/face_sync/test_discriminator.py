"""The sync discriminator: what it sees of lips, and whether it finds the lag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from synctalk.errors import InputError, MissingModelError
from synctalk.face import MeshFaceTracker
from synctalk.face_sync import LAYOUT, AudioVisualEncoder, SyncDiscriminator, lip_shapes
from synctalk.face_sync.discriminator import REACH, SHAPE_DIM
from synctalk.face_sync.sync_training import SpokenClip, train_discriminator
from synctalk.media import VideoReader, read_audio

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def spoken(shared_data: Path) -> tuple[Tensor, Tensor]:
    """Eight seconds of a person whom neither network was trained on: features and lip shapes."""
    path = shared_data / "video" / "anchor_71s_512.mp4"
    with VideoReader(path) as reader:
        frames = [frame for frame, _ in zip(reader.iter_rgb(), range(170), strict=False)]
    found = MeshFaceTracker(1).track(frames)
    wav = torch.from_numpy(read_audio(path))
    shapes = lip_shapes(torch.from_numpy(found.mesh), torch.from_numpy(found.score > 0))
    return AudioVisualEncoder.pretrained().encode(wav, len(frames)), shapes


@pytest.mark.parametrize("late", [0, 7, -9])
def test_the_lag_of_a_stranger_is_found(spoken, late):
    features, shapes = spoken
    lead = REACH + abs(late)
    rows = slice(lead, len(shapes) - lead)
    moved = shapes[rows.start - late : rows.stop - late]
    score = SyncDiscriminator.pretrained().judge(features[rows], moved)
    assert abs(score.lag_frames - late) <= 1
    assert (score.confidence > 0.1) == (late == 0)


def test_lip_shapes_forget_where_and_how_large_the_head_is():
    generator = np.random.default_rng(3)
    mesh = torch.from_numpy(generator.normal(size=(40, 478, 2)).astype(np.float32)) * 2.0
    mesh += torch.from_numpy(generator.normal(size=(1, 478, 2)).astype(np.float32)) * 50.0
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    valid = torch.ones(40, dtype=torch.bool)
    valid[5] = False
    before, after = lip_shapes(mesh, valid), lip_shapes(3.0 * mesh @ turn + 70.0, valid)
    assert before.shape == (40, SHAPE_DIM)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    assert float(before[5].abs().max()) == 0.0
    assert float(before[valid].mean(0).abs().max()) < 1e-5


def test_training_finds_what_sound_and_lips_share():
    generator = torch.Generator().manual_seed(0)

    def clip(speaker: int) -> SpokenClip:
        hidden = torch.randn(120, 2, generator=generator)
        mixing = torch.Generator().manual_seed(9)
        features = hidden @ torch.randn(2, LAYOUT.dim, generator=mixing)
        shapes = hidden @ torch.randn(2, SHAPE_DIM, generator=mixing)
        shapes = 0.05 * (shapes + torch.randn(120, SHAPE_DIM, generator=generator))
        return SpokenClip(str(speaker), (features,), shapes)

    judge = train_discriminator([clip(i) for i in range(6)], steps=60)
    unseen = clip(7)
    score = judge.judge(unseen.features[0][10:-10], unseen.shapes[6:-14])
    assert score.lag_frames == 4


def test_what_is_too_short_to_judge_is_refused():
    with pytest.raises(InputError) as caught:
        SyncDiscriminator().judge(torch.zeros(30, LAYOUT.dim), torch.zeros(30, SHAPE_DIM))
    assert caught.value.reason == "BAD_SYNC_CLIP"


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(MissingModelError, match="nowhere"):
        SyncDiscriminator.pretrained(tmp_path / "nowhere.safetensors")
