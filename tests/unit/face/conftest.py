"""One tracked clip of the virtual subject, shared by the face tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from synctalk.face import FaceTrack, MeshFaceTracker

from .clips import Image, Truth, read_frames, read_truth

COUNT = 500


@pytest.fixture(scope="session")
def virtual_frames(shared_data: Path) -> list[Image]:
    return read_frames(shared_data / "virtual" / "subject_a" / "train.mp4", count=COUNT)


@pytest.fixture(scope="session")
def virtual_truth(shared_data: Path) -> Truth:
    return read_truth(shared_data / "virtual" / "subject_a" / "truth.npz", COUNT)


@pytest.fixture(scope="session")
def mesh_tracker() -> MeshFaceTracker:
    return MeshFaceTracker()


@pytest.fixture(scope="session")
def virtual_track(mesh_tracker: MeshFaceTracker, virtual_frames: list[Image]) -> FaceTrack:
    return mesh_tracker.track(virtual_frames)
