"""Compositing in YUV agrees with compositing in RGB and leaves the rest of the frame alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synctalk.media.planes import Yuv420, rgb_to_yuv, yuv_to_rgb
from synctalk.render.compositing import (
    EMPTY,
    Cutout,
    composite_cutout,
    composite_rgb,
    composite_yuv,
    replace_background,
    straight,
)

HEIGHT, WIDTH = 96, 128
CORNER = np.array([22, 14])


def smooth_splats() -> tuple[torch.Tensor, torch.Tensor]:
    """A soft, coloured disc [48,64], premultiplied, opaque in the middle and empty at the rim."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    alpha = (1.6 - 1.8 * (x**2 + y**2).sqrt()).clamp(0, 1)[..., None]
    colour = torch.stack([0.5 + 0.4 * x, 0.5 + 0.4 * y, 0.6 - 0.3 * x * y], dim=-1)
    return (colour * alpha).contiguous(), alpha.contiguous()


def smooth_frame() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    return np.stack([60 + x, 40 + 1.5 * y, 200 - x], axis=-1).astype(np.uint8)


def test_yuv_compositing_agrees_with_rgb_compositing() -> None:
    rgb, alpha = smooth_splats()
    frame = smooth_frame()
    picture = rgb_to_yuv(frame)
    composite_yuv(rgb, alpha, picture, CORNER)
    x, y = CORNER
    composite_rgb(rgb, alpha, frame[y : y + 48, x : x + 64])
    for ours, wanted in zip(picture, rgb_to_yuv(frame), strict=True):
        difference = np.abs(ours.astype(int) - wanted)
        assert difference.mean() < 0.5
        assert np.quantile(difference, 0.999) <= 2


def test_samples_outside_the_splats_do_not_change() -> None:
    rgb, alpha = smooth_splats()
    before = rgb_to_yuv(smooth_frame())
    after = rgb_to_yuv(smooth_frame())
    composite_yuv(rgb, alpha, after, CORNER)
    touched = np.zeros((HEIGHT, WIDTH), bool)
    touched[14 : 14 + 48, 22 : 22 + 64] = alpha[..., 0].numpy() > 0
    blocks = touched.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).any((1, 3))
    for new, old, mask in zip(after, before, (touched, blocks, blocks), strict=True):
        assert (new[~mask] == old[~mask]).all()
        assert (new[mask] != old[mask]).any()


@pytest.mark.parametrize("corner", [(23, 14), (80, 14), (22, -2)])
def test_a_window_that_is_odd_or_outside_is_refused(corner: tuple[int, int]) -> None:
    rgb, alpha = smooth_splats()
    with pytest.raises(ValueError, match=r"even|leaves"):
        composite_yuv(rgb, alpha, rgb_to_yuv(smooth_frame()), np.array(corner))


def person() -> tuple[np.ndarray, np.ndarray]:
    """Smooth colours [H,W,3] and a soft matte [H,W] of a disc, uint8."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    colours = np.stack([180 - 0.5 * x, 90 + y, 60 + 0.5 * x], axis=-1).astype(np.uint8)
    distance = np.hypot(x - 60, y - 50)
    return colours, np.round(255 * np.clip((40 - distance) / 10, 0, 1)).astype(np.uint8)


def over(colours: np.ndarray, matte: np.ndarray, behind: np.ndarray) -> np.ndarray:
    alpha = matte[..., None] / 255
    return np.round(alpha * colours + (1 - alpha) * behind).astype(np.uint8)


def flat(red: int, green: int, blue: int) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.uint8), (HEIGHT, WIDTH, 3)).copy()


def emptiness() -> Yuv420:
    shapes = ((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2), (HEIGHT // 2, WIDTH // 2))
    return Yuv420(*(np.full(s, v, np.uint8) for s, v in zip(shapes, EMPTY, strict=True)))


def test_a_replaced_background_leaves_nothing_of_the_old_one_in_soft_edges() -> None:
    colours, matte = person()
    scene, green = smooth_frame(), flat(0, 200, 0)
    cut = Cutout(rgb_to_yuv(over(colours, matte, scene)), matte)
    replace_background(cut, rgb_to_yuv(scene), rgb_to_yuv(green))
    wanted = rgb_to_yuv(over(colours, matte, green))
    for ours, theirs in zip(cut.picture, wanted, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 4
    assert (cut.picture.y[matte == 0] == rgb_to_yuv(green).y[matte == 0]).all()
    untouched = rgb_to_yuv(over(colours, matte, scene)).y
    assert (cut.picture.y[matte == 255] == untouched[matte == 255]).all()


def test_a_scene_filmed_brighter_than_the_clean_one_leaves_no_rim() -> None:
    colours, matte = person()
    scene = smooth_frame()
    cut = Cutout(rgb_to_yuv(over(colours, matte, scene + 12)), matte)
    replace_background(cut, rgb_to_yuv(scene), rgb_to_yuv(flat(0, 200, 0)))
    wanted = rgb_to_yuv(over(colours, matte, flat(0, 200, 0)))
    assert np.abs(cut.picture.y.astype(int) - wanted.y).max() <= 4


def test_straight_colours_over_anything_are_the_person_before_it() -> None:
    colours, matte = person()
    scene = smooth_frame()
    cut = Cutout(rgb_to_yuv(over(colours, matte, scene)), matte)
    replace_background(cut, rgb_to_yuv(scene), emptiness())
    shown = yuv_to_rgb(straight(cut))
    for behind in (flat(255, 255, 255), flat(0, 0, 0), flat(200, 0, 90)):
        wanted = over(colours, matte, behind).astype(int)
        assert np.abs(over(shown, matte, behind) - wanted).max() <= 12
        assert np.abs(over(shown, matte, behind) - wanted).mean() < 1.0
    beyond = shown[(matte == 0) & (np.hypot(*(np.indices(matte.shape) - [[[50]], [[60]]])) < 46)]
    assert np.abs(beyond.astype(int) - colours[matte > 0].mean(0)).max() < 70  # never black


def test_splats_cover_picture_and_matte_of_a_cutout_alike() -> None:
    rgb, alpha = smooth_splats()
    cut, whole = Cutout(emptiness(), np.zeros((HEIGHT, WIDTH), np.uint8)), emptiness()
    cut.matte[30:] = 128
    composite_cutout(rgb, alpha, cut, CORNER)
    composite_yuv(rgb, alpha, whole, CORNER)
    for ours, theirs in zip(cut.picture, whole, strict=True):
        assert (ours == theirs).all()
    above = np.zeros((HEIGHT, WIDTH))
    above[14 : 14 + 48, 22 : 22 + 64] = alpha[..., 0].numpy()
    under = np.where(np.arange(HEIGHT)[:, None] >= 30, 128 / 255, 0)
    assert np.abs(cut.matte / 255 - (above + (1 - above) * under)).max() < 0.003
