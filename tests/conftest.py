"""Fixtures shared by all tests, and how several workers share the tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
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


class _Machine:
    """The machine as workers share it: with each other, or for one alone."""

    def __init__(self, folder: Path) -> None:
        self._gate = (folder / "gate").open("w")
        self._room = (folder / "room").open("w")
        self._way = fcntl.LOCK_UN

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._held(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._held(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _held(self, way: int) -> Iterator[None]:
        """Who waits keeps newcomers at the gate, or the room would never be empty."""
        before, self._way = self._way, way
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, way)
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, before)
            self._way = before


_MACHINE = pytest.StashKey[_Machine]()


def pytest_configure(config: pytest.Config) -> None:
    """Share the machine with the other workers, if there are any."""
    if "PYTEST_XDIST_WORKER" in os.environ and config.cache is not None:
        config.stash[_MACHINE] = _Machine(config.cache.mkdir("machine"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run beside other workers' tests, but not beside one that is ``realtime``."""
    machine = item.config.stash.get(_MACHINE, None)
    with machine.shared() if machine else nullcontext():
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let what is ``realtime`` have the machine to itself, once its fixtures are made."""
    machine = item.config.stash.get(_MACHINE, None)
    alone = item.get_closest_marker("realtime") is not None
    with machine.alone() if machine and alone else nullcontext():
        return (yield)


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
