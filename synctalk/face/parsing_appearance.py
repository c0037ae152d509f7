"""What the subject's skin, hair and clothes look like, and where on the head each is found.

A Bayes classifier of one subject: colour histograms per part times a map of where the part lies in
the head's frame. It is seeded by geometry (the face's outline, above it, far below it) and by the
hair network where there is one, then re-estimated once from its own result.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synctalk.face.parsing_geometry import (
    CANONICAL_SIZE,
    HeadOutline,
    HeadShape,
    below_jaw,
    fill_polygon,
    from_canonical,
    head_coordinates,
    to_canonical,
)
from synctalk.face.parsing_matte import smoothstep
from synctalk.face.tracking import FloatArray, Image

PARTS = 4  # face, hair, neck, torso: PartLabel less one
FACE, HAIR, NECK, TORSO = range(PARTS)
_BINS = 32
_NEVER = np.float32(-8.0)


@dataclass(frozen=True)
class Observation:
    """What is known of one frame before its parts are told apart.

    Args:
        image: uint8 [S, S, 3], the frame at working size.
        person: float32 [S, S] in [0, 1].
        hair: float32 [S, S] in [0, 1] from the hair network, or None.
        outline: the head's geometry in working pixels.
    """

    image: Image
    person: FloatArray
    hair: FloatArray | None
    outline: HeadOutline


@dataclass(frozen=True)
class Appearance:
    """The classifier.

    Args:
        colour: [32**3, 3] float32, log likelihood of a colour as skin, hair, clothes.
        place: [128, 128, 4] float32, log prior of the parts in the head's frame.
    """

    colour: FloatArray
    place: FloatArray


def _bins(image: Image) -> NDArray[np.int32]:
    r, g, b = (image[..., c].astype(np.int32) >> 3 for c in range(3))
    return (r * _BINS + g) * _BINS + b


def _skin_seed(view: Observation, chin: float) -> NDArray[np.bool_]:
    """Cheeks, nose and forehead's lower part: no brow, eye, lip or fringe."""
    size = view.person.shape[0]
    u, v = head_coordinates(view.outline, size)
    oval = fill_polygon(view.outline.oval, size) > 0.5
    eyes = (np.abs(v) < 0.3) & (np.abs(u) < 0.85)
    mouth = (np.abs(u) < 0.6) & (v > 0.45 * chin)
    core = oval & (np.abs(u) < 0.9) & (v > -0.45) & (v < 0.85 * chin)
    return np.asarray(core & ~eyes & ~mouth & (view.person > 0.9))


def _hair_seed(view: Observation) -> NDArray[np.bool_]:
    """What the network calls hair; without it, what the person has above the face's outline."""
    person = view.person > 0.9
    if view.hair is not None:
        return np.asarray(person & (view.hair > 0.8))
    size = view.person.shape[0]
    _, v = head_coordinates(view.outline, size)
    oval = fill_polygon(view.outline.oval, size) > 0.5
    top = float(v[oval].min())
    return np.asarray(person & ~oval & (v < top - 0.12))


def _clothes_seed(view: Observation, chin: float) -> NDArray[np.bool_]:
    """The person well under the chin, hair left out where it is known."""
    u, v = head_coordinates(view.outline, view.person.shape[0])
    shoulders = (v > 1.15 * chin) & (np.abs(u) > 1.2)
    chest = v > 1.45 * chin
    hair = 0.0 if view.hair is None else view.hair
    return np.asarray((view.person > 0.9) & (shoulders | chest) & (hair < 0.2))


def _histogram(views: list[Observation], seeds: list[NDArray[np.bool_]]) -> FloatArray:
    """Smoothed share of each colour bin among the seeds, [32**3]."""
    counts = np.zeros(_BINS**3)
    for view, seed in zip(views, seeds, strict=True):
        counts += np.bincount(_bins(view.image)[seed], minlength=_BINS**3)
    smooth = gaussian_filter(counts.reshape(_BINS, _BINS, _BINS), 1.2).ravel()
    return np.asarray(smooth / max(counts.sum(), 1.0), np.float32)


def _log_histograms(views: list[Observation], chin: float) -> FloatArray:
    """Log likelihood [32**3, 3] of a colour as skin, hair, clothes.

    A colour that no seed has is clothes sooner than hair, and hair sooner than skin. Clothes are
    seeded by what is not the face's colour: an open collar shows skin.
    """
    skin = _histogram(views, [_skin_seed(view, chin) for view in views])
    usual = skin > np.float32(2e-5)
    clothes = [_clothes_seed(view, chin) & ~usual[_bins(view.image)] for view in views]
    hair = [_hair_seed(view) for view in views]
    if views[0].hair is None:
        hair = [h & ~usual[_bins(v.image)] for h, v in zip(hair, views, strict=True)]
    shares = [skin, _histogram(views, hair), _histogram(views, clothes)]
    floors = np.array([2e-6, 5e-6, 2e-5], np.float32)
    return np.log(np.stack(shares, 1) + floors)


def _shoulder_rows(person: FloatArray, u: FloatArray) -> FloatArray:
    """1 in rows, each side of the head apart, where the person is wider than a head: [S, S]."""
    reach_left = np.where(person > 0.5, -u, 0).max(1, keepdims=True)
    reach_right = np.where(person > 0.5, u, 0).max(1, keepdims=True)
    reach = np.where(u < 0, reach_left, reach_right)
    return smoothstep(reach.astype(np.float32), 1.7, 2.3)


def _geometry_prior(view: Observation, shape: HeadShape, below: FloatArray) -> FloatArray:
    """Log prior [S, S, 4] of the parts from landmarks and the person's outline alone."""
    size = below.shape[0]
    u, v = head_coordinates(view.outline, size)
    aside, chin = np.abs(u), shape.chin_v
    oval = cv2.erode(fill_polygon(view.outline.oval, size), np.ones((3, 3), np.uint8))
    core = oval * smoothstep(v, -0.75, -0.35)
    shoulders = _shoulder_rows(view.person, u) * smoothstep(v, 0.5 * chin, 0.8 * chin)
    prior = np.zeros((size, size, PARTS), np.float32)
    prior[..., FACE] = _NEVER * below + 4 * core - 3 * smoothstep(aside, 1.6, 2.2)
    prior[..., HAIR] = -5 * core - 1.5 * oval - 5 * smoothstep(v, chin, 1.7 * chin)
    prior[..., HAIR] -= 3 * below * (1 - smoothstep(aside, 0.5, 0.9)) + 4 * shoulders
    prior[..., NECK] = _NEVER * (1 - below) + 2 * below * (aside < 0.5) * (v < 1.3 * chin)
    prior[..., TORSO] = _NEVER * (1 - smoothstep(v, 0.55 * chin, 1.15 * chin)) - 4 * oval
    prior[..., TORSO] += shoulders - 3 * (1 - below) * (aside < 1.5) * (1 - shoulders)
    return prior


def part_probabilities(
    view: Observation, shape: HeadShape, appearance: Appearance, below: FloatArray
) -> FloatArray:
    """Which part each pixel is, if it is the person.

    Args:
        below: [S, S] from :func:`below_jaw`.

    Returns:
        float32 [S, S, 4], face, hair, neck, torso; sums to 1.
    """
    likelihood = cv2.GaussianBlur(appearance.colour[_bins(view.image)], (5, 5), 0)
    score = _geometry_prior(view, shape, below)
    score += from_canonical(appearance.place, view.outline, below.shape[0])
    score += likelihood[..., [0, 1, 0, 2]]
    if view.hair is not None:
        score[..., HAIR] += 10 * (view.hair - np.float32(0.5))
    score -= score.max(-1, keepdims=True)
    np.exp(score, out=score)
    score /= score.sum(-1, keepdims=True)
    return score


def _learn_place(views: list[Observation], shape: HeadShape, appearance: Appearance) -> FloatArray:
    """Log of how often each part was found at each place of the head's frame."""
    total = np.zeros((CANONICAL_SIZE, CANONICAL_SIZE, PARTS), np.float32)
    for view in views:
        below = below_jaw(view.outline, view.person.shape[0])
        parts = part_probabilities(view, shape, appearance, below)
        total += to_canonical(parts * view.person[..., None], view.outline)
    total = cv2.GaussianBlur(total, (0, 0), 2.0) / len(views)
    known = total.sum(-1, keepdims=True)
    share = (total + 0.05) / (known + 0.05 * PARTS)
    return np.log(share).astype(np.float32)


def fit_appearance(views: list[Observation], shape: HeadShape) -> Appearance:
    """Learn the classifier from a few dozen frames spread over the clip."""
    colour = _log_histograms(views, shape.chin_v)
    flat = np.zeros((CANONICAL_SIZE, CANONICAL_SIZE, PARTS), np.float32)
    first = Appearance(colour, flat)
    return Appearance(colour, _learn_place(views, shape, first))
