"""The head's surface: the face mesh, continued by a shell over hair, temples and ears.

The face model ends at the hairline. What lies beyond turns with the skull more faithfully than
cheeks and brows do and has longer levers, so the photometric step wants it. It is modelled as a
coarse ellipsoid shell of an average head, whose depth the photometric step then corrects; points
of the shell that do not move with the head (background, loose hair) lose their weight there.

Where the head ends before the background is the strongest edge of all. What is seen there is no one
place of the head: as it turns, other places become the outline. On a rounded head they lie at
about the same depth, so the outline is modelled as a plane through the skull's centre that
stays turned to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from synctalk.head_sync.geometry import Float

Int = NDArray[np.int64]

# An average adult head in the head frame, mm: skull with short hair, seen from the front.
SHELL_CENTRE_MM = np.array([0.0, 10.0, -75.0])
SHELL_RADII_MM = np.array([84.0, 128.0, 103.0])
SHELL_RINGS, SHELL_SPOKES = 10, 36
OUTLINE_REACH = (0.75, 1.2)  # of the skull's radii: where heads of hair end
OUTLINE_RINGS, OUTLINE_SPOKES = 4, 24
OUTLINE_WEIGHT = 0.7  # it is not quite as rigid as the skull
LOWEST_MM = -35.0  # nothing below is used: upper lip and jaw pull, neck and collar begin


class FaceModel(Protocol):
    """A mean 3D face; ``synctalk.face.load_canonical_face`` gives the default one.

    Attributes:
        vertices: [V, 3] mm in the head frame, in the order of the tracker's mesh points.
        triangles: [F, 3] vertex indices, counter-clockwise seen from outside.
        rigid_weight: [V] in [0, 1], how rigidly each vertex sits on the skull.
    """

    @property
    def vertices(self) -> NDArray[np.floating]:
        """[V, 3] mm."""
        ...

    @property
    def triangles(self) -> NDArray[np.integer]:
        """[F, 3]."""
        ...

    @property
    def rigid_weight(self) -> NDArray[np.floating]:
        """[V] in [0, 1]."""
        ...


@dataclass(frozen=True)
class Surface:
    """A triangle mesh whose vertices slide along fixed normals.

    Args:
        vertices: [V, 3] float64, mm.
        triangles: [F, 3].
        weights: [V] in [0, 1], rigidity.
        normals: [V, 3] unit vectors, outward; the direction in which depth is corrected.
        n_face: the first ``n_face`` vertices are the face model's.
        n_solid: vertices from this one on are the outline's.
    """

    vertices: Float
    triangles: Int
    weights: Float
    normals: Float
    n_face: int
    n_solid: int

    def displaced(self, offsets_mm: Float) -> Surface:
        """The surface with its vertices moved along the normals by ``offsets_mm`` [V]."""
        return replace(self, vertices=self.vertices + offsets_mm[:, None] * self.normals)

    def laplacian(self) -> sp.csr_matrix:
        """Uniform graph Laplacian [V, V]: mean of the neighbours minus the vertex."""
        a, b, c = self.triangles.T
        rows, cols = np.r_[a, b, c, b, c, a], np.r_[b, c, a, a, b, c]
        n = len(self.vertices)
        adjacent = sp.coo_matrix((np.ones(len(rows)), (rows, cols)), (n, n)).tocsr()
        adjacent.data[:] = 1.0
        degree = np.asarray(adjacent.sum(1)).ravel()
        return sp.diags(1 / np.maximum(degree, 1)) @ adjacent - sp.diags((degree > 0).astype(float))


@dataclass(frozen=True)
class Samples:
    """Points on a surface, by triangle corners [N, 3] and barycentric coordinates [N, 3]."""

    corners: Int
    bary: Float

    def __len__(self) -> int:
        """Number of points."""
        return len(self.corners)

    def take(self, index: NDArray[np.intp]) -> Samples:
        """Some of the points."""
        return Samples(self.corners[index], self.bary[index])

    def on_outline(self, surface: Surface) -> NDArray[np.bool_]:
        """[N] which of the points are the outline's."""
        return np.asarray(self.corners[:, 0] >= surface.n_solid)

    def joined(self, other: Samples) -> Samples:
        """These points and then those of ``other``."""
        return Samples(np.r_[self.corners, other.corners], np.r_[self.bary, other.bary])

    def interpolate(self, values: Float) -> Float:
        """Values [V, ...] of the vertices at the points, [N, ...]."""
        return np.asarray(np.einsum("nk,nk...->n...", self.bary, values[self.corners]))

    def unit_normals(self, surface: Surface) -> Float:
        """Outward unit normals [N, 3] of the surface as it is now."""
        return _unit(self.interpolate(vertex_normals(surface.vertices, surface.triangles)))

    def matrix(self, n_vertices: int) -> sp.csr_matrix:
        """The same interpolation as a sparse matrix [N, V]."""
        rows = np.repeat(np.arange(len(self)), 3)
        entries = (self.bary.ravel(), (rows, self.corners.ravel()))
        return sp.csr_matrix(entries, (len(self), n_vertices))


def _unit(v: Float) -> Float:
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12))


def vertex_normals(vertices: Float, triangles: Int) -> Float:
    """Area-weighted unit normals [V, 3]; zero for vertices of no triangle."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, triangles[:, k], face)
    return _unit(out)


def _grid(rings: Float, spokes: Float) -> tuple[Float, Float, Int]:
    """Ring and spoke of each vertex of a grid [rings, spokes], and its triangles."""
    ring, spoke = np.meshgrid(rings, spokes, indexing="ij")
    index = np.arange(ring.size).reshape(ring.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)
    return ring.ravel(), spoke.ravel(), triangles


def _shell() -> tuple[Float, Int]:
    spokes = np.linspace(-0.15, 1.15, SHELL_SPOKES) * np.pi
    ring, spoke, triangles = _grid(np.linspace(0.25, 0.5, SHELL_RINGS) * np.pi, spokes)
    directions = np.stack(
        [np.sin(ring) * np.cos(spoke), np.sin(ring) * np.sin(spoke), np.cos(ring)], -1
    )
    return SHELL_CENTRE_MM + SHELL_RADII_MM * directions, triangles


def head_surface(face_vertices: Float, model: FaceModel) -> Surface:
    """The subject's face mesh with the shell around it.

    Args:
        face_vertices: [V, 3] mm, the subject's shape of ``model``.
        model: gives triangles and rigidity.
    """
    shell, shell_triangles = _shell()
    hull = cv2.convexHull(face_vertices[:, :2].astype(np.float32))
    xy = [(float(x), float(y)) for x, y, _ in shell]
    hidden = np.array([cv2.pointPolygonTest(hull, p, measureDist=False) > 0 for p in xy])
    shell_triangles = shell_triangles[~hidden[shell_triangles].all(1)]
    n_face = len(face_vertices)
    vertices = np.concatenate([face_vertices, shell])
    triangles = np.concatenate([np.asarray(model.triangles, np.int64), shell_triangles + n_face])
    rigid = np.concatenate([np.asarray(model.rigid_weight, np.float64), np.ones(len(shell))])
    weights = np.where(vertices[:, 1] > LOWEST_MM, rigid, 0.0)
    normals = vertex_normals(vertices, triangles)
    return Surface(vertices, triangles, weights, normals, n_face, len(vertices))


def with_outline(surface: Surface) -> Surface:
    """A head and the ring in which its outline is sought."""
    spokes = np.linspace(-0.15, 1.15, OUTLINE_SPOKES) * np.pi
    ring, spoke, triangles = _grid(np.linspace(*OUTLINE_REACH, OUTLINE_RINGS), spokes)
    directions = np.stack([ring * np.cos(spoke), ring * np.sin(spoke), np.zeros_like(ring)], -1)
    plane = SHELL_CENTRE_MM + SHELL_RADII_MM * directions
    normals = np.tile([0.0, 0.0, 1.0], (len(plane), 1))
    return Surface(
        vertices=np.concatenate([surface.vertices, plane]),
        triangles=np.concatenate([surface.triangles, triangles + surface.n_solid]),
        weights=np.r_[surface.weights, np.where(plane[:, 1] > LOWEST_MM, OUTLINE_WEIGHT, 0.0)],
        normals=np.concatenate([surface.normals, normals]),
        n_face=surface.n_face,
        n_solid=surface.n_solid,
    )


def sample_surface(
    surface: Surface,
    count: int,
    min_weight: float,
    rng: np.random.Generator,
    *,
    outline: bool = False,
) -> Samples:
    """Points spread evenly by area over the triangles whose corners all weigh ``min_weight``.

    They are the solid head's, or the outline's.
    """
    a, b, c = (surface.vertices[surface.triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    area = area * (surface.weights[surface.triangles].min(1) >= min_weight)
    area = area * ((surface.triangles[:, 0] >= surface.n_solid) == outline)
    picked = rng.choice(len(area), count, p=area / area.sum())
    return Samples(surface.triangles[picked], rng.dirichlet(np.ones(3), count))
