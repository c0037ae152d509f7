"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real and virtual test footage that lies beside the project."""
    path = Path(os.environ.get("SYNCTALK_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"test data not found at {path}: set SYNCTALK_TEST_DATA to its folder")
    return path


@pytest.fixture
def ict_file(shared_data: Path, tmp_path: Path) -> Path:
    """ICT-FaceKit's npz with its landmarks beside it, as ``--face-model`` wants them."""
    folder = shared_data / "weights" / "facemodel"
    (tmp_path / "ict.npz").symlink_to(folder / "ict_facekit_fp16.npz")
    (tmp_path / "ict.landmarks.json").symlink_to(folder / "ict_vertex_indices.json")
    return tmp_path / "ict.npz"
