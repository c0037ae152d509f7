"""What the tests of several folders share."""

from __future__ import annotations

import pytest
from filelock import FileLock
from tiny import TinySubject, make_tiny_subject


@pytest.fixture(scope="session")
def tiny_subject(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> TinySubject:
    """A small avatar, trained once for the whole run of the tests, whoever comes first."""
    base = tmp_path_factory.getbasetemp()
    folder = base / "tiny" if worker_id == "master" else base.parent / "tiny"
    with FileLock(f"{folder}.lock"):
        return make_tiny_subject(folder)
