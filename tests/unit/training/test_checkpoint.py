"""Checkpoints are whole or absent, and refuse another run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from synctalk.bundle import CurvePoint
from synctalk.errors import TrainingError
from synctalk.training.checkpoint import (
    Checkpoint,
    discard,
    load_checkpoint,
    save_checkpoint,
    working_folder,
)


def _checkpoint(step: int) -> Checkpoint:
    curve = (CurvePoint(1.5, step, 30.0),)
    return Checkpoint("run", step, 2.5, curve, {"model.base": torch.full((3, 2), float(step))})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = working_folder(tmp_path / "avatar")
    save_checkpoint(folder, _checkpoint(10))
    save_checkpoint(folder, _checkpoint(20))
    loaded = load_checkpoint(folder, "run")
    assert loaded is not None
    assert (loaded.step, loaded.seconds, loaded.curve) == (20, 2.5, (CurvePoint(1.5, 20, 30.0),))
    assert torch.equal(loaded.tensors["model.base"], torch.full((3, 2), 20.0))
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_an_interrupted_save_leaves_the_last_one_valid(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _checkpoint(10))
    (tmp_path / "step_20.writing").write_bytes(b"half a file")
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert loaded.step == 10


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _checkpoint(10))
    with pytest.raises(TrainingError, match="another dataset") as error:
        load_checkpoint(tmp_path, "other")
    assert error.value.reason == "CHECKPOINT_MISMATCH"


def test_no_checkpoint_is_none_and_discard_removes(tmp_path: Path) -> None:
    folder = tmp_path / "x.training"
    assert load_checkpoint(folder, "run") is None
    save_checkpoint(folder, _checkpoint(1))
    discard(folder)
    assert not folder.exists()


def test_a_crash_between_tensors_and_state_leaves_the_last_one_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, _checkpoint(10))

    def crash(*names: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, _checkpoint(20))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert loaded.step == 10
    assert torch.equal(loaded.tensors["model.base"], torch.full((3, 2), 10.0))
    save_checkpoint(tmp_path, _checkpoint(30))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert loaded.step == 30
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["step_30.safetensors"]


def test_tensors_keep_every_bit_their_type_and_their_shape(tmp_path: Path) -> None:
    odd = torch.tensor([1e-45, 0.1, -0.0, 3.4e38, float("inf"), float("nan")])
    tensors = {
        "odd": odd,
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "count": torch.tensor(7),
        "half": torch.tensor([0.1], dtype=torch.float16),
        "grown": torch.nn.Parameter(torch.ones(2, 2)),
        "none": torch.zeros(0, 3),
    }
    save_checkpoint(tmp_path, Checkpoint("run", 1, 0.0, (), tensors))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        got = loaded.tensors[name]
        assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
        assert got.numpy().tobytes() == tensor.detach().contiguous().numpy().tobytes()


def test_the_working_folder_stands_beside_the_avatar(tmp_path: Path) -> None:
    assert working_folder(tmp_path / "me.avatar") == tmp_path / "me.avatar.training"
