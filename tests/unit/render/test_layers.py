"""What a head is laid on tells how much of the head will be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_portrait import SIZE, flat, oval_mesh

from synctalk.media.planes import Yuv420, rgb_to_yuv
from synctalk.render.layers import Box, PortraitLayer, VideoLayer

HEAD = Box(0, 0, SIZE, SIZE)


def portrait(scale: int = 1, cx: float = 128) -> tuple[PortraitLayer[Yuv420], Yuv420]:
    frame = rgb_to_yuv(flat((20, 60, 90), scale * SIZE))
    plate = rgb_to_yuv(flat((200, 150, 120)))
    return PortraitLayer(frame, frame, plate, oval_mesh(cx=cx), None), frame


def rendered(box: Box) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    width, height = box.size
    rgb = torch.full((height, width, 3), 0.25)
    return rgb, torch.full((height, width, 1), 0.5), np.array(box[:2])


@pytest.mark.parametrize("scale", [1, 2])
def test_what_is_not_seen_changes_no_sample(scale: int) -> None:
    whole, part = portrait(scale)[0], portrait(scale)[0]
    box = part.seen.within(HEAD)
    assert box.size[0] * box.size[1] < 0.6 * SIZE * SIZE
    for ours, wanted in zip(part.lay(*rendered(box)), whole.lay(*rendered(HEAD)), strict=True):
        assert (ours == wanted).all()


def test_a_face_outside_the_frame_leaves_it_as_it_was() -> None:
    layer, frame = portrait(cx=-400)
    before = Yuv420(*(plane.copy() for plane in frame))
    after = layer.lay(*rendered(layer.seen.within(HEAD)))
    for ours, wanted in zip(after, before, strict=True):
        assert (ours == wanted).all()


def test_all_of_a_head_shows_on_a_plain_plate() -> None:
    assert VideoLayer(rgb_to_yuv(flat((0, 0, 0)))).seen is None


@pytest.mark.parametrize("far", [Box(-90, -90, -80, -80), Box(900, 900, 950, 950)])
def test_boxes_that_share_nothing_leave_a_little_of_the_other(far: Box) -> None:
    box = far.within(Box(10, 20, 60, 80))
    assert box.size == (2, 2)
    assert 10 <= box.left < box.right <= 60
    assert 20 <= box.top < box.bottom <= 80
