"""Make ``data/canonical_face.npz`` from a rendered clip with known cameras.

``python -m synctalk.face.fit_canonical CLIP TRUTH WHEEL``: CLIP is the virtual person's video,
TRUTH its npz of exact head poses, WHEEL the mediapipe wheel (its list of mesh edges, Apache-2.0,
gives the triangles). The tracker's points are triangulated over frames in which the true
expression is close to neutral.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from synctalk.face import topology
from synctalk.face.canonical import OUTER_EYE_DISTANCE_MM
from synctalk.face.mesh import MeshFaceTracker
from synctalk.face.tracking import FaceTrack, FloatArray, Image

Array = NDArray[np.float64]
STEP = 4  # every 4th frame
EDGES_MEMBER = "mediapipe/python/solutions/face_mesh_connections.py"
# How far the fitted point may leave the ray's depth that the networks saw: the views span only
# +-9 degrees, so triangulation alone is weak along z.
DEPTH_PRIOR = 0.15
ROBUST_PX = 1.0
ITERATIONS = 20
QUIET = ("jawOpen", "mouthPucker", "mouthFunnel", "mouthSmileLeft", "eyeBlinkLeft", "browInnerUp")


@dataclass(frozen=True)
class Truth:
    """Exact cameras of some frames: K [3, 3], R [T, 3, 3], t [T, 3] mm, weight [T]."""

    K: Array
    R: Array
    t: Array
    weight: Array


def read_truth(path: Path, step: int) -> Truth:
    """Cameras, with pixel centres moved to +0.5, and how neutral each frame's expression is."""
    with np.load(path, allow_pickle=False) as data:
        names = [str(name) for name in data["coeff_names"]]
        expression = data["coeffs"][::step, [names.index(name) for name in QUIET]]
        K = data["K"].copy()
        K[:2, 2] += 0.5
        weight = np.exp(-np.square(expression / 0.15).sum(axis=1)) + 1e-3
        return Truth(K, data["R_head"][::step], data["t_head"][::step], weight)


def _frames(path: Path, step: int) -> Iterator[Image]:
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % step == 0:
                yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def network_shape(mesh: FloatArray, truth: Truth) -> Array:
    """[468, 3] the networks' own weak-perspective 3D face, turned into the head frame, mm."""
    scale = truth.t[:, 2] / truth.K[0, 0]  # mm per px at the head
    camera = mesh[:, : topology.N_FACE].astype(np.float64) * scale[:, None, None]
    camera -= camera[:, list(topology.OUTER_EYE_CORNERS)].mean(axis=1, keepdims=True)
    head = np.einsum("tji,tnj->tni", truth.R, camera)
    return np.asarray(np.average(head, axis=0, weights=truth.weight))


def triangulate(track: FaceTrack, truth: Truth) -> Array:
    """[468, 3] mm, the rigid points whose projections fit the tracked ones best (robust)."""
    assert track.mesh is not None
    pixels = track.mesh[:, : topology.N_FACE, :2].astype(np.float64)
    prior = network_shape(track.mesh, truth)
    points = prior.copy()
    for _ in range(ITERATIONS):
        points = _gauss_newton(points, pixels, prior, truth)
        prior[:, 2] += np.median(points[:, 2] - prior[:, 2])
    return points


def _gauss_newton(points: Array, pixels: Array, prior: Array, truth: Truth) -> Array:
    camera = np.einsum("tij,nj->tni", truth.R, points) + truth.t[:, None]
    depth = camera[..., 2:]
    focal = truth.K[[0, 1], [0, 1]]
    residual = camera[..., :2] / depth * focal + truth.K[:2, 2] - pixels
    jacobian = (
        truth.R[:, None, :2] - camera[..., :2, None] / depth[..., None] * truth.R[:, None, 2:]
    )
    jacobian = jacobian * focal[:, None] / depth[..., None]  # [T, N, 2, 3]
    weight = truth.weight[:, None] / (1 + np.square(residual / ROBUST_PX).sum(-1))
    weight /= weight.sum(axis=0)
    normal = np.einsum("tn,tnki,tnkj->nij", weight, jacobian, jacobian)
    gradient = np.einsum("tn,tnki,tnk->ni", weight, jacobian, residual)
    normal[:, 2, 2] += DEPTH_PRIOR**2
    gradient[:, 2] += DEPTH_PRIOR**2 * (points[:, 2] - prior[:, 2])
    return np.asarray(points - np.linalg.solve(normal, gradient[..., None])[..., 0])


def mirror_indices(points: Array) -> NDArray[np.int32]:
    """[468] the point that each point becomes when left and right are exchanged."""
    flipped = points * [-1, 1, 1]
    cost = np.linalg.norm(flipped[:, None] - points[None], axis=-1)
    return np.asarray(linear_sum_assignment(cost)[1], np.int32)


def make_generic(points: Array, mirror: NDArray[np.int32]) -> Array:
    """Symmetric, centred between the outer eye corners in x and y, 90 mm between them."""
    right, left = topology.OUTER_EYE_CORNERS
    centred = points - [points[[right, left], 0].mean(), points[[right, left], 1].mean(), 0]
    even = (centred + centred[mirror] * [-1, 1, 1]) / 2
    return np.asarray(even * (OUTER_EYE_DISTANCE_MM / np.linalg.norm(even[right] - even[left])))


def read_triangles(wheel: Path, points: Array) -> NDArray[np.int32]:
    """[852, 3] from the wheel's edges, which come as three a triangle; facing outwards."""
    source = zipfile.ZipFile(wheel).read(EDGES_MEMBER).decode()
    block = source[source.index("FACEMESH_TESSELATION") :].split("])")[0]
    pairs = np.array(re.findall(r"\((\d+),\s*(\d+)\)", block), np.int32).reshape(-1, 3, 2)
    triangles = pairs[:, :, 0]
    a, b, c = (points[triangles[:, k]] for k in range(3))
    inward = np.cross(b - a, c - a)[:, 2].sum() < 0
    return np.ascontiguousarray(triangles[:, ::-1] if inward else triangles)


def main(clip: Path, truth_path: Path, wheel: Path) -> None:
    """Fit and write the package's data file."""
    track = MeshFaceTracker().track(_frames(clip, STEP))
    truth = read_truth(truth_path, STEP)
    points = triangulate(track, truth)
    mirror = mirror_indices(points)
    vertices = make_generic(points, mirror)
    target = Path(__file__).parent / "data" / "canonical_face.npz"
    target.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        target,
        vertices=vertices.astype(np.float32),
        triangles=read_triangles(wheel, vertices).astype(np.int16),
        mirror=mirror.astype(np.int16),
    )
    print(f"{target}: {target.stat().st_size} bytes from {len(track)} frames")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
