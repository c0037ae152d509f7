"""Damaged media files: each is read or refused, and nothing else ever happens."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from fuzz_media import fuzz
from fuzz_report import FILES, KEEP, SECONDS, SEED


@pytest.fixture(scope="module")
def clean() -> Iterator[Executor]:
    """A process that forks, which one with threads of gRPC must not."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        yield executor


def test_a_damaged_file_is_read_or_refused(clean: Executor) -> None:
    """Nothing crashes, hangs beyond its limit, or leaves files, children or memory behind."""
    report = clean.submit(fuzz, SEED, FILES, SECONDS, KEEP).result()
    report.publish()
    assert not report.findings, report
    assert report.count == FILES or report.out_of_time, report
    assert report.outcomes["ok"] > 0.1 * report.count, "damage was so great that nothing is read"


def test_a_report_says_that_its_time_was_over(clean: Executor) -> None:
    report = clean.submit(fuzz, SEED, FILES, 0.0).result()
    assert (report.count, report.out_of_time) == (0, True)
    assert "ENDED BY THE TIME LIMIT" in str(report)
