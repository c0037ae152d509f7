"""Choose a face tracker by name."""

from __future__ import annotations

import torch

from synctalk.face.alignment import FaceAlignmentTracker, weights_path
from synctalk.face.mesh import MeshFaceTracker
from synctalk.face.tracking import FaceTracker


def make_tracker(name: str = "auto", device: str = "auto") -> FaceTracker:
    """The tracker called ``name``.

    Args:
        name: ``"mesh"``, ``"face-alignment"``, or ``"auto"``: face-alignment where there is a CUDA
            device and its weights are on this machine, else mesh.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        MissingModelError: the tracker's networks are not on this machine.
        ValueError: there is no tracker of that name.
    """
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if name == "face-alignment" or (name == "auto" and cuda and weights_path().is_file()):
        return FaceAlignmentTracker("cuda" if cuda else "cpu")
    if name in ("auto", "mesh"):
        return MeshFaceTracker()
    raise ValueError(f"unknown face tracker {name!r}: use auto, mesh or face-alignment")
