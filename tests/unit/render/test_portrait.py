"""Portrait blending: the face is the rendered one, all else the source's, and no edge shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synctalk.face.topology import FACE_OVAL
from synctalk.media.planes import Yuv420, rgb_to_yuv
from synctalk.render.portrait import blend_portrait, blend_portrait_yuv, face_mask

SIZE = 256


def oval_mesh(cx: float = 128, cy: float = 120, rx: float = 50, ry: float = 70) -> NDArray:
    """A face oval, clockwise from the forehead's top, as the tracker numbers it."""
    mesh = np.zeros((478, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    mesh[list(FACE_OVAL), 0] = cx + rx * np.sin(angle)
    mesh[list(FACE_OVAL), 1] = cy - ry * np.cos(angle)
    return mesh


def flat(value: tuple[int, int, int], size: int = SIZE) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(value, np.uint8), (size, size, 3)).copy()


def test_the_mask_is_whole_at_the_mouth_and_nothing_beyond_the_head() -> None:
    mask = face_mask(oval_mesh(), SIZE, SIZE)
    whole = np.zeros((SIZE, SIZE), np.float32)
    mask.cut(whole)[:] = mask.weight
    assert whole[150, 128] > 0.99
    assert whole[:30].max() < 0.01
    assert whole[:, :40].max() < 0.01
    assert np.abs(np.diff(whole, axis=0)).max() < 0.15
    assert np.abs(np.diff(whole, axis=1)).max() < 0.15


def test_the_mask_reaches_below_the_chin_and_stays_below_the_hairline() -> None:
    mask = face_mask(oval_mesh(), SIZE, SIZE)
    middle = np.zeros(SIZE, np.float32)
    middle[mask.top : mask.top + len(mask.weight)] = mask.weight[:, 128 - mask.left]
    rows = np.nonzero(middle > 0.5)[0]
    assert 50 < rows[0] < 70
    assert 190 < rows[-1] < 220


def test_a_face_outside_the_frame_blends_nothing() -> None:
    source = flat((10, 20, 30))
    mesh = oval_mesh(cx=-400)
    assert (blend_portrait(flat((200, 0, 0)), source, mesh) == source).all()


def test_blending_takes_the_face_and_leaves_the_rest() -> None:
    rendered, source = flat((200, 150, 120)), flat((20, 60, 90))
    blended = blend_portrait(rendered, source, oval_mesh())
    assert (blended[150, 128] == rendered[150, 128]).all()
    assert (blended[:30] == source[:30]).all()


def test_blending_video_samples_agrees_with_blending_rgb() -> None:
    rng = np.random.default_rng(0)
    tones = rng.integers(40, 200, (2, 8, 8, 3)).astype(np.uint8)
    rendered, source = (np.kron(t, np.ones((32, 32, 1), np.uint8)) for t in tones)
    picture = rgb_to_yuv(source)
    blend_portrait_yuv(picture, rgb_to_yuv(rendered), oval_mesh())
    wanted = blend_portrait(rendered, source, oval_mesh())
    for ours, theirs in zip(picture, rgb_to_yuv(wanted), strict=True):
        difference = np.abs(ours.astype(int) - theirs)
        assert difference.max() <= 3
        assert difference.mean() < 0.5


def test_a_crop_rendered_smaller_than_the_source_is_enlarged() -> None:
    source = rgb_to_yuv(flat((20, 60, 90), 2 * SIZE))
    rendered = rgb_to_yuv(flat((200, 150, 120)))
    before = Yuv420(*(plane.copy() for plane in source))
    blend_portrait_yuv(source, rendered, oval_mesh())
    assert source.y[300, 256] == rendered.y[150, 128]
    assert source.u[150, 128] == rendered.u[75, 64]
    assert (source.y[:60] == before.y[:60]).all()
