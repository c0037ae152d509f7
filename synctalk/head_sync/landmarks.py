"""Which tracked points meet which points of the face model."""

from __future__ import annotations

import numpy as np

from synctalk.face import FaceTrack
from synctalk.face.ibug import INNER_PAIRS
from synctalk.head_sync.geometry import Float
from synctalk.head_sync.motion import Landmarks
from synctalk.head_sync.surface import FaceModel

SPREAD_MM = 15.0


def landmarks_of(track: FaceTrack, model: FaceModel) -> Landmarks:
    """The track's mesh, or its 51 inner iBUG points where it has none (the jaw line slides)."""
    vertices = np.asarray(model.vertices, np.float64)
    weights = np.asarray(model.rigid_weight, np.float64)
    if track.mesh is not None:
        points = track.mesh[:, : len(vertices), :2].astype(np.float64)
        return Landmarks(points, weights, vertices)
    inner = track.landmarks68[:, 17:].astype(np.float64)
    pairs = INNER_PAIRS
    return Landmarks(inner, weights[pairs].mean(1), vertices[pairs].mean(1))


def shape_of(vertices: Float, landmarks: Landmarks) -> Float:
    """The landmarks' points [P, 3] of a face mesh [V, 3]."""
    if len(landmarks.model) == len(vertices):
        return vertices
    return np.asarray(vertices[INNER_PAIRS].mean(1))


def bend(vertices: Float, shape: Float, landmarks: Landmarks) -> Float:
    """A face mesh [V, 3] moved so that its landmarks come to ``shape`` [P, 3].

    With fewer landmarks than vertices, the landmarks' offsets are spread smoothly.
    """
    if len(shape) == len(vertices):
        return shape
    here = shape_of(vertices, landmarks)
    apart = ((vertices[:, None] - here) ** 2).sum(-1)
    near = np.exp(-0.5 * apart / SPREAD_MM**2) + 1e-9
    return np.asarray(vertices + (near / near.sum(1, keepdims=True)) @ (shape - here))
