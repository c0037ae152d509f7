"""The machine a figure was measured on: no benchmark's number means anything without it."""

from __future__ import annotations

import dataclasses
import importlib
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Machine:
    """What a measured figure depends on.

    Args:
        cpu: model name of the processor.
        cores: cores this process may use (affinity, then the container's quota).
        memory_gib: memory this process may use, GiB (the container's limit where it is lower).
        os: distribution and kernel.
        python: version of the interpreter.
        torch: version of torch.
        torch_threads: threads torch would use for one operation.
        kernel: instruction set the CPU rasteriser chose, or ``"not built"``.
        gpu: name of the first CUDA device, or ``"none"``.
        commit: short hash of the project's checkout, ``+`` when changed, or ``""``.
    """

    cpu: str
    cores: int
    memory_gib: float
    os: str
    python: str
    torch: str
    torch_threads: int
    kernel: str
    gpu: str
    commit: str

    def summary(self) -> str:
        """One line for the head of a table."""
        graphics = "" if self.gpu == "none" else f", {self.gpu}"
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib:g} GiB{graphics}; {self.os}; "
            f"Python {self.python}, torch {self.torch}, kernel {self.kernel}"
        )

    def as_dict(self) -> dict[str, str | int | float]:
        """For a JSON file."""
        return dataclasses.asdict(self)


def describe_machine() -> Machine:
    """Describe this machine as this process sees it."""
    return Machine(
        cpu=_cpu_model(),
        cores=usable_cores(),
        memory_gib=round(_memory_bytes() / 2**30, 1),
        os=f"{_distribution()}, {platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        torch_threads=torch.get_num_threads(),
        kernel=_kernel_variant(),
        gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        commit=_commit(),
    )


def usable_cores() -> int:
    """Cores this process may use: its affinity mask, cut by the cgroup's CPU quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _first_line(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        return max(1, min(affinity or 1, round(int(quota[0]) / int(quota[1]))))
    return affinity or 1


def _cpu_model() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _first_line(Path("/sys/fs/cgroup/memory.max"))
    return min(physical, int(limit)) if limit.isdigit() else physical


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _kernel_variant() -> str:
    """The rasteriser is a native module that may not be built where figures are only read."""
    try:
        variant = importlib.import_module("synctalk.render._kernel").variant()
    except ImportError:
        return "not built"
    return str(variant)


def _commit() -> str:
    """Of the checkout that this file lies in; an installed wheel has none."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        command = [
            "git",
            "--no-optional-locks",
            "-C",
            str(root),
            "describe",
            "--always",
            "--dirty=+",
            "--exclude=*",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def _first_line(path: Path) -> str:
    lines = _lines(path)
    return lines[0].strip() if lines else ""
