"""Damaged media files: each is read or refused, and nothing else ever happens."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from fuzz_media import fuzz
from fuzz_report import FILES, KEEP, SECONDS, SEED


def test_a_damaged_file_is_read_or_refused() -> None:
    """Nothing crashes, hangs beyond its limit, or leaves files, children or memory behind."""
    # It forks, which a process with threads of gRPC must not.
    with ProcessPoolExecutor(1, get_context("spawn")) as clean:
        report = clean.submit(fuzz, SEED, FILES, SECONDS, KEEP).result()
    report.publish()
    assert not report.findings, report
    assert report.outcomes["ok"] > 0.1 * report.count, "damage was so great that nothing is read"
