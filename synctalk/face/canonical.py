"""The default 3D face: one neutral head shared by all subjects, in the mesh's 468 points.

It was measured on an invented person rendered from known cameras (see ``fit_canonical``), made
symmetric and scaled to 90 mm between the outer eye corners, a common adult distance; head tracking
learns each subject's own offsets from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from synctalk.face import topology
from synctalk.face.tracking import FloatArray

OUTER_EYE_DISTANCE_MM = 90.0


class Region(IntEnum):
    """Part of the face that a mesh point belongs to."""

    CHEEK = 0
    FOREHEAD = 1
    BROW = 2
    EYE = 3
    NOSE = 4
    LIPS = 5
    JAW = 6
    TEMPLE = 7


RIGID_WEIGHTS = {
    Region.CHEEK: 0.4,
    Region.FOREHEAD: 0.7,
    Region.BROW: 0.15,
    Region.EYE: 0.2,
    Region.NOSE: 1.0,
    Region.LIPS: 0.05,
    Region.JAW: 0.1,
    Region.TEMPLE: 0.6,
}
"""How rigidly each region sits on the skull (SyncTalk++, semantic weighting)."""

INNER_EYE_CORNERS_WEIGHT = 0.8  # corners do not move with the lids


@dataclass(frozen=True)
class CanonicalFace:
    """A mean neutral face.

    Args:
        vertices: [468, 3] float32 mm, head frame (origin midway between the eyeballs, x to the
            subject's left, y up, z out of the face).
        triangles: [852, 3] int32, counter-clockwise seen from outside; eyes and mouth are open.
        mirror: [468] int32, index of each point's mirror image.
        regions: [468] int32 of :class:`Region`.
    """

    vertices: FloatArray
    triangles: NDArray[np.int32]
    mirror: NDArray[np.int32]
    regions: NDArray[np.int32]

    @property
    def rigid_weight(self) -> FloatArray:
        """[468] float32 in [0, 1], how rigidly each point sits on the skull."""
        table = np.array([RIGID_WEIGHTS[region] for region in Region], np.float32)
        weight = table[self.regions]
        weight[[133, 362, 243, 463]] = INNER_EYE_CORNERS_WEIGHT
        return weight


def regions_of(vertices: FloatArray) -> NDArray[np.int32]:
    """[468] region of each point of a neutral face in the head frame, mm."""
    x, y = vertices[:, 0], vertices[:, 1]
    nose = vertices[topology.NOSE_TIP, 1]
    brow = vertices[list(topology.RIGHT_BROW), 1].mean()
    half = np.abs(vertices[list(topology.OUTER_EYE_CORNERS), 0]).max()
    region = np.full(len(vertices), Region.CHEEK, np.int32)
    region[y > brow] = Region.FOREHEAD
    region[(np.abs(x) > half * 1.2) & (y > nose)] = Region.TEMPLE
    region[(np.abs(x) < half * 0.45) & (y > nose - half * 0.35) & (y <= brow)] = Region.NOSE
    region[y < nose - half * 0.4] = Region.JAW
    region[list(topology.RIGHT_EYE_REGION[:32] + topology.LEFT_EYE_REGION[:32])] = Region.EYE
    region[list(topology.RIGHT_BROW + topology.LEFT_BROW)] = Region.BROW
    region[list(topology.LIPS_REGION)] = Region.LIPS
    return region


@lru_cache(maxsize=1)
def load_canonical_face() -> CanonicalFace:
    """The face that ships with the package."""
    resource = files("synctalk.face") / "data" / "canonical_face.npz"
    with as_file(resource) as path, np.load(path, allow_pickle=False) as data:
        vertices = data["vertices"].astype(np.float32)
        triangles, mirror = data["triangles"].astype(np.int32), data["mirror"].astype(np.int32)
    return CanonicalFace(vertices, triangles, mirror, regions_of(vertices))
