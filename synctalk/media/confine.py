"""Take from this process what decoding a file does not need.

Two of Linux's means, both for good and for all threads: a seccomp filter (no network, no other
programs or processes, no keys, mounts or kernel modules) and Landlock (no files but those named).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from synctalk.errors import MediaError

# Calls that are refused with EPERM: number on x86-64, on arm64 (None: there is none).
# https://github.com/torvalds/linux/blob/master/scripts/syscall.tbl
_NETWORK = (
    (41, 198), (53, 199), (42, 203), (49, 200), (50, 201), (43, 202), (288, 242),  # socket … accept
    (44, 206), (46, 211), (307, 269), (45, 207), (47, 212), (299, 243),  # send…, recv…
    (425, 425), (426, 426), (427, 427),  # io_uring does all of this unseen
)  # fmt: skip
_PROCESSES = (
    (59, 221), (322, 281), (57, None), (58, None),  # execve, execveat, fork, vfork
    (62, 129), (200, 130), (234, 131), (129, 138), (297, 240),  # kill …, rt_tgsigqueueinfo
    (101, 117), (310, 270), (311, 271), (424, 424), (434, 434), (438, 438),  # ptrace …, pidfd_…
)  # fmt: skip
_SYSTEM = (
    (272, 97), (308, 268), (165, 40), (166, 39), (155, 41), (161, 51),  # unshare … chroot
    (428, 428), (429, 429), (430, 430), (432, 432), (442, 442),  # the newer calls around mount
    (248, 217), (249, 218), (250, 219),  # keys
    (298, 241), (321, 280), (323, 282), (304, 265),  # perf, bpf, userfaultfd, open_by_handle_at
    (175, 105), (313, 273), (176, 106), (246, 104), (320, 294), (169, 142),  # modules … reboot
)  # fmt: skip
_CLONE, _CLONE3 = (56, 220), 435
_CLONE_THREAD = 0x10000
_ARCHES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF instructions
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # Landlock, the same everywhere
_READ = 1 << 2 | 1 << 3  # files, folders
_WRITE = _READ | 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14  # write, remove, make, truncate; no links
_OF_FILES = 1 << 1 | 1 << 2 | 1 << 14
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_HANDLED_NOW = (1 << 16) - 1


def confine(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """From now on this process reads only ``readable`` and its own program, and has no network.

    It can start no process, send no signal, and make nothing but plain files in ``writable``.
    On other systems than Linux, and on other processors than x86-64 and arm64, nothing changes;
    on kernels without Landlock (before 5.13) files stay as they are.

    Raises:
        MediaError: ``SANDBOX_UNAVAILABLE`` where the kernel takes no seccomp filter.
    """
    if sys.platform != "linux" or platform.machine() not in _ARCHES:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _limit_files(libc, readable, writable)
    code = _program(*_ARCHES[platform.machine()])
    buffer = ctypes.create_string_buffer(code)
    count = len(code) // 8
    program = struct.pack("@HP", count, ctypes.addressof(buffer))
    _prctl(libc, _PR_SET_SECCOMP, _MODE_FILTER, ctypes.create_string_buffer(program))


def _program(column: int, arch: int) -> bytes:
    """The filter as BPF: kill another architecture, refuse the lists above, allow the rest."""
    numbers = [row[column] for row in (*_NETWORK, *_PROCESSES, *_SYSTEM)]
    refused = [number for number in numbers if number is not None]
    head = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    # Behind the tests, in this order: allow, refuse, no such call, is this clone for a thread?
    refuse, unknown, cloning = 1, 2, 3
    tests = [
        (_AT_LEAST, 0x40000000, refuse),  # x32 has other numbers
        *((_EQUAL, number, refuse) for number in refused),
        (_EQUAL, _CLONE3, unknown),  # the C library then asks by clone
        (_EQUAL, _CLONE[column], cloning),
    ]
    n = len(tests)
    jumps = [(kind, n - 1 - k + to, 0, value) for k, (kind, value, to) in enumerate(tests)]
    tail = [
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
    ]
    return b"".join(struct.pack("=HBBI", *each) for each in (*head, *jumps, *tail))


def _limit_files(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    handled = _HANDLED.get(version, _HANDLED_NOW)
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    rules = _checked(libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(8), 0))
    try:
        for path in (*readable, *_own_program()):
            _allow(libc, rules, path, _READ & handled)
        for path in writable:
            _allow(libc, rules, path, _WRITE & handled)
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _own_program() -> list[Path]:
    """Where modules and libraries that are still to be loaded lie."""
    package = Path(__file__).resolve().parents[1]
    roots = (
        package,
        Path(sys.prefix),
        Path(sys.base_prefix),
        *map(Path, ("/usr", "/lib", "/lib64")),
    )
    return [root for root in roots if root.exists()]


def _allow(libc: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        access &= -1 if path.is_dir() else _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, there), 12)
        _checked(libc.syscall(_ADD_RULE, rules, 1, rule, 0))
    finally:
        os.close(there)


def _prctl(libc: ctypes.CDLL, option: int, value: int, pointer: object = None) -> None:
    zero = ctypes.c_ulong(0)
    _checked(libc.prctl(option, ctypes.c_ulong(value), pointer, zero, zero))


def _checked(result: int) -> int:
    if result < 0:
        raise MediaError(
            f"this process cannot be confined ({os.strerror(ctypes.get_errno())}).",
            reason="SANDBOX_UNAVAILABLE",
            remedy="Decode untrusted files on a Linux kernel that allows seccomp filters.",
        )
    return result
