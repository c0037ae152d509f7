"""One frame's labels, head matte and torso plate, from what the networks and the scene know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.parsing_appearance import (
    HAIR,
    NECK,
    TORSO,
    Appearance,
    Observation,
    part_probabilities,
)
from synctalk.face.parsing_geometry import (
    HeadOutline,
    HeadShape,
    below_jaw,
    fill_polygon,
    head_coordinates,
    move_with_head,
)
from synctalk.face.parsing_matte import (
    alpha_from_background,
    fill_smoothly,
    guided_upsample,
    smoothstep,
)
from synctalk.face.parsing_networks import WORK_SIZE
from synctalk.face.plates import Background, PlateInputs, background_now, torso_plate
from synctalk.face.tracking import FloatArray, Image


class PartLabel(IntEnum):
    """What a pixel shows. FACE is the skin of the head: ears, eyes, brows and mouth included."""

    BACKGROUND = 0
    FACE = 1
    HAIR = 2
    NECK = 3
    TORSO = 4


@dataclass(frozen=True)
class ParsingConfig:
    """Settings of :class:`PortraitParser`.

    Args:
        fit_frames: frames, spread evenly over the clip, that the scene is learnt from.
        erase_margin_px: at a frame size of 512, how far beyond the matte the plate is filled.
            Small, because at the jaw every erased pixel of neck is a pixel invented.
    """

    fit_frames: int = 64
    erase_margin_px: int = 2


@dataclass(frozen=True)
class SceneModel:
    """What stays the same over a clip.

    Args:
        background: the clean scene, with its coverage and stillness.
        shape: the subject's average landmarks.
        appearance: the subject's colours and where its parts lie.
    """

    background: Background
    shape: HeadShape
    appearance: Appearance


@dataclass(frozen=True)
class ParsedFrame:
    """The parser's result for one frame of S x S px.

    Args:
        labels: uint8 [S, S], values of :class:`PartLabel`. Hair is HAIR wherever it lies.
        matte: uint8 [S, S], alpha of what moves rigidly with the head (face, ears, hair down to
            about the chin), 255 opaque.
        plate: uint8 [S, S, 3] RGB, the frame with the head taken out.
    """

    labels: NDArray[np.uint8]
    matte: NDArray[np.uint8]
    plate: Image


@dataclass(frozen=True)
class SeenFrame:
    """The networks' view of one frame, at working size."""

    frame: Image
    small: Image
    person: FloatArray
    hair: FloatArray | None
    outline: HeadOutline | None


class Window(NamedTuple):
    """A frame and its neighbours in the same shot."""

    previous: SeenFrame | None
    current: SeenFrame
    following: SeenFrame | None


def surely_background(person: FloatArray, size: int) -> NDArray[np.bool_]:
    """Where a frame shows background, [size, size], well away from the person's outline."""
    near = cv2.dilate((person > 0.05).astype(np.uint8), np.ones((9, 9), np.uint8))
    return np.asarray(cv2.resize(near, (size, size), interpolation=cv2.INTER_NEAREST) == 0)


def _steady(
    window: Window, pick: Callable[[SeenFrame], FloatArray | None], chin_v: float
) -> FloatArray:
    """A map of the current frame averaged with its neighbours', moved with the head or, under the
    chin, left in place."""
    outline = window.current.outline
    assert outline is not None
    total, weight = np.zeros((WORK_SIZE, WORK_SIZE), np.float32), 0.0
    _, v = head_coordinates(outline, WORK_SIZE)
    still = smoothstep(v, 0.9 * chin_v, 1.4 * chin_v)
    for seen, share in ((window.previous, 0.25), (window.current, 0.5), (window.following, 0.25)):
        values = pick(seen) if seen else None
        if seen is None or values is None or seen.outline is None:
            continue
        if seen is not window.current:
            moved = move_with_head(values, seen.outline, outline, WORK_SIZE)
            values = moved + (values - moved) * still
        total += share * values
        weight += share
    return total / np.float32(weight)


def parse_frame(window: Window, scene: SceneModel, config: ParsingConfig) -> ParsedFrame:
    """Labels, matte and plate of the window's middle frame."""
    current = window.current
    size = current.frame.shape[0]
    if current.outline is None:
        return _parse_without_head(current)
    chin_v = scene.shape.chin_v
    person = _steady(window, lambda s: s.person, chin_v)
    has_hair = any(s and s.hair is not None for s in window)
    hair = _steady(window, lambda s: s.hair, chin_v) if has_hair else None
    view = Observation(current.small, person, hair, current.outline)
    below = below_jaw(current.outline, WORK_SIZE)
    parts = part_probabilities(view, scene.shape, scene.appearance, below)

    small = current.small.astype(np.float32)
    behind = cv2.resize(
        scene.background.image, (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA
    )
    visible = surely_background(person, WORK_SIZE).astype(np.float32)
    offset = background_now(small, behind.astype(np.float32), visible)
    alpha = _person_alpha(current, person, offset, scene.background)

    full_outline = current.outline.scaled(size / WORK_SIZE)
    full_below = below_jaw(full_outline, size)
    share = _head_share(parts, view, chin_v, full_outline, full_below)
    matte = np.clip((alpha * share - 0.02) / 0.96, 0, 1)
    labels = _labels(parts, alpha, full_below)
    small_share = cv2.resize(share, (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA)
    inputs = PlateInputs(
        small=small,
        offset=offset,
        body=person * (1 - small_share),
        matte=matte,
        neck_span=(float(current.outline.jaw[1, 0]), float(current.outline.jaw[-2, 0])),
        neck=parts[..., NECK],
        neck_top=_line(current.outline, 0.65 * chin_v),
    )
    margin = max(1, round(config.erase_margin_px * size / 512))
    plate = torso_plate(current.frame, scene.background, inputs, margin)
    return ParsedFrame(labels, np.round(matte * 255).astype(np.uint8), plate)


def _line(outline: HeadOutline, v: float) -> FloatArray:
    """Height y, px, where each working column crosses the head's line ``v``: [s]."""
    x = np.arange(WORK_SIZE, dtype=np.float32) + np.float32(0.5)
    a = outline.to_head[1]
    return np.asarray((v - a[2] - a[0] * x) / a[1], np.float32)


def _parse_without_head(seen: SeenFrame) -> ParsedFrame:
    """A frame whose whole shot shows no face: nothing is head, the plate is the frame."""
    size = seen.frame.shape[0]
    person = cv2.resize(seen.person, (size, size)) > 0.5
    labels = np.where(person, np.uint8(PartLabel.TORSO), np.uint8(PartLabel.BACKGROUND))
    return ParsedFrame(labels, np.zeros((size, size), np.uint8), seen.frame.copy())


def _person_alpha(
    seen: SeenFrame, person: FloatArray, offset: FloatArray, background: Background
) -> FloatArray:
    """The person's alpha at full size, [S, S]: the network's map, its edge drawn by the image."""
    size = seen.frame.shape[0]
    grey_small = cv2.cvtColor(seen.small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    grey = cv2.cvtColor(seen.frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    alpha = np.clip(guided_upsample(grey_small, person, grey, 3, 1e-3), 0, 1)

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    core = cv2.erode(person, kernel) > 0.95
    band = np.clip(cv2.dilate(person, kernel) - cv2.erode(person, kernel), 0, 1)
    near = fill_smoothly(seen.small.astype(np.float32), core.astype(np.float32))
    full = (size, size)
    solved, contrast = alpha_from_background(
        seen.frame.astype(np.float32),
        cv2.resize(near, full),
        background.image + cv2.resize(offset, full),
    )
    certain = contrast / (contrast + np.float32(50.0**2)) * background.trust
    alpha += (solved - alpha) * certain * cv2.resize(band, full)
    return np.asarray(np.clip((alpha - 0.05) / 0.9, 0, 1))


def _head_share(
    parts: FloatArray,
    view: Observation,
    chin_v: float,
    full_outline: HeadOutline,
    full_below: FloatArray,
) -> FloatArray:
    """How much of the person at each pixel moves with the head, [S, S] in [0, 1].

    Skin ends at the jaw; hair, which hangs past it, at about the chin.
    """
    size = full_below.shape[0]
    _, v = head_coordinates(view.outline, WORK_SIZE)
    hanging = _hanging(parts[..., HAIR] * view.person, v > 0.3 * chin_v)
    hanging *= 1 - smoothstep(v, chin_v, 1.25 * chin_v)
    above = cv2.resize(1 - parts[..., TORSO], (size, size))
    above = np.maximum(above, fill_polygon(full_outline.oval, size))
    return np.asarray(above + (cv2.resize(hanging, (size, size)) - above) * full_below)


def _hanging(hair: FloatArray, low: NDArray[np.bool_]) -> FloatArray:
    """Hair in ``low`` pixels that hangs, at most 45 degrees aslant, from hair above them.

    A dark collar beside the jaw may look like hair but has no hair over it.
    """
    kept = hair.copy()
    for y in range(1, len(hair)):
        if low[y].any():
            over = cv2.dilate(kept[y - 1 : y], np.ones((1, 3), np.uint8))[0]
            kept[y] = np.where(low[y], np.minimum(hair[y], over), hair[y])
    return kept


def _labels(parts: FloatArray, alpha: FloatArray, full_below: FloatArray) -> NDArray[np.uint8]:
    """Most likely part of each pixel, [S, S] values of :class:`PartLabel`."""
    size = alpha.shape[0]
    labels = cv2.resize(parts, (size, size)).argmax(-1).astype(np.uint8) + np.uint8(1)
    skin = (labels == PartLabel.FACE) | (labels == PartLabel.NECK)
    labels[skin] = np.where(full_below[skin] > 0.5, PartLabel.NECK, PartLabel.FACE)
    labels[alpha < 0.5] = PartLabel.BACKGROUND
    return labels
