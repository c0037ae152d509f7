"""The face-alignment adapter: what can be known without its weights, and tracker selection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synctalk.errors import MissingModelError
from synctalk.face import MeshFaceTracker, make_tracker
from synctalk.face.alignment import WEIGHTS, FaceAlignmentTracker, fan_box
from synctalk.face.detection import FaceDetector

from .clips import Image, Truth


@pytest.fixture
def empty_torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch home without weights, and no way to download them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_absent_weights_are_named_with_their_place(empty_torch_home: Path) -> None:
    pytest.importorskip("face_alignment")
    with pytest.raises(MissingModelError, match=WEIGHTS) as caught:
        FaceAlignmentTracker("cpu")
    assert caught.value.reason == "FACE_ALIGNMENT_WEIGHTS"
    assert str(empty_torch_home / "hub" / "checkpoints" / WEIGHTS) in caught.value.remedy


def test_the_box_is_the_tight_box_of_the_68_points(
    virtual_frames: list[Image], virtual_truth: Truth
) -> None:
    detector = FaceDetector()
    for index in range(0, 100, 20):
        (detection,) = detector(virtual_frames[index])
        x0, y0, x1, y1, score = fan_box(detection)
        points = virtual_truth.landmarks[index]
        tight = np.concatenate([points.min(0), points.max(0)])
        size = (tight[2:] - tight[:2]).mean()
        assert np.abs(np.array([x0, y0, x1, y1]) - tight).max() < 0.1 * size
        assert 0.5 < score <= 1


def test_auto_is_the_mesh_without_cuda_or_weights(empty_torch_home: Path) -> None:
    assert isinstance(make_tracker("auto", "cpu"), MeshFaceTracker)
    assert isinstance(make_tracker("auto", "cuda"), MeshFaceTracker)  # no weights here
    assert isinstance(make_tracker("mesh"), MeshFaceTracker)
    if not torch.cuda.is_available():
        assert isinstance(make_tracker(), MeshFaceTracker)


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ValueError, match="'magic'"):
        make_tracker("magic")
