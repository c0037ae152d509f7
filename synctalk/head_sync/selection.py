"""Which points of the head the photometric step aligns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync.alignment import camera_points
from synctalk.head_sync.geometry import Float
from synctalk.head_sync.keyframes import Camera, Keyframe, measure_points
from synctalk.head_sync.surface import Samples, Surface, sample_surface

CANDIDATES, OUTLINE_CANDIDATES = 7, 5  # points looked at for each one wanted
CELL_MM = 8.0
OUTLINE_SHARE = 0.3
STAYS_BEHIND = 0.5  # change on the head over change in the image, above which it is background
LARGEST_CHANGE = 20.0  # grey levels: a cut counts no more


def choose_samples(
    keyframes: Sequence[Keyframe],
    surface: Surface,
    camera: Camera,
    count: int,
    min_weight: float,
    rng: np.random.Generator,
) -> Samples:
    """Points with texture that stays put, of the solid head and of its outline, in random order.

    Args:
        keyframes: what is seen, and where the head is believed to be.
        surface: to take points of.
        camera: intrinsics and scale.
        count: of points wanted; none are the outline's where it cannot be told from what is
            behind it.
        min_weight: rigidity below which a triangle is not sampled.
        rng: of the candidates.
    """
    solid = sample_surface(surface, CANDIDATES * count, min_weight, rng)
    if surface.n_solid == len(surface.vertices):
        chosen = _best(keyframes, solid, surface, camera, count)
    else:
        wanted = round(OUTLINE_SHARE * count)
        edge = sample_surface(surface, OUTLINE_CANDIDATES * wanted, min_weight, rng, outline=True)
        edge = edge.take(np.flatnonzero(_moves_along(keyframes, edge, surface, camera)))
        edge = _best(keyframes, edge, surface, camera, wanted)
        chosen = _best(keyframes, solid, surface, camera, count - len(edge)).joined(edge)
    return chosen.take(rng.permutation(len(chosen)))


def _best(
    keyframes: Sequence[Keyframe], dense: Samples, surface: Surface, camera: Camera, count: int
) -> Samples:
    """Up to ``count`` of the points, spread over cells of the head."""
    if not len(dense):
        return dense
    stats = measure_points(keyframes, dense, surface, camera)
    score = stats.gradient / (np.sqrt(stats.variance[0]) + 2)
    score[stats.seen < 0.05 * len(keyframes)] = 0
    order = np.argsort(-score)
    order = order[score[order] > 0]
    cells = np.floor(dense.interpolate(surface.vertices)[order] / CELL_MM).astype(np.int64)
    key = cells[:, 0] * 4096 + cells[:, 1]
    by_key = np.argsort(key, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(key[by_key])) + 1]
    rank = np.empty(len(order), np.int64)
    rank[by_key] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    per_cell = max(1, round(count / max(len(starts), 1) * 1.5))
    return dense.take(order[rank < per_cell][:count])


def _moves_along(
    keyframes: Sequence[Keyframe], samples: Samples, surface: Surface, camera: Camera
) -> NDArray[np.bool_]:
    """[N] whether points change less on the head than at their places in the image.

    Edges of a background at rest would hold the head still. Of a head that hardly moves nothing
    tells them apart from its outline, which is then not used.
    """
    points, outline = samples.interpolate(surface.vertices), samples.on_outline(surface)
    K = camera.K
    on_head, in_image = np.zeros(len(samples)), np.zeros(len(samples))
    last: tuple[Float, Float, Float] | None = None
    for frame in keyframes:
        X = camera_points(points, outline, frame.pose)
        x, y = (K[0, 0] * X[k] / X[2] + K[k, 2] for k in range(2))
        image = frame.pyramid.lookup(x, y, 0)[0]
        if last is not None:
            stayed = frame.pyramid.lookup(last[0], last[1], 0)[0]
            on_head += np.minimum(np.abs(image - last[2]), LARGEST_CHANGE)
            in_image += np.minimum(np.abs(stayed - last[2]), LARGEST_CHANGE)
        last = x, y, image
    return np.asarray(on_head < STAYS_BEHIND * in_image)
