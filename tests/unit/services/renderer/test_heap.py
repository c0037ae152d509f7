"""What was freed goes back to the kernel, and not too often."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import synctalk
from services.renderer.heap import EVERY_S, Heap

assert synctalk.__doc__  # whose import lets glibc keep freed memory


def resident_mib() -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def test_freed_memory_is_given_back_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    kept = Heap()
    pieces = [np.ones(1 << 17, np.uint8) for _ in range(1024)]
    stays = pieces[::8]  # gaps between what is still needed
    full = resident_mib()
    del pieces
    assert not kept.settle()
    assert resident_mib() > full - 20
    clock[0] += EVERY_S
    assert kept.settle()
    assert resident_mib() < full - 80
    assert not kept.settle()
    assert sum(int(piece.sum()) for piece in stays) == 128 << 17
