"""The tables of docs/reference say what the code says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(root: Path) -> subprocess.CompletedProcess[str]:
    script = root / "docs" / "reference" / "generate.py"
    return subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The tables and their generator apart from the code, which is the same."""
    shutil.copytree(ROOT / "docs" / "reference", tmp_path / "docs" / "reference")
    for package in ("services", "synctalk"):
        (tmp_path / package).symlink_to(ROOT / package)
    return tmp_path


def test_the_committed_tables_are_what_the_code_says() -> None:
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


def test_a_table_that_lacks_a_row_is_named(checkout: Path) -> None:
    page = checkout / "docs" / "reference" / "errors.md"
    kept = [line for line in page.read_text().splitlines() if "`NO_FACE`" not in line]
    page.write_text("\n".join(kept) + "\n")
    done = check(checkout)
    assert done.returncode == 1
    assert "errors.md" in done.stderr
    assert "metrics.md" not in done.stderr
    assert "make docs" in done.stderr


def test_a_reason_that_cannot_be_read_from_the_code_is_refused(checkout: Path) -> None:
    (checkout / "synctalk").unlink()
    (checkout / "synctalk").mkdir()
    shutil.copy(ROOT / "synctalk" / "errors.py", checkout / "synctalk")
    (checkout / "synctalk" / "hidden.py").write_text(
        "def fail(why: str) -> None:\n    raise InputError('What.', reason=why, remedy='Do.')\n"
    )
    done = check(checkout)
    assert done.returncode == 1
    assert "synctalk/hidden.py:2" in done.stderr
