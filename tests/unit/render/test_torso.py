"""The restored neck in plates and portraits: where it weighs, and nowhere else."""

from __future__ import annotations

import numpy as np
from test_portrait import flat, oval_mesh

from synctalk.media.planes import Yuv420, rgb_to_yuv
from synctalk.render.portrait import blend_portrait_yuv
from synctalk.render.torso import Neck, NeckWindow, jaw_gap, lay_neck, pack_neck, unpack_neck

SKIN, SOURCE = (200, 150, 120), (20, 60, 90)


def neck(left: int = 60, top: int = 190) -> Neck:
    """Skin, 80 x 40 px: whole but for an edge of 8 px where it does not count."""
    weight = np.zeros((40, 80), np.uint8)
    weight[8:-8, 8:-8] = 255
    picture = rgb_to_yuv(np.broadcast_to(np.array(SKIN, np.uint8), (40, 80, 3)))
    return Neck(picture, weight, left, top)


def test_what_is_packed_comes_out() -> None:
    sent = neck()
    got = unpack_neck(pack_neck(sent.picture, sent.weight), sent.left, sent.top)
    assert (got.weight == sent.weight).all()
    assert (got.left, got.top) == (sent.left, sent.top)
    for a, b in zip(got.picture, sent.picture, strict=True):
        assert (a == b).all()


def test_a_plate_takes_the_neck_where_it_weighs() -> None:
    plate, before = rgb_to_yuv(flat(SOURCE)), rgb_to_yuv(flat(SOURCE))
    lay_neck(plate, neck())
    skin = rgb_to_yuv(flat(SKIN))
    inside = np.zeros((256, 256), bool)
    inside[198:222, 68:132] = True
    for now, was, new in zip(plate, before, skin, strict=True):
        area = inside if now.shape == inside.shape else inside[::2, ::2]
        assert (now[area] == new[area]).all()
        assert (now[~area] == was[~area]).all()


def test_half_a_weight_is_half_a_neck() -> None:
    plate, half = rgb_to_yuv(flat(SOURCE)), neck()
    half.weight[half.weight > 0] = 128
    was = int(plate.y[0, 0])
    lay_neck(plate, half)
    assert abs(int(plate.y[210, 100]) - (was + int(half.picture.y[0, 0])) / 2) <= 1


def test_a_neck_shows_only_while_the_sources_jaw_is_lower() -> None:
    assert jaw_gap(-3) == jaw_gap(0) == 0
    assert 0 < jaw_gap(1) < jaw_gap(2) < 1
    assert jaw_gap(3) == jaw_gap(20) == 1
    assert neck().weighted(0).weight.max() == 0
    assert neck().weighted(0.5).weight.max() == 128
    assert neck().weighted(1).weight.max() == 255


def blended(side: int, laid: Neck | None) -> Yuv420:
    rendered, source = rgb_to_yuv(flat(SKIN)), rgb_to_yuv(flat(SOURCE, side))
    blend_portrait_yuv(source, rendered, oval_mesh(rx=30), laid)
    return source


def test_a_portrait_shows_the_neck_beyond_the_face() -> None:
    """Also in a source of other resolution than what is rendered."""
    for scale in (1, 2):
        without, with_it = (blended(256 * scale, laid) for laid in (None, neck()))
        y, x = 200 * scale, 70 * scale  # beside the chin, beyond the face's own mask
        assert without.y[y, x] == rgb_to_yuv(flat(SOURCE)).y[0, 0]
        assert with_it.y[y + scale, x + scale] == rgb_to_yuv(flat(SKIN)).y[0, 0]
        far = with_it.y[240 * scale :]
        assert (far == without.y[240 * scale :]).all()


def test_a_neck_at_the_frames_edge_stays_within_it() -> None:
    assert (blended(256, neck(left=176, top=216)).y[230, 250 - 8] > 0).all()


def test_a_window_follows_its_corners() -> None:
    window = NeckWindow(4, 2, np.array([[0, 0], [6, 8]], np.int32))
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (window.cut(image, 1) == image[8:10, 6:10]).all()
