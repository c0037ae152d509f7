"""Checkpoints are whole or absent, and refuse another run."""

from __future__ import annotations

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
