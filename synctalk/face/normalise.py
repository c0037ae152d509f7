"""Take the head's pose out of a face track, so that what is left is expression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synctalk.face import topology
from synctalk.face.canonical import load_canonical_face
from synctalk.face.tracking import FloatArray

Array = NDArray[np.float64]
PASSES = 3


def _best_similarity(source: Array, target: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Scale [T], rotation [T, 3, 3], shift [T, 3] that bring [T, N, 3] onto [N, 3] (Umeyama)."""
    weight = weight / weight.sum()
    source_mean = np.einsum("n,tni->ti", weight, source)
    target_mean = weight @ target
    a, b = source - source_mean[:, None], target - target_mean
    u, d, vt = np.linalg.svd(np.einsum("n,ni,tnj->tij", weight, b, a))
    d[:, 2] *= np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    rotation = u @ vt
    scale = d.sum(axis=1) / np.einsum("n,tni,tni->t", weight, a, a)
    shift = target_mean - scale[:, None] * np.einsum("tij,tj->ti", rotation, source_mean)
    return scale, rotation, shift


def remove_pose(mesh: FloatArray) -> Array:
    """Meshes as if every head faced the camera, unmoved, at the canonical face's size.

    The points that sit rigidly on the skull are aligned, frame by frame, to their own mean over
    the clip (generalised Procrustes), which begins as the canonical face.

    Args:
        mesh: [T, 478, 3] px as in :class:`synctalk.face.tracking.FaceTrack`, a face in each.

    Returns:
        [T, 478, 3] mm in the head frame (x to the subject's left, y up, z out of the face).
    """
    face = load_canonical_face()
    points = mesh.astype(np.float64) * [1, -1, -1]
    rigid = points[:, : topology.N_FACE]
    weight = face.rigid_weight.astype(np.float64) ** 2
    target = face.vertices.astype(np.float64)
    for _ in range(PASSES):
        scale, rotation, shift = _best_similarity(rigid, target, weight)
        moved = np.einsum("t,tij,tnj->tni", scale, rotation, points) + shift[:, None]
        target = moved[:, : topology.N_FACE].mean(axis=0)
    return np.asarray(moved)
