"""A service that gives free memory back when it is asked to, so that what it holds can be measured.

    python -m benchmarks.trimmed MODULE

runs the module; on SIGUSR2 malloc returns to the kernel what nobody uses (glibc alone).
"""

from __future__ import annotations

import ctypes
import gc
import runpy
import signal
import sys


def _give_back(*_: object) -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _give_back)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
