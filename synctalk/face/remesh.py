"""Any 3D face in the vertices of ours, so that head tracking can begin from it.

Trackers see the 468 points of our mesh; another model's vertices mean nothing to them. The
canonical mesh is bent by the 68 landmarks that both have (biharmonic interpolation) and then
laid onto the model's surface along its normals. Where the model has no surface near, the bent
mesh stays: a Basel face ends at the ears.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from synctalk.face.canonical import CanonicalFace, load_canonical_face
from synctalk.face.face_models import FaceModel
from synctalk.face.ibug import landmarks68_of_mesh

NEIGHBOURS = 24
REACH_MM = 2.5
FARTHEST_MM = 12.0
LANDMARK_NOISE_MM = 1.0  # models disagree about what a landmark is
SHARED = [0, 8, 16, *range(17, 68)]  # the other jaw points lie anywhere along the outline

Float = NDArray[np.float64]


def remesh(model: FaceModel) -> CanonicalFace:
    """The mean of ``model`` as a face of 468 points, for ``head_sync.stabilize``."""
    face = load_canonical_face()
    if model.layout == "mesh468":
        return dataclasses.replace(face, vertices=model.mean)
    bent = _bend(face, model)
    shift = _lay(bent, _normals(bent, face.triangles), model) - bent
    laid = bent + _evened(shift, face.triangles)  # nostrils and eyelids would fold otherwise
    return dataclasses.replace(face, vertices=laid.astype(np.float32))


def _bend(face: CanonicalFace, model: FaceModel) -> Float:
    """The canonical mesh with its landmarks at the model's, [468, 3] mm."""
    vertices = face.vertices.astype(np.float64)
    ours = landmarks68_of_mesh(face.vertices[None])[0, SHARED].astype(np.float64)
    theirs = model.mean[model.landmarks][SHARED].astype(np.float64)
    offsets = RBFInterpolator(
        ours, theirs - ours, kernel="linear", degree=1, smoothing=LANDMARK_NOISE_MM
    )
    return np.asarray(vertices + offsets(vertices))


def _lay(points: Float, normals: Float, model: FaceModel) -> Float:
    """Points [P, 3] moved along the surface's normal onto the surface near them."""
    surface = model.mean.astype(np.float64)
    outward = _normals(surface, model.triangles)
    away, index = cKDTree(surface).query(points, k=min(NEIGHBOURS, len(surface)))
    alike = np.maximum(np.einsum("pi,pki->pk", normals, outward[index]), 0)
    near = np.exp(-0.5 * ((away - away[:, :1]) / REACH_MM) ** 2) * (away < FARTHEST_MM)
    weight = alike**2 * near
    total = weight.sum(1, keepdims=True)
    share = weight / np.maximum(total, 1e-9)
    centre = np.einsum("pk,pki->pi", share, surface[index])
    normal = np.einsum("pk,pki->pi", share, outward[index])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    height = ((points - centre) * normal).sum(1, keepdims=True)
    return np.asarray(np.where(total > 0.05, points - height * normal, points))


def _evened(values: Float, triangles: NDArray[np.integer]) -> Float:
    """Each vertex's value [V, 3] averaged with its neighbours'."""
    a, b, c = triangles.T
    rows, columns = np.r_[a, b, c, b, c, a], np.r_[b, c, a, a, b, c]
    near = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(values), len(values)))
    near = (near > 0) + sp.eye(len(values))
    return np.asarray((near @ values) / near.sum(1))


def _normals(vertices: Float, triangles: NDArray[np.integer]) -> Float:
    """Unit normals [V, 3] that point out of the face, whichever way the triangles are turned."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, triangles[:, k], area)
    front = vertices[:, 2] > np.median(vertices[:, 2])
    if out[front, 2].sum() < 0:
        out = -out
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))
