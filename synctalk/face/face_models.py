"""Pluggable 3D face models: ours, ICT-FaceKit, and a user's Basel Face Model.

Only ours is shipped. The other two are the user's own files (ICT-FaceKit is MIT, the BFM has its
own licence), read here into one form.
"""

from __future__ import annotations

import json
import zipfile
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


def load_face_model(path: Path) -> FaceModel:
    """A user's own 3D face: a Basel Face Model or ICT-FaceKit, told apart by their fields.

    Its 68 landmark vertices, in iBUG order and counted from 0, are a field ``landmarks`` of the
    file, or a list in ``NAME.landmarks.json`` beside ``NAME.mat`` or ``NAME.npz`` (ICT-FaceKit's
    own ``vertex_indices.json`` under that name will do).

    Raises:
        InputError: the file is neither, is damaged, or its landmarks are nowhere.
    """
    fields = _read(path)
    if "neutral" in fields:
        return load_ict(path)
    if "shapeMU" in fields:
        return load_bfm(path)
    raise InputError(
        f"{path}: neither a Basel Face Model (field shapeMU) nor ICT-FaceKit (field neutral).",
        reason="FACE_MODEL_UNKNOWN",
        remedy="Give 01_MorphableModel.mat of the BFM, or an npz with the fields of either.",
    )


def load_ict(path: Path, landmarks: Indices | None = None) -> FaceModel:
    """ICT-FaceKit from an npz with ``neutral``, ``identity``, ``expression`` and quad ``faces``.

    Args:
        path: the npz.
        landmarks: [68] vertex of each iBUG point; None: see :func:`load_face_model`.

    Raises:
        InputError: a field is missing or has another shape.
    """
    fields = _read(path)
    mean, identity = _field(fields, "neutral", path), _field(fields, "identity", path)
    expression, faces = _field(fields, "expression", path), _field(fields, "faces", path)
    if faces.ndim != 2 or faces.shape[1] != 4:
        raise _misshapen(path, "faces", faces)
    quads = faces[faces[:, 3] >= 0]  # a triangle's fourth corner is -1
    triangles = np.concatenate([faces[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    points = _landmarks(fields, path) if landmarks is None else landmarks
    return _into_head_frame("ict-facekit", mean, triangles, identity, expression, points, path)


def load_bfm(path: Path, landmarks: Indices | None = None) -> FaceModel:
    """A Basel Face Model: ``01_MorphableModel.mat`` (2009) or an npz with the same fields.

    ``shapeMU`` [3V, 1], ``shapePC`` [3V, I], ``shapeEV`` [I, 1], ``tl`` [M, 3] counted from 1, and
    if present ``expPC`` [3V, E], ``expEV`` [E, 1]. Coefficients are in standard deviations.

    Args:
        path: the user's own file.
        landmarks: [68] vertex of each iBUG point; None: see :func:`load_face_model`.

    Raises:
        InputError: a field is missing or has another shape.
    """
    fields = _read(path)
    mean = _field(fields, "shapeMU", path)
    if mean.size % 3:
        raise _misshapen(path, "shapeMU", mean)
    mean = mean.reshape(-1, 3)
    identity = _basis(fields, "shapePC", "shapeEV", path)
    has_expression = "expPC" in fields
    expression = _basis(fields, "expPC", "expEV", path) if has_expression else identity[:0]
    triangles = _field(fields, "tl", path).astype(np.int64) - 1
    points = _landmarks(fields, path) if landmarks is None else landmarks
    return _into_head_frame("bfm", mean, triangles, identity, expression, points, path)


def _read(path: Path) -> Mapping[str, Any]:
    """The arrays of a .mat or .npz file."""
    if not path.is_file():
        raise InputError(
            f"{path}: no such file.", reason="FACE_MODEL_MISSING", remedy="Check the path."
        )
    try:
        if path.suffix == ".mat":
            fields: Mapping[str, Any] = loadmat(path)
            return fields
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(
            f"{path}: not a readable .mat or .npz file ({error}).",
            reason="FACE_MODEL_UNREADABLE",
            remedy="Download or copy it again; a MATLAB 7.3 file must be saved as version 7.",
        ) from error


def _landmarks(fields: Mapping[str, Any], path: Path) -> Indices:
    """[68] vertices of the iBUG points, from the file itself or from beside it."""
    if "landmarks" in fields:
        return np.asarray(fields["landmarks"]).reshape(-1).astype(np.int64)
    beside = path.with_suffix(".landmarks.json")
    try:
        found = json.loads(beside.read_text())
        indices = found["idx_to_landmark_verts"] if isinstance(found, dict) else found
        return np.array(indices, np.int64).reshape(-1)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{beside}: the model's 68 landmark vertices are not there ({error}).",
            reason="FACE_MODEL_LANDMARKS",
            remedy="Write the model's 68 vertex numbers, in iBUG order and counted from 0, "
            "as a JSON list into that file.",
        ) from error


def _misshapen(path: Path, name: str, value: NDArray[Any]) -> InputError:
    return InputError(
        f"{path}: field {name} has the shape {value.shape}, which does not fit.",
        reason="FACE_MODEL_FIELD",
        remedy="Use the original file of the model.",
    )


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
    directions, scale = _field(fields, shape, path), _field(fields, deviation, path)
    if directions.ndim != 2 or directions.shape[1] != scale.size or len(directions) % 3:
        raise _misshapen(path, shape, directions)
    components = directions * scale.reshape(1, -1)
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
    for field, value in (("identity", identity), ("expression", expression)):
        if mean.shape != (vertices, 3) or value.shape[1:] != mean.shape:
            raise _misshapen(path, field, value)
    if landmarks.shape != (68,) or not all(
        part.min() >= 0 and part.max() < vertices for part in (landmarks, triangles)
    ):
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
