"""Fixtures shared by all tests, and how several workers share the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent
# What takes longest starts first, so that workers end together. The demo keeps all cores busy,
# which the live sessions at the end of tests/e2e would not bear.
LONGEST = (
    "tests/e2e",
    "tests/integration/test_cli_demo.py",
    "tests/integration/services/avatars",
    "tests/integration",
)
# Files of these folders share what is dear to make: one worker runs them all. Elsewhere a file is
# what a worker takes.
SHARING = (
    *LONGEST[:3],
    "tests/integration/services/gateway/live",
    "tests/integration/services/live",
    "tests/integration/services/renderer",
    "tests/unit/face",
    "tests/unit/evaluation",
)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Let a worker take a file, or a folder that shares."""
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _first_around(path, SHARING) or path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests as several workers take them; one process keeps the cheap ones first."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {folder: place for place, folder in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(_first_around(item.nodeid, LONGEST), len(places)))


def _first_around(path: str, folders: tuple[str, ...]) -> str:
    """The first of the folders and files that the path lies in, or nothing."""
    inside = path.partition("::")[0] + "/"
    return next((folder for folder in folders if inside.startswith(folder + "/")), "")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real and virtual test footage that lies beside the project."""
    path = Path(os.environ.get("SYNCTALK_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"test data not found at {path}: set SYNCTALK_TEST_DATA to its folder")
    return path


@pytest.fixture(scope="session", autouse=True)
def _development_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Made for the tests and not in the home of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("provenance") / "authority"
        patch.setenv("AVATAR_PROVENANCE__FOLDER", str(folder))
        yield


@pytest.fixture
def ict_file(shared_data: Path, tmp_path: Path) -> Path:
    """ICT-FaceKit's npz with its landmarks beside it, as ``--face-model`` wants them."""
    folder = shared_data / "weights" / "facemodel"
    (tmp_path / "ict.npz").symlink_to(folder / "ict_facekit_fp16.npz")
    (tmp_path / "ict.landmarks.json").symlink_to(folder / "ict_vertex_indices.json")
    return tmp_path / "ict.npz"
