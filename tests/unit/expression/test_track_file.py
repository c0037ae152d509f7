from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synctalk.errors import InputError
from synctalk.expression import read_blendshapes
from synctalk.face import ARKIT_NAMES

BLINK = ARKIT_NAMES.index("eyeBlinkLeft")


def test_csv_columns_are_found_by_name_whatever_else_is_there(tmp_path: Path) -> None:
    file = tmp_path / "take.csv"
    file.write_text(
        "Timecode,BlendshapeCount,EyeBlinkLeft,browInnerUp,HeadYaw\n"
        "00:00:01:00,61,0.25,1.5,0.1\n00:00:01:01,61,0.5,-0.2,0.1\n"
    )
    rows = read_blendshapes(file, 4)
    assert rows.shape == (4, 52)
    assert rows[:, BLINK].tolist() == [0.25, 0.5, 0.5, 0.5]
    assert rows[:, ARKIT_NAMES.index("browInnerUp")].tolist() == [1, 0, 0, 0]
    assert rows.sum() == pytest.approx(2.75)


def test_npz_is_read_in_arkit_order_or_by_names(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 52)).astype("f4")
    np.savez(tmp_path / "all.npz", blendshapes=values)
    np.testing.assert_array_equal(read_blendshapes(tmp_path / "all.npz", 3), values[:3])
    np.savez(tmp_path / "one.npz", blendshapes=values[:, :1], names=np.array(["eyeBlinkLeft"]))
    np.testing.assert_array_equal(read_blendshapes(tmp_path / "one.npz", 5)[:, BLINK], values[:, 0])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no_names.csv", b"a,b\n1,2\n"),
        ("no_rows.csv", b"eyeBlinkLeft\n"),
        ("words.csv", b"eyeBlinkLeft\nshut\n"),
        ("nan.csv", b"eyeBlinkLeft\nnan\n"),
        ("ragged.csv", b"x,eyeBlinkLeft\n1\n"),
        ("binary.csv", bytes(range(256))),
        ("not.npz", b"PK\x03\x04 broken"),
        ("empty.npz", b""),
    ],
)
def test_what_is_no_track_is_refused_with_its_name(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as caught:
        read_blendshapes(tmp_path / name, 5)
    assert caught.value.reason == "EXPRESSION_FILE"


def test_a_zip_of_a_later_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "later.npz"
    np.savez(file, blendshapes=np.zeros((2, 52), np.float32))
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 182  # version needed to extract
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"18\.2"):
        read_blendshapes(file, 2)


def test_pickles_inside_an_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", blendshapes=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError):
        read_blendshapes(tmp_path / "bad.npz", 5)


def test_a_misspelt_choice_is_told_from_a_file() -> None:
    with pytest.raises(InputError) as caught:
        read_blendshapes("emphatik", 5)
    assert caught.value.reason == "EXPRESSION_NOT_FOUND"
