"""Faces: tracking, blendshapes, parsing masks, plates, and the 3D face model.

tracking, mesh      the tracker's result and protocol; the default tracker
alignment           the 68-point tracker for GPUs
blendshapes         52 ARKit coefficients of a track
canonical           the default 3D face
face_models         other people's 3D faces, and the way from them to ours
parsing             masks and plates
models              where the networks' files are; the set-up step

Names are loaded at first use: ``python -m synctalk.face.models`` must run before anything heavy
can be imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synctalk.face.blendshapes import ARKIT_NAMES, CORE_NAMES, BlendshapeCapturer
    from synctalk.face.canonical import CanonicalFace, load_canonical_face
    from synctalk.face.geometric import GeometricCapturer
    from synctalk.face.mesh import MeshFaceTracker
    from synctalk.face.parsing import parse_frames
    from synctalk.face.select import make_tracker
    from synctalk.face.tracking import FaceTrack, FaceTracker

__all__ = [
    "ARKIT_NAMES",
    "CORE_NAMES",
    "BlendshapeCapturer",
    "CanonicalFace",
    "FaceTrack",
    "FaceTracker",
    "GeometricCapturer",
    "MeshFaceTracker",
    "load_canonical_face",
    "make_tracker",
    "parse_frames",
]

_HOMES = {
    "ARKIT_NAMES": "blendshapes",
    "CORE_NAMES": "blendshapes",
    "BlendshapeCapturer": "blendshapes",
    "CanonicalFace": "canonical",
    "FaceTrack": "tracking",
    "FaceTracker": "tracking",
    "GeometricCapturer": "geometric",
    "MeshFaceTracker": "mesh",
    "load_canonical_face": "canonical",
    "make_tracker": "select",
    "parse_frames": "parsing",
}

if not TYPE_CHECKING:  # a visible __getattr__ would hide misspelt names from the type checker

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'synctalk.face' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"synctalk.face.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
