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
    observe,
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
    fill_coarsely,
    guided_upsample,
    smoothstep,
)
from synctalk.face.parsing_networks import WORK_SIZE
from synctalk.face.plates import Background, PlateInputs, background_now, torso_plate
from synctalk.face.tracking import FloatArray, Image

_LEAST_ALPHA = 0.02  # less is noise, and would erase the torso's own pixels
_FAINT = 50.0  # grey levels between person and background at which colour counts for half


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
    erase_margin_px: int = 1


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
        frame: uint8 [S, S, 3] RGB, the frame itself.
        labels: uint8 [S, S], values of :class:`PartLabel`. Hair is HAIR wherever it lies.
        matte: uint8 [S, S], alpha of what moves rigidly with the head (face, ears, hair down to
            about the chin), 255 opaque.
        plate: uint8 [S, S, 3] RGB, the frame with the head taken out.
    """

    frame: Image
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


def surely_background(person: FloatArray) -> NDArray[np.bool_]:
    """Where a frame shows background well away from the person's outline, bool [S, S]."""
    return np.asarray(cv2.dilate(person, np.ones((9, 9), np.uint8)) < 0.05)


def _steady(
    window: Window, pick: Callable[[SeenFrame], FloatArray | None], still: FloatArray
) -> FloatArray | None:
    """A map of the current frame averaged with its neighbours'; None when none has it.

    Neighbours are moved with the head or, where ``still`` [S, S] is 1, left in place.
    """
    outline = window.current.outline
    assert outline is not None
    total, weight = np.zeros((WORK_SIZE, WORK_SIZE), np.float32), 0.0
    for seen, share in ((window.previous, 0.25), (window.current, 0.5), (window.following, 0.25)):
        values = pick(seen) if seen else None
        if seen is None or values is None or seen.outline is None:
            continue
        if seen is not window.current:
            moved = move_with_head(values, seen.outline, outline, WORK_SIZE)
            values = moved + (values - moved) * still
        total += share * values
        weight += share
    return total / np.float32(weight) if weight else None


def _steady_view(window: Window, outline: HeadOutline, chin: float) -> Observation:
    """The current frame with its networks' maps filtered over the window."""
    _, v = head_coordinates(outline, WORK_SIZE)
    still = smoothstep(v, 0.9 * chin, 1.4 * chin)
    person = _steady(window, lambda seen: seen.person, still)
    assert person is not None
    hair = _steady(window, lambda seen: seen.hair, still)
    return observe(window.current.small, person, hair, outline)


def parse_frame(window: Window, scene: SceneModel, config: ParsingConfig) -> ParsedFrame:
    """Labels, matte and plate of the window's middle frame."""
    current = window.current
    if current.outline is None:
        return _parse_without_head(current)
    size, chin = current.frame.shape[0], scene.appearance.chin
    view = _steady_view(window, current.outline, chin)
    parts = part_probabilities(view, scene.appearance)
    hanging = _hanging(smoothstep(parts[HAIR] * view.person, 0.3, 0.8), view.v > 0.3 * chin)
    if view.hair is None:  # then dark clothes beside the neck may pass for hair
        loose = parts[HAIR] * (1 - hanging) * (view.v > 0.6 * chin)
        parts[HAIR] -= loose
        parts[TORSO] += loose
    offset = background_now(current.small, scene.background, surely_background(view.person))
    edge = guided_edge(current.frame, current.small, view.person)
    alpha = solved_edge(edge, current.frame, current.small, view.person, offset, scene.background)

    full_outline = current.outline.scaled(size / WORK_SIZE)
    full_below = below_jaw(full_outline, size)
    hanging *= 1 - smoothstep(view.v, chin, 1.25 * chin)
    share = _head_share(parts[TORSO], hanging, full_outline, full_below)
    matte = alpha * share
    matte[matte < _LEAST_ALPHA] = 0
    small_share = cv2.resize(share, (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA)
    inputs = PlateInputs(
        small=current.small,
        offset=offset,
        body=view.person * (1 - small_share),
        matte=matte,
        neck=parts[NECK],
        neck_span=(float(current.outline.jaw[1, 0]), float(current.outline.jaw[-2, 0])),
        neck_top=_line(current.outline, 0.65 * chin),
    )
    margin = max(1, round(config.erase_margin_px * size / 512))
    plate = torso_plate(current.frame, scene.background, inputs, margin)
    labels = _labels(parts, alpha, full_below)
    alpha_bytes = np.round(matte * 255).astype(np.uint8)
    return ParsedFrame(current.frame, labels, alpha_bytes, plate)


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
    nothing = np.zeros((size, size), np.uint8)
    return ParsedFrame(seen.frame, labels, nothing, seen.frame.copy())


def guided_edge(frame: Image, small: Image, person: FloatArray) -> FloatArray:
    """A coarse map of the person [h, w] at full size, [H, W], its edge drawn by the image.

    Args:
        frame: uint8 [H, W, 3]; small: uint8 [h, w, 3], the same at working size.
    """
    grey_small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY) * np.float32(1 / 255)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) * np.float32(1 / 255)
    return np.clip(guided_upsample(grey_small, person, grey, 3, 1e-3), 0, 1)


def solved_edge(
    alpha: FloatArray,
    frame: Image,
    small: Image,
    person: FloatArray,
    offset: FloatArray,
    background: Background,
    tolerance: float = np.inf,
) -> FloatArray:
    """The person's alpha, near the edge solved for from the pixels' colours.

    There, where the scene behind is known and differs from the person, colours say how much of
    each a pixel shows; elsewhere ``alpha`` stays.

    Args:
        alpha: [H, W] in [0, 1], what is known of it; written to.
        frame: uint8 [H, W, 3]; small: uint8 [h, w, 3], the same at working size.
        person: [h, w] in [0, 1], whose edge it is.
        offset: [h, w, 3] from :func:`background_now`.
        background: of the size of ``frame``.
        tolerance: how far a pixel's colour may be off every mix of person and scene, as a share of
            the distance between those two.

    Returns:
        float32 [H, W] in [0, 1].
    """
    shape, small_shape = frame.shape[:2], small.shape[:2]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    least, most = cv2.erode(person, kernel), cv2.dilate(person, kernel)
    near = fill_coarsely(small.astype(np.float32), (least > 0.95).astype(np.float32))
    band = cv2.resize(most - least, shape[::-1])
    at = np.flatnonzero((band > 0.02) & (background.trust > 0))
    rows, columns = np.divmod(at, shape[1])
    small_at = rows * small_shape[0] // shape[0] * small_shape[1]
    small_at += columns * small_shape[1] // shape[1]
    colours = _taken(frame, at)
    person_there = _taken(near, small_at)
    scene_there = _taken(background.image, at)
    for plane, added in zip(scene_there, _taken(offset, small_at), strict=True):
        plane += added
    solved, contrast = alpha_from_background(colours, person_there, scene_there)
    certain = contrast / (contrast + np.float32(_FAINT**2)) * background.trust.ravel()[at]
    if tolerance < np.inf:
        off = np.zeros_like(solved)
        for colour, front, back in zip(colours, person_there, scene_there, strict=True):
            off += (colour - back - solved * (front - back)) ** 2
        certain *= np.exp(-off / np.maximum(contrast * tolerance**2, 1))
    known = alpha[rows, columns]
    alpha[rows, columns] = known + (solved - known) * certain * band.ravel()[at]
    return np.asarray(np.clip((alpha - 0.05) / 0.9, 0, 1), np.float32)


def _taken(image: Image | FloatArray, at: NDArray[np.int64]) -> list[FloatArray]:
    """The three colours of pixels [N], each float32 [N]: planes are faster than triples."""
    return [plane.ravel()[at].astype(np.float32) for plane in cv2.split(image)]


def _head_share(
    torso: FloatArray, hanging: FloatArray, full_outline: HeadOutline, full_below: FloatArray
) -> FloatArray:
    """How much of the person at each pixel moves with the head, [S, S] in [0, 1].

    Skin ends at the jaw; ``hanging`` hair goes on past it.
    """
    full = full_below.shape
    above = cv2.resize(1 - smoothstep(torso, 0.2, 0.8), full)
    above = np.maximum(above, fill_polygon(full_outline.oval, full[0]))
    return np.asarray(above + (cv2.resize(hanging, full) - above) * full_below)


def _hanging(hair: FloatArray, low: NDArray[np.bool_]) -> FloatArray:
    """Hair in ``low`` pixels that hangs, at most 45 degrees aslant, from hair above them.

    A dark collar beside the jaw may look like hair but has no hair over it.
    """
    half = (WORK_SIZE // 2, WORK_SIZE // 2)
    kept = cv2.resize(hair, half, interpolation=cv2.INTER_AREA)
    free = ~low[::2, ::2]
    for y in range(int(np.argmin(free.all(1))) or 1, len(kept)):
        above = kept[y - 1]
        over = above.copy()
        np.maximum(over[1:], above[:-1], out=over[1:])
        np.maximum(over[:-1], above[1:], out=over[:-1])
        over[free[y]] = 1
        np.minimum(kept[y], over, out=kept[y])
    return np.asarray(np.minimum(hair, cv2.resize(kept, (WORK_SIZE, WORK_SIZE))))


def _labels(parts: FloatArray, alpha: FloatArray, full_below: FloatArray) -> NDArray[np.uint8]:
    """Most likely part of each pixel, [S, S] values of :class:`PartLabel`."""
    planes = [cv2.resize((255 * part).astype(np.uint8), alpha.shape) for part in parts]
    best, labels = planes[0], np.full(alpha.shape, 1, np.uint8)
    for label, plane in enumerate(planes[1:], 2):  # argmax, much faster than numpy's over planes
        labels = np.where(plane > best, np.uint8(label), labels)
        best = np.maximum(best, plane)
    skin = (labels == PartLabel.FACE) | (labels == PartLabel.NECK)
    side = np.where(full_below > 0.5, np.uint8(PartLabel.NECK), np.uint8(PartLabel.FACE))
    labels = np.where(skin, side, labels)
    return np.where(alpha < 0.5, np.uint8(PartLabel.BACKGROUND), labels)
