"""Backgrounds as users give them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import artifacts
import cv2
import numpy as np
import pytest
import torch

from synctalk import bundle
from synctalk.backdrop import Backdrop, colour, cover
from synctalk.bundle import AvatarBundle, FrameMattes, Mattes, write_bundle
from synctalk.errors import BundleError, InputError, MediaError
from synctalk.media import VideoReader, read_picture

SCENE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)


def mattes() -> Mattes:
    frames = (
        FrameMattes(np.full((64, 96), i, np.uint8), np.full((64, 64), 2 * i, np.uint8))
        for i in range(artifacts.N)
    )
    return Mattes(SCENE, frames)


@pytest.fixture
def avatar(tmp_path: Path) -> AvatarBundle:
    data = artifacts.dataset(tmp_path / "me.dataset")
    tensors = {"steps": torch.tensor([3])}
    return write_bundle(tmp_path / "a", artifacts.bundle_manifest(), tensors, data, mattes())


def test_mattes_and_scene_are_read_back_exactly(avatar: AvatarBundle) -> None:
    avatar.verify()
    assert avatar.has_mattes
    assert (avatar.background() == SCENE).all()
    found = list(VideoReader(avatar.path / bundle.MATTE).iter_grey())
    assert [(f.shape, int(f[0, 0])) for f in found] == [((64, 96), i) for i in range(artifacts.N)]
    plates = list(VideoReader(avatar.path / bundle.PLATE_MATTE).iter_grey())
    assert [int(f[0, 0]) for f in plates] == [2 * i for i in range(artifacts.N)]


@pytest.mark.parametrize("name", bundle.MATTE_PARTS)
def test_a_lost_or_damaged_matte_is_named(avatar: AvatarBundle, name: str) -> None:
    artifacts.flip_a_byte(avatar.path / name)
    with pytest.raises(BundleError, match=name):
        avatar.verify()
    (avatar.path / name).unlink()
    with pytest.raises(BundleError, match=name) as caught:
        AvatarBundle.open(avatar.path)
    assert caught.value.reason == "BUNDLE_INCOMPLETE"


def test_an_avatar_without_mattes_is_refused_with_a_remedy(tmp_path: Path) -> None:
    data = artifacts.dataset(tmp_path / "me.dataset")
    older = write_bundle(tmp_path / "a", artifacts.bundle_manifest(), {"x": torch.ones(1)}, data)
    assert not older.has_mattes
    with pytest.raises(BundleError) as caught:
        Backdrop(older, None)
    assert caught.value.reason == "AVATAR_WITHOUT_MATTE"
    assert caught.value.remedy


def test_a_colour_is_a_picture_of_one_pixel() -> None:
    assert colour("#0aFf10").tolist() == [[[10, 255, 16]]]
    for wrong in ("green", "#fff", "#12345g", "0aff10"):
        with pytest.raises(InputError, match="colour"):
            colour(wrong)


@pytest.mark.parametrize("shape", [(50, 400), (400, 50), (97, 31), (3, 3)])
def test_a_picture_fills_the_frame_and_keeps_its_middle(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 40, np.uint8)
    picture[shape[0] // 2, shape[1] // 2] = picture[(shape[0] - 1) // 2, (shape[1] - 1) // 2] = 250
    filled = cover(picture, 120, 80)
    assert filled.shape == (80, 120, 3)
    y, x = np.unravel_index(filled[..., 0].argmax(), (80, 120))
    assert abs(y - 40) <= 10
    assert abs(x - 60) <= 10


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_pictures_are_decoded_by_their_content(tmp_path: Path, suffix: str) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = (200, 30, 10)
    coded = cv2.imencode(f".{suffix}", image[..., ::-1])[1]
    path = tmp_path / "upload"  # no name to go by
    path.write_bytes(coded.tobytes())
    picture = read_picture(path)
    assert picture.shape == (40, 60, 3)
    assert np.abs(picture[20, 10].astype(int) - (200, 30, 10)).max() < 12
    assert picture[20, 50].max() < 12


def test_a_picture_taken_sideways_is_turned_upright(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = 255
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + struct.pack(">2sHIH", b"MM", 42, 8, 1) + orientation + bytes(4)
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    picture = read_picture(path)
    assert picture.shape == (60, 40, 3)  # orientation 6: its left side is the top
    assert picture[5].min() > 240
    assert picture[-5].max() < 15


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (tmp_path / "text.png").write_bytes(b"not a picture at all" * 50)
    (tmp_path / "other.png").write_bytes(cv2.imencode(".tiff", image)[1].tobytes())
    for name in ("text.png", "other.png"):
        with pytest.raises(MediaError) as caught:
            read_picture(tmp_path / name)
        assert caught.value.reason == "NOT_A_PICTURE"


def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    side = 40_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    row = zlib.compressobj(9)
    data = b"".join(row.compress(bytes(1 + 3 * side)) for _ in range(200)) + row.flush()
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )
    with pytest.raises(MediaError) as caught:
        read_picture(path)
    assert caught.value.reason in ("NOT_A_PICTURE", "DECODER_LIMIT")
