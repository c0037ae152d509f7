"""The 52 ARKit blendshapes of a track (SyncTalk++, Facial Animation Capturer; METHOD row 2).

Seven drive the renderer: the two blinks and the five brow shapes. The default capturer measures
them on the tracked mesh; with MediaPipe's ``face_landmarker.task`` its network can be used instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import scipy
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.face.tracking import FaceTrack, FloatArray

ARKIT_NAMES = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight"),
    *("eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight"),
    *("jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose"),
    *("mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft"),
    *("mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight"),
    *("mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight", "tongueOut"),
)
"""The 52 names in the order of every [T, 52] array; left and right are the subject's."""

CORE_NAMES = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("eyeBlinkLeft", "eyeBlinkRight"),
)
"""The seven that drive the renderer (SyncTalk++, section III-B)."""

FILTER_WINDOW, FILTER_ORDER = 5, 3


class BlendshapeCapturer(Protocol):
    """Measures expressions as blendshape coefficients."""

    def capture(self, track: FaceTrack, *, cuts: Sequence[int] = ()) -> FloatArray:
        """[T, 52] float32 in [0, 1] in the order of ``ARKIT_NAMES``.

        Args:
            track: with a mesh.
            cuts: indices of frames that begin a new shot; nothing is smoothed across one.

        Raises:
            InputError: the track has no mesh (it comes from a 68-point tracker).
        """
        ...


def mesh_of(track: FaceTrack) -> FloatArray:
    """[F, 478, 3] meshes of the frames that have a face; InputError for a 68-point track."""
    if track.mesh is None:
        raise InputError(
            "The track has 68 landmarks but no mesh to measure blendshapes on.",
            reason="TRACK_WITHOUT_MESH",
            remedy="Track with the mesh tracker.",
        )
    return track.mesh[track.found]


def finish(
    scores: NDArray[np.float64], found: NDArray[np.bool_], cuts: Sequence[int]
) -> FloatArray:
    """Spread scores over all frames, filter each shot on its own, and clip.

    Args:
        scores: [F, 52] of the frames that have a face.
        found: [T] which those are; the others are interpolated within their shot.
        cuts: indices of frames that begin a new shot.

    Returns:
        [T, 52] in [0, 1]; 0 throughout a shot that has no face.
    """
    out = np.zeros((len(found), len(ARKIT_NAMES)))
    out[found] = scores
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(found)}), len(found)]
    for begin, end in pairwise(bounds):
        shot = slice(begin, end)
        out[shot] = savitzky_golay(fill_gaps(out[shot], found[shot]))
    return np.clip(out, 0, 1).astype(np.float32)


def savitzky_golay(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Savitzky-Golay (5, 3) along the first axis; too short a shot stays as it is."""
    if len(rows) < FILTER_WINDOW:
        return rows
    return np.asarray(scipy.signal.savgol_filter(rows, FILTER_WINDOW, FILTER_ORDER, axis=0))


def fill_gaps(values: NDArray[np.float64], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Rows without a face, interpolated from their neighbours with one."""
    if found.all() or not found.any():
        return values
    at, known = np.arange(len(values)), np.flatnonzero(found)
    columns = [np.interp(at, known, column[known]) for column in values.T]
    return np.stack(columns, axis=1)
