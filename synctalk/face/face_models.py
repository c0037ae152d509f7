"""Pluggable 3D face models: ours, ICT-FaceKit, and a user's Basel Face Model.

Only ours is shipped. The other two are the user's own files (ICT-FaceKit is MIT, the BFM has its
own licence), read here into one form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from synctalk.errors import InputError
from synctalk.face.canonical import OUTER_EYE_DISTANCE_MM, load_canonical_face
from synctalk.face.topology import OUTER_EYE_CORNERS
from synctalk.face.tracking import FloatArray

Indices = NDArray[np.int64]
# iBUG points whose vertices define the head frame
_RIGHT_OUTER, _LEFT_OUTER = 36, 45


@dataclass(frozen=True)
class FaceModel:
    """A linear 3D face in the head frame, mm.

    Args:
        name: for reports.
        mean: [V, 3] float32, the neutral mean face.
        triangles: [M, 3] int64.
        identity: [I, V, 3] float32, change of shape per unit coefficient; I may be 0.
        expression: [E, V, 3] float32; E may be 0.
        landmarks: [L] int64, the vertex of each tracked point.
        layout: what the tracked points are: ``"mesh468"`` or ``"ibug68"``.
    """

    name: str
    mean: FloatArray
    triangles: Indices
    identity: FloatArray
    expression: FloatArray
    landmarks: Indices
    layout: Literal["mesh468", "ibug68"]


def canonical_model() -> FaceModel:
    """The default model: the canonical face, every vertex a tracked point, no basis."""
    face = load_canonical_face()
    none = np.zeros((0, *face.vertices.shape), np.float32)
    triangles = face.triangles.astype(np.int64)
    points = np.arange(len(face.vertices))
    return FaceModel("canonical", face.vertices, triangles, none, none, points, "mesh468")


def load_ict(path: Path, landmarks: Indices) -> FaceModel:
    """ICT-FaceKit from an npz with ``neutral``, ``identity``, ``expression`` and quad ``faces``.

    Args:
        path: the npz.
        landmarks: [68] vertex of each iBUG point (``idx_to_landmark_verts`` of the kit).

    Raises:
        InputError: a field is missing or has another shape.
    """
    with np.load(path, allow_pickle=False) as data:
        fields: Mapping[str, Any] = {key: data[key] for key in data.files}
    mean, identity = _field(fields, "neutral", path), _field(fields, "identity", path)
    expression, faces = _field(fields, "expression", path), _field(fields, "faces", path)
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    return _into_head_frame("ict-facekit", mean, triangles, identity, expression, landmarks, path)


def load_bfm(path: Path, landmarks: Indices) -> FaceModel:
    """A Basel Face Model: ``01_MorphableModel.mat`` (2009) or an npz with the same fields.

    ``shapeMU`` [3V, 1], ``shapePC`` [3V, I], ``shapeEV`` [I, 1], ``tl`` [M, 3] counted from 1, and
    if present ``expPC`` [3V, E], ``expEV`` [E, 1]. Coefficients are in standard deviations.

    Args:
        path: the user's own file.
        landmarks: [68] vertex of each iBUG point.

    Raises:
        InputError: a field is missing or has another shape.
    """
    fields: Mapping[str, Any]
    if path.suffix == ".mat":
        fields = loadmat(path)
    else:
        with np.load(path, allow_pickle=False) as data:
            fields = {key: data[key] for key in data.files}
    mean = _field(fields, "shapeMU", path).reshape(-1, 3)
    identity = _basis(fields, "shapePC", "shapeEV", path)
    has_expression = "expPC" in fields
    expression = _basis(fields, "expPC", "expEV", path) if has_expression else identity[:0]
    triangles = _field(fields, "tl", path).astype(np.int64) - 1
    return _into_head_frame("bfm", mean, triangles, identity, expression, landmarks, path)


def _field(fields: Mapping[str, Any], name: str, path: Path) -> NDArray[Any]:
    if name not in fields:
        raise InputError(
            f"{path}: the face model has no field {name}.",
            reason="FACE_MODEL_FIELD",
            remedy="Use the original file of the model.",
        )
    return np.asarray(fields[name])


def _basis(fields: Mapping[str, Any], shape: str, deviation: str, path: Path) -> NDArray[Any]:
    """[K, V, 3] one standard deviation of each component."""
    components = _field(fields, shape, path) * _field(fields, deviation, path).reshape(1, -1)
    return np.ascontiguousarray(components.T).reshape(components.shape[1], -1, 3)


def _into_head_frame(
    name: str,
    mean: NDArray[Any],
    triangles: NDArray[Any],
    identity: NDArray[Any],
    expression: NDArray[Any],
    landmarks: Indices,
    path: Path,
) -> FaceModel:
    """Scale to mm by the outer eye corners and put those where the canonical face has them."""
    vertices = len(mean)
    if landmarks.shape != (68,) or landmarks.max() >= vertices or triangles.max() >= vertices:
        raise InputError(
            f"{path}: landmarks or triangles name vertices that the model does not have.",
            reason="FACE_MODEL_FIELD",
            remedy="Give the 68 vertex indices that belong to this model.",
        )
    right, left = mean[landmarks[_RIGHT_OUTER]], mean[landmarks[_LEFT_OUTER]]
    scale = OUTER_EYE_DISTANCE_MM / float(np.linalg.norm(left - right))
    corner_depth = load_canonical_face().vertices[OUTER_EYE_CORNERS[0], 2]
    to_mm: Callable[[NDArray[Any]], FloatArray] = lambda x: (x * scale).astype(np.float32)  # noqa: E731
    return FaceModel(
        name,
        to_mm(mean - (left + right) / 2) + np.array([0, 0, corner_depth], np.float32),
        triangles.astype(np.int64),
        to_mm(identity.astype(np.float32)),
        to_mm(expression.astype(np.float32)),
        landmarks.astype(np.int64),
        "ibug68",
    )
