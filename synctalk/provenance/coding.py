"""From a mark's number to signs of carriers and back: a keyed check and a convolutional code.

The 48 bits of an id are followed by 24 bits that only the key's owner can compute, so that what
chance or a stranger puts there is not taken for a mark. A code of constraint length 9 and rate 1/4,
decoded softly (Viterbi), carries them through noise stronger than each single carrier.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache

import numpy as np
from numpy.typing import NDArray

ID_BITS = 48
CHECK_BITS = 24
MAX_ID = (1 << ID_BITS) - 1
_MEMORY = 8
_POLYNOMIALS = (0o765, 0o671, 0o513, 0o473)  # free distance 24, the most there is
_STATES = 1 << _MEMORY
CODED_BITS = (ID_BITS + CHECK_BITS + _MEMORY) * len(_POLYNOMIALS)

Signs = NDArray[np.float32]
Bits = NDArray[np.uint8]


def encode(mark_id: int, key: bytes) -> Signs:
    """[CODED_BITS] of +1 and -1.

    Raises:
        ValueError: ``mark_id`` is not from 1 to ``MAX_ID``.
    """
    if not 0 < mark_id <= MAX_ID:
        raise ValueError(f"mark id {mark_id} is not from 1 to {MAX_ID}")
    word = mark_id << CHECK_BITS | _check(mark_id, key)
    outputs, state, coded = _outputs(), 0, []
    for bit in [*_bits(word, ID_BITS + CHECK_BITS), *[0] * _MEMORY]:
        coded.append(outputs[state, bit])
        state = (state << 1 | bit) % _STATES
    return np.concatenate(coded)


def decode(received: NDArray[np.float64], key: bytes) -> int | None:
    """The id most likely sent as ``received`` [CODED_BITS], any scale; None if the check fails."""
    word = 0
    for bit in _viterbi(received.reshape(-1, len(_POLYNOMIALS))):
        word = word << 1 | bit
    mark_id, check = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    return mark_id if mark_id and check == _check(mark_id, key) else None


def _viterbi(steps: NDArray[np.float64]) -> list[int]:
    """The most likely bits, without the tail."""
    outputs = _outputs()
    metric = np.full(_STATES, -np.inf)
    metric[0] = 0
    after = np.arange(_STATES)
    before = np.stack([after >> 1, after >> 1 | _STATES >> 1])  # a state's two predecessors
    choices = []
    for step in steps:
        gained = outputs @ step  # [state, bit]
        both = metric[before] + gained[before, after & 1]
        choice = both.argmax(0)
        choices.append(choice)
        metric = both[choice, after]
    state, bits = 0, []
    for choice in reversed(choices):
        bits.append(state & 1)
        state = int(before[choice[state], state])
    return bits[::-1][: ID_BITS + CHECK_BITS]


@cache
def _outputs() -> NDArray[np.float32]:
    """[state, bit, polynomial] of +1 and -1; a state is the last bits, the youngest lowest."""
    register = np.arange(_STATES)[:, None] << 1 | np.arange(2)
    parity = [np.bitwise_count(register & polynomial) & 1 for polynomial in _POLYNOMIALS]
    return (1 - 2.0 * np.stack(parity, -1)).astype(np.float32)


def _bits(word: int, count: int) -> list[int]:
    return [word >> place & 1 for place in range(count - 1, -1, -1)]


def _check(mark_id: int, key: bytes) -> int:
    digest = hmac.digest(key, b"mark check" + mark_id.to_bytes(8, "big"), hashlib.sha256)
    return int.from_bytes(digest[: CHECK_BITS // 8], "big")
