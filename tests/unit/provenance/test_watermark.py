"""Frames carry an id that a detector reads without the original."""

import io
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from synctalk.media import Yuv420
from synctalk.provenance import OFF, Marker, Provenance, Stamp
from synctalk.provenance.coding import CODED_BITS, MAX_ID, decode, encode
from synctalk.provenance.detection import detect, flatten

KEY = b"a key of these tests"
MARK = 0x123456789ABC
FRAMES = 13
FACE = slice(80, 320), slice(150, 360)  # of speech_20s_450


@pytest.fixture(scope="module")
def clip(shared_data: Path) -> list[np.ndarray]:
    """I420 [1.5 H, W] of a real person's first frames."""
    with av.open(str(shared_data / "video/speech_20s_450.mp4")) as container:
        frames = container.decode(video=0)
        return [next(frames).reformat(format="yuv420p").to_ndarray() for _ in range(FRAMES)]


@pytest.fixture(scope="module")
def marked(clip: list[np.ndarray]) -> list[np.ndarray]:
    copies = [frame.copy() for frame in clip]
    for copy in copies:
        marker(copy.shape[1], copy.shape[0] * 2 // 3).mark(luma(copy))
    return copies


@cache
def marker(width: int, height: int) -> Marker:
    return Marker(MARK, KEY, width, height)


def luma(i420: np.ndarray) -> np.ndarray:
    return i420[: i420.shape[0] * 2 // 3]


def encoded(frames: list[np.ndarray], codec: str = "libx264", **options: str) -> list[np.ndarray]:
    """The frames after an encoder and its decoder."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1", **options})
        stream.height, stream.width = luma(frames[0]).shape
        stream.pix_fmt = "yuv420p"
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as container:
        return [f.reformat(format="yuv420p").to_ndarray() for f in container.decode(video=0)]


def scaled(frames: list[np.ndarray], factor: float) -> list[np.ndarray]:
    height, width = (round(side * factor) // 2 * 2 for side in luma(frames[0]).shape)
    made = (av.VideoFrame.from_ndarray(frame, format="yuv420p") for frame in frames)
    return [frame.reformat(width, height).to_ndarray() for frame in made]


def found(lumas: list[np.ndarray], key: bytes = KEY) -> int | None:
    detection = detect(np.mean([flatten(each) for each in lumas], 0, dtype=np.float32), key)
    return detection.mark_id if detection else None


def test_a_coded_id_is_read_through_noise_as_strong_as_each_of_its_signs() -> None:
    random = np.random.default_rng(0)
    for mark_id in (1, MARK, MAX_ID):
        noisy = encode(mark_id, KEY) + random.normal(size=CODED_BITS)
        assert decode(noisy, KEY) == mark_id
        assert decode(noisy, b"another key") is None


def test_noise_is_no_id() -> None:
    random = np.random.default_rng(1)
    assert all(decode(random.normal(size=CODED_BITS), KEY) is None for _ in range(20))


@pytest.mark.parametrize("mark_id", [0, -1, MAX_ID + 1])
def test_an_id_that_does_not_fit_is_refused(mark_id: int) -> None:
    with pytest.raises(ValueError, match="mark id"):
        encode(mark_id, KEY)


def test_a_mark_costs_little_and_is_in_every_frame(clip: list, marked: list) -> None:
    for before, after in zip(clip, marked, strict=True):
        error = after.astype(np.float64) - before
        assert 10 * np.log10(255**2 / (luma(error) ** 2).mean()) >= 43.3
        colours = [
            av.VideoFrame.from_ndarray(each, format="yuv420p").to_ndarray(format="rgb24")
            for each in (before, after)
        ]
        difference = colours[0].astype(np.float64) - colours[1]
        assert 10 * np.log10(255**2 / (difference**2).mean()) >= 42
    assert found([luma(marked[0])]) == MARK
    assert found([luma(marked[-1])]) == MARK


def test_an_unmarked_picture_and_another_key_find_nothing(clip: list, marked: list) -> None:
    assert found([luma(frame) for frame in clip]) is None
    assert found([luma(marked[0])], b"another key") is None


def test_a_mark_survives_strong_compression(marked: list) -> None:
    assert found([luma(f) for f in encoded(marked, crf="28", preset="veryfast")]) == MARK


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_mark_survives_scaling(marked: list, factor: float) -> None:
    frames = encoded(scaled(marked, factor), crf="23", preset="veryfast")
    assert found([luma(frame) for frame in frames]) == MARK


def test_a_mark_survives_a_crop_to_the_face(marked: list) -> None:
    frames = [luma(frame)[FACE] for frame in encoded(marked, crf="20", preset="veryfast")]
    assert found(frames) == MARK


def test_a_mark_survives_a_second_codec(marked: list) -> None:
    first = encoded(marked, crf="18", preset="veryfast")
    frames = encoded(first, "libvpx-vp9", crf="36", b="0", deadline="realtime", **{"cpu-used": "8"})
    assert found([luma(frame) for frame in frames]) == MARK


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_screenshot_of_one_frame_is_enough(marked: list, kind: str) -> None:
    frame = encoded(marked, crf="18", preset="veryfast")[4]
    shot = av.VideoFrame.from_ndarray(frame, format="yuv420p").to_ndarray(format="bgr24")
    quality = [cv2.IMWRITE_JPEG_QUALITY, 70] if kind == ".jpg" else []
    _, data = cv2.imencode(kind, shot, quality)
    assert found([cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)]) == MARK


def test_what_is_not_seen_is_not_marked(clip: list) -> None:
    height, width = luma(clip[0]).shape
    before = luma(clip[0])
    picture = Yuv420(before.copy(), *(np.full((height // 2, width // 2), 128, np.uint8),) * 2)
    matte = np.zeros((height, width), np.uint8)
    matte[100:300, 100:300] = 255
    Stamp(Provenance(key=KEY), MARK, width, height, label=True)(picture, matte)
    changed = picture.y != before
    assert changed[100:300, 100:300].mean() > 0.5
    assert not changed[matte == 0].any()


def test_the_label_is_seen_bottom_left_and_nowhere_else() -> None:
    for width, height in ((512, 512), (1920, 1080), (64, 96)):
        picture = Yuv420(
            np.full((height, width), 120, np.uint8),
            np.full((height // 2, width // 2), 90, np.uint8),
            np.full((height // 2, width // 2), 160, np.uint8),
        )
        Stamp(OFF, MARK, width, height, label=True)(picture)
        rows, columns = np.nonzero(picture.y != 120)
        assert rows.min() >= height * 0.8
        assert rows.max() == height - 1
        assert columns.min() == 0
        corner = picture.y[rows.min() :, : columns.max() + 1]
        assert corner.max() > 200  # the letters
        assert corner.min() < 80  # on a dark ground
        assert abs(int(picture.u[-1, 0]) - 128) < 30
        assert (picture.u[: height // 3] == 90).all()
