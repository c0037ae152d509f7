"""Where the head is, in pictures of other shapes than a square."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from synctalk.dataset import Crop
from synctalk.errors import FootageError
from synctalk.face import MeshFaceTracker
from synctalk.media import FrameSample, VideoReader
from synctalk.preprocessing.locate import locate_head

SAMPLE = Path(__file__).parents[3] / "samples" / "portrait.mp4"
SOURCE = Path("me.mp4")
Heads = list[np.ndarray]
Pair = tuple[int, int]


@pytest.fixture(scope="module")
def tracker() -> MeshFaceTracker:
    return MeshFaceTracker()


@pytest.fixture(scope="module")
def heads() -> Heads:
    reader = VideoReader(SAMPLE)
    return [cv2.resize(reader.read(i), (320, 320)) for i in (0, 200, 400, 600)]


def at(heads: Heads, size: tuple[int, int], corner: tuple[int, int]) -> list[FrameSample]:
    """The person pasted into pictures of ``size`` (width, height) at ``corner`` (x, y)."""
    samples = []
    for k, head in enumerate(heads):
        image = np.full((size[1], size[0], 3), 120, np.uint8)
        image[corner[1] : corner[1] + 320, corner[0] : corner[0] + 320] = head
        samples.append(FrameSample(2.0 * k, image))
    return samples


def test_a_square_picture_is_taken_whole(heads: Heads, tracker: MeshFaceTracker) -> None:
    samples = [FrameSample(0.0, head) for head in heads]
    assert locate_head(samples, tracker, SOURCE) == Crop(0, 0, 320)


@pytest.mark.parametrize(
    ("size", "corner"),
    [((1280, 480), (100, 80)), ((1280, 480), (900, 160)), ((480, 900), (80, 500))],
)
def test_the_crop_holds_the_head_wherever_it_is(
    heads: Heads,
    tracker: MeshFaceTracker,
    size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    samples = at(heads, size, corner)
    crop = locate_head(samples, tracker, SOURCE)
    assert 0 <= crop.x <= size[0] - crop.side
    assert 0 <= crop.y <= size[1] - crop.side
    track = tracker.track([sample.image for sample in samples], cuts=[1, 2, 3])
    low, high = track.landmarks68.min((0, 1)), track.landmarks68.max((0, 1))
    room = 0.4 * (high[1] - low[1])  # for hair and chin
    assert crop.x < low[0] - room / 2
    assert crop.x + crop.side > high[0] + room / 2
    assert crop.y <= max(low[1] - room, 0)
    assert crop.y + crop.side >= min(high[1] + room / 2, size[1])
    middle = crop.x + crop.side / 2
    assert abs(middle - (low[0] + high[0]) / 2) < 0.2 * crop.side


def test_one_person_among_pictures_without_is_found(heads: Heads, tracker: MeshFaceTracker) -> None:
    title = FrameSample(9.0, np.full((480, 1280, 3), 120, np.uint8))
    samples = at(heads, (1280, 480), (600, 80))
    assert locate_head([title, *samples, title], tracker, SOURCE) == locate_head(
        samples, tracker, SOURCE
    )


def test_a_passer_by_in_a_few_pictures_is_no_reason_to_refuse(
    heads: Heads, tracker: MeshFaceTracker
) -> None:
    samples = at(heads, (1280, 480), (600, 80))
    samples[0].image[100:420, 100:420] = heads[1]
    locate_head(samples, tracker, SOURCE)
    for sample in samples[1:3]:
        sample.image[100:420, 100:420] = heads[1]
    with pytest.raises(FootageError) as caught:
        locate_head(samples, tracker, SOURCE)
    assert caught.value.reason == "SEVERAL_FACES"
    assert "3 of 4 frames looked at (0, 50, 100)" in caught.value.message


def test_no_picture_at_all_is_refused(tracker: MeshFaceTracker) -> None:
    with pytest.raises(FootageError) as caught:
        locate_head([], tracker, SOURCE)
    assert caught.value.reason == "NO_FRAMES"
    assert "me.mp4" in caught.value.message
