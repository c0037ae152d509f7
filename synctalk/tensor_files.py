"""A safetensors file's header, bounded and checked before the library reads the file.

Eight bytes give the length of a JSON object that names tensors, their types, shapes and places.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from synctalk.errors import InputError

_HEADER_BYTES = 1 << 20  # ours take some kilobytes; the library would take a hundred megabytes
_MOST_AXES = 8
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip


def checked(path: Path) -> Path:
    """``path``, whose header is short, whole, and speaks of no more than the file holds.

    Raises:
        InputError: ``TENSOR_FILE``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= min(_HEADER_BYTES, size - 8) else b""
    try:
        tensors: dict[str, Any] = json.loads(header)
        tensors.pop("__metadata__", None)
        whole = all(_fits(size - 8 - length, **tensor) for tensor in tensors.values())
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        whole = False
    if not whole:
        raise InputError(
            f"{path}: not a whole file of tensors (its header is too long, or not true).",
            reason="TENSOR_FILE",
            remedy="Copy the folder again, or make it anew.",
        )
    return path


def _fits(room: int, dtype: str, shape: list[int], data_offsets: list[int]) -> bool:
    first, last = data_offsets
    plain = all(type(number) is int and number >= 0 for number in (*shape, first, last))
    if not plain or len(shape) > _MOST_AXES or not first <= last <= room:
        return False
    return 8 * (last - first) == _BITS.get(dtype, -1) * math.prod(shape)
