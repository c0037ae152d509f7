"""A file of tensors whose header lies is refused before the library reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from synctalk.errors import InputError
from synctalk.tensor_files import checked


def written(path: Path, header: object, body: bytes = b"\x00" * 16) -> Path:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data + body)
    return path


def one(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


def test_what_the_library_writes_is_accepted(tmp_path: Path) -> None:
    arrays = {
        "a": np.zeros((3, 4), np.float32), "b": np.zeros((), np.int64), "c": np.zeros(0, np.uint8),
        "d": np.ones(5, bool), "e": np.zeros((2, 1, 2), np.float16),
    }  # fmt: skip
    save_file(arrays, tmp_path / "good", metadata={"made": "here"})
    assert set(load_file(checked(tmp_path / "good"))) == set(arrays)
    assert checked(written(tmp_path / "own", one()))


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"a":1}', b'{"a":{}}',
        one(shape=[5]), one(shape=[-4]), one(shape=[4.0]), one(shape=[True, 4]), one(shape="4"),
        one(shape=[1] * 9 + [4]), one(shape=[1 << 40, 1 << 40]), one(data_offsets=[0, 17]),
        one(data_offsets=[16, 0]), one(data_offsets=[-16, 0]), one(data_offsets=[0]),
        one(data_offsets=[1 << 63, (1 << 63) + 16]), one(dtype="object"), one(dtype=["F32"]),
        one(more=1), {"a" * (1 << 20): one()["a"]},
    ],
    ids=lambda header: str(header)[:60],
)  # fmt: skip
def test_a_header_that_is_not_true_is_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(InputError) as caught:
        checked(written(tmp_path / "bad", header))
    assert caught.value.reason == "TENSOR_FILE"


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\xff" * 8, b"\xff" * 100])
def test_a_length_beyond_the_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(InputError):
        checked(tmp_path / "bad")
