"""Freed memory goes back to the kernel now and then.

``synctalk`` lets glibc keep what was freed, which makes images quicker. Thousands of segments of
all lengths, in several threads, leave gaps in what is kept: half a KiB a frame, for as long as
frames come.
"""

from __future__ import annotations

import ctypes
import threading
import time

EVERY_S = 30.0  # once takes some 40 ms, as long as two or three frames


class Heap:
    """The process's; threads share it."""

    def __init__(self) -> None:
        self._settled_s = time.monotonic()
        self._lock = threading.Lock()
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it

    def settle(self) -> bool:
        """Give back what is free, unless that was done a moment ago; whether it was done now."""
        with self._lock:
            now_s = time.monotonic()
            if self._trim is None or now_s - self._settled_s < EVERY_S:
                return False
            self._settled_s = now_s
        self._trim(0)
        return True
