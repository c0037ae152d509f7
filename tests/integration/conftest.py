"""What the tests of several folders share."""

from __future__ import annotations

import pytest
from tiny import TinySubject, make_tiny_subject


@pytest.fixture(scope="session")
def tiny_subject(tmp_path_factory: pytest.TempPathFactory) -> TinySubject:
    """A small avatar, trained once for the whole run of the tests."""
    return make_tiny_subject(tmp_path_factory.mktemp("tiny"))
