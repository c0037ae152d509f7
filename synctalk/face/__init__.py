"""Faces: tracking, blendshapes, parsing masks, plates, and the 3D face model.

tracking, mesh      the tracker's result and protocol; the default tracker
alignment           the 68-point tracker for GPUs
blendshapes         52 ARKit coefficients of a track
canonical           the default 3D face
parsing             masks and plates
models              where the networks' files are; the set-up step
"""

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
