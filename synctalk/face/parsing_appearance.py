"""What the subject's skin, hair and clothes look like, and where on the head each is found.

A Bayes classifier of one subject: colour histograms per part times a map of where the part lies in
the head's frame. It is seeded by geometry (the face's outline, above it, far below it) and by the
hair network where there is one, then re-estimated once from its own result.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

from synctalk.face.parsing_geometry import (
    CANONICAL_SIZE,
    HeadOutline,
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
_PLACE_NOISE = 0.05  # a place where a part was never found in the sample still may hold it


@dataclass(frozen=True)
class Observation:
    """What is known of one frame before its parts are told apart, at working size S.

    Args:
        image: uint8 [S, S, 3].
        person: float32 [S, S] in [0, 1].
        hair: float32 [S, S] in [0, 1] from the hair network, or None.
        outline: the head's geometry in working pixels.
        u, v: float32 [S, S], the head's coordinates of each pixel.
        below: float32 [S, S], see :func:`synctalk.face.parsing_geometry.below_jaw`.
        oval: float32 [S, S], coverage by the face's outline.
    """

    image: Image
    person: FloatArray
    hair: FloatArray | None
    outline: HeadOutline
    u: FloatArray
    v: FloatArray
    below: FloatArray
    oval: FloatArray


def observe(
    image: Image, person: FloatArray, hair: FloatArray | None, outline: HeadOutline
) -> Observation:
    """Lay the head's geometry over one frame at working size."""
    size = len(person)
    u, v = head_coordinates(outline, size)
    below, oval = below_jaw(outline, size), fill_polygon(outline.oval, size)
    return Observation(image, person, hair, outline, u, v, below, oval)


@dataclass(frozen=True)
class Appearance:
    """The classifier.

    Args:
        chin: v of the subject's chin.
        colour: [32**3, 3] float32, log likelihood of a colour as skin, hair, clothes.
        place: [128, 128, 4] float32, log prior of the parts in the head's frame.
    """

    chin: float
    colour: FloatArray
    place: FloatArray


def _bins(image: Image) -> NDArray[np.uint16]:
    """Index of each pixel's colour among 32 x 32 x 32."""
    top = (image >> 3).astype(np.uint16)
    return np.asarray((top[..., 0] << 10) | (top[..., 1] << 5) | top[..., 2], np.uint16)


def _skin_seed(view: Observation, chin: float) -> NDArray[np.bool_]:
    """Cheeks, nose and forehead's lower part: no brow, eye, lip or fringe."""
    u, v = np.abs(view.u), view.v
    eyes = (np.abs(v) < 0.3) & (u < 0.85)
    mouth = (u < 0.6) & (v > 0.45 * chin)
    core = (view.oval > 0.5) & (u < 0.9) & (v > -0.45) & (v < 0.85 * chin)
    return np.asarray(core & ~eyes & ~mouth & (view.person > 0.9))


def _hair_seed(view: Observation) -> NDArray[np.bool_]:
    """What the network calls hair; without it, what the person has above the face's outline."""
    person = view.person > 0.9
    if view.hair is not None:
        return np.asarray(person & (view.hair > 0.8))
    outside = view.oval < 0.5
    top = float(view.v[~outside].min(initial=0.0))
    return np.asarray(person & outside & (view.v < top - 0.12))


def _clothes_seed(view: Observation, chin: float) -> NDArray[np.bool_]:
    """The person well under the chin, hair left out where it is known."""
    shoulders = (view.v > 1.15 * chin) & (np.abs(view.u) > 1.2)
    chest = view.v > 1.45 * chin
    hair = 0.0 if view.hair is None else view.hair
    return np.asarray((view.person > 0.9) & (shoulders | chest) & (hair < 0.2))


def _histogram(views: list[Observation], seeds: list[NDArray[np.bool_]]) -> FloatArray:
    """Smoothed share of each colour bin among the seeds, [32**3]."""
    counts = np.zeros(_BINS**3)
    for view, seed in zip(views, seeds, strict=True):
        counts += np.bincount(_bins(view.image)[seed], minlength=_BINS**3)
    smooth = scipy.ndimage.gaussian_filter(counts.reshape(_BINS, _BINS, _BINS), 1.2).ravel()
    return np.asarray(smooth / max(counts.sum(), 1.0), np.float32)


def _log_histograms(views: list[Observation], chin: float) -> FloatArray:
    """Log likelihood [32**3, 3] of a colour as skin, hair, clothes.

    A colour that no seed has is clothes sooner than hair, and hair sooner than skin. Clothes are
    seeded by what is not the face's usual colour: an open collar shows skin. Hair that is seeded by
    place alone holds some forehead, which is taken out again.
    """
    skin = _histogram(views, [_skin_seed(view, chin) for view in views])
    usual = skin > 0.05 * skin.max()
    clothes = [_clothes_seed(view, chin) & ~usual[_bins(view.image)] for view in views]
    hair = _histogram(views, [_hair_seed(view) for view in views])
    if views[0].hair is None:
        hair = np.maximum(hair - np.float32(0.2) * skin, 0)
    floors = np.array([2e-6, 5e-6, 2e-5], np.float32)
    shares = np.stack([skin, hair, _histogram(views, clothes)], 1)
    return np.asarray(np.log(shares + floors), np.float32)


def _shoulder_rows(person: FloatArray, u: FloatArray) -> FloatArray:
    """1 in rows, each side of the head apart, where the person is wider than a head: [S, S]."""
    inside = person > 0.5
    reach_left = np.where(inside, -u, 0).max(1, keepdims=True)
    reach_right = np.where(inside, u, 0).max(1, keepdims=True)
    left, right = smoothstep(reach_left, 1.7, 2.3), smoothstep(reach_right, 1.7, 2.3)
    return np.asarray(np.where(u < 0, left, right))


def _geometry_prior(view: Observation, chin: float) -> FloatArray:
    """Log prior [4, S, S] of the parts from landmarks and the person's outline alone."""
    u, v, below = np.abs(view.u), view.v, view.below
    oval = cv2.erode(view.oval, np.ones((3, 3), np.uint8))
    core = oval * smoothstep(v, -0.75, -0.35)
    low = smoothstep(v, 0.55 * chin, 1.15 * chin)
    shoulders = _shoulder_rows(view.person, view.u) * low
    under_chin = 1 - smoothstep(u, 0.4, 0.9)
    prior = np.empty((PARTS, *v.shape), np.float32)
    prior[FACE] = _NEVER * below + 4 * core - 3 * smoothstep(u, 1.6, 2.2)
    prior[HAIR] = -5 * core - 2.5 * oval - 5 * smoothstep(v, chin, 1.7 * chin)
    prior[HAIR] -= 3 * below * under_chin + 4 * shoulders
    prior[NECK] = _NEVER * (1 - below) + 2 * below * under_chin * (v < 1.3 * chin)
    prior[NECK] -= 4 * smoothstep(u, 1.0, 1.3) * (v < 1.2 * chin)
    prior[TORSO] = _NEVER * (1 - low) - 4 * oval
    prior[TORSO] += shoulders - 3 * (1 - below) * (u < 1.5) * (1 - shoulders)
    return prior


def part_probabilities(view: Observation, appearance: Appearance) -> FloatArray:
    """Which part each pixel is, if it is the person: float32 [4, S, S], sums to 1 over axis 0."""
    likelihood = cv2.split(cv2.GaussianBlur(appearance.colour[_bins(view.image)], (5, 5), 0))
    place = cv2.split(from_canonical(appearance.place, view.outline, len(view.person)))
    score = _geometry_prior(view, appearance.chin)
    for part, colour in enumerate((0, 1, 0, 2)):
        score[part] += place[part] + likelihood[colour]
    if view.hair is not None:
        score[HAIR] += 10 * (view.hair - np.float32(0.5))
    score -= score.max(0)
    np.exp(score, out=score)
    score /= score.sum(0)
    return score


def _learn_place(views: list[Observation], appearance: Appearance) -> FloatArray:
    """Log of how often each part was found at each place of the head's frame."""
    total = np.zeros((CANONICAL_SIZE, CANONICAL_SIZE, PARTS), np.float32)
    for view in views:
        parts = part_probabilities(view, appearance) * view.person
        total += to_canonical(np.ascontiguousarray(np.moveaxis(parts, 0, -1)), view.outline)
    share = cv2.GaussianBlur(total, (0, 0), 2.0) / len(views) + _PLACE_NOISE
    return np.asarray(np.log(share / share.sum(-1, keepdims=True)), np.float32)


def fit_appearance(views: list[Observation], chin: float) -> Appearance:
    """Learn the classifier from a few dozen frames spread over the clip.

    Args:
        chin: v of the subject's chin.
    """
    flat = np.zeros((CANONICAL_SIZE, CANONICAL_SIZE, PARTS), np.float32)
    first = Appearance(chin, _log_histograms(views, chin), flat)
    return Appearance(chin, first.colour, _learn_place(views, first))
