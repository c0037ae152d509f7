"""Fixtures shared by all tests, and how several workers share the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What takes longest starts first, so that workers end together.
LONGEST = ("tests/e2e", "tests/integration/services/avatars", "tests/integration")
# Files of these folders share what is dear to make: one worker runs them all. Elsewhere a file is
# what a worker takes.
SHARING = (*LONGEST[:2], "tests/unit/face", "tests/unit/evaluation")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for `pytest -n 2 --dist loadgroup`; alone, nothing changes."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_folder(item, SHARING) or item.path.name))
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {folder: place for place, folder in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(_folder(item, LONGEST), len(places)))


def _folder(item: pytest.Item, folders: tuple[str, ...]) -> str:
    """The first of the folders that the test lies in, or nothing."""
    path = item.path.relative_to(ROOT).as_posix()
    return next((folder for folder in folders if path.startswith(folder + "/")), "")


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
