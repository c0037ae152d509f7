"""Damage to bytes, by a seeded generator: the same seed, the same damage."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """``data`` with one to eight changes, most of them where headers are."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        if not changed:
            break
        rng.choice(_CHANGES)(changed, others, rng)
    return bytes(changed)


def _place(data: bytearray, rng: random.Random) -> int:
    """Half of the time in the first kilobyte."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 1024)
    return rng.randrange(end)


def _flip(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    data[_place(data, rng)] = rng.randrange(256)


def _number(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    size, at = rng.choice((1, 2, 4, 8)), _place(data, rng)
    value = rng.choice(_EXTREMES) & (1 << 8 * size) - 1
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _truncate(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 16, 256))]


def _repeat(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at, size = _place(data, rng), rng.choice((4, 32, 512))
    data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))


def _splice(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    at, start = _place(data, rng), rng.randrange(len(other))
    data[at : at + 256] = other[start : start + rng.choice((16, 256, 4096))]


def _noise(data: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    at, size = _place(data, rng), rng.choice((8, 64, 512))
    data[at : at + size] = rng.randbytes(size)


_CHANGES: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    _flip, _flip, _set, _number, _number, _number, _truncate, _remove, _repeat, _splice, _noise,
)  # fmt: skip
