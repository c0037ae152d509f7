"""Blendshapes by MediaPipe's network, for users who have a ``face_landmarker.task`` file.

The file is a zip; its ``face_blendshapes.tflite`` maps 146 mesh points to 52 scores, of which the
first is "neutral" and the rest are ARKit's in alphabetical order without tongueOut.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synctalk.errors import MissingModelError
from synctalk.face.blendshapes import ARKIT_NAMES, finish, mesh_of
from synctalk.face.models import require_model
from synctalk.face.networks import Network
from synctalk.face.tracking import FaceTrack, FloatArray

TASK_FILE = "face_landmarker.task"
MEMBER = "face_blendshapes.tflite"
RESTING_PERCENTILE = 10.0  # raw scores of a resting face are not 0

INPUT_POINTS = (
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65),
    *(66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136),
    *(144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168),
    *(172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276),
    *(282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318),
    *(321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380),
    *(381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466),
    *(468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
)
"""The 146 mesh points that the network reads, in its order."""


def _read_network(path: Path) -> Network:
    try:
        with zipfile.ZipFile(path) as archive:
            return Network(archive.read(MEMBER))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise MissingModelError(
            f"{path} has no {MEMBER}: {error}",
            reason="FACE_MODEL_UNREADABLE",
            remedy="Use the face_landmarker.task file published by MediaPipe.",
        ) from error


class TaskCapturer:
    """Blendshapes from the network inside a ``face_landmarker.task`` file.

    Args:
        path: the file; by default it is looked for in the model folders.

    Raises:
        MissingModelError: the file is absent or is not a task file.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Load the network."""
        self._network = _read_network(path or require_model(TASK_FILE))

    def capture(self, track: FaceTrack, *, cuts: Sequence[int] = ()) -> FloatArray:
        """[T, 52]; see :class:`synctalk.face.blendshapes.BlendshapeCapturer`."""
        mesh = mesh_of(track)
        raw = np.zeros((len(mesh), len(ARKIT_NAMES)))
        if len(mesh):
            raw[:] = [self._scores(points) for points in mesh]
            rest = np.percentile(raw, RESTING_PERCENTILE, axis=0)
            raw = (raw - rest) / np.maximum(1 - rest, 1e-6)
        return finish(raw, track.found, cuts)

    def _scores(self, mesh: FloatArray) -> FloatArray:
        """[52] raw scores of one mesh in the order of ``ARKIT_NAMES``."""
        points = np.ascontiguousarray(mesh[None, INPUT_POINTS, :2])
        (scores,) = self._network(points)
        return np.append(scores.reshape(-1)[1:], np.float32(0))  # neutral out, tongueOut in
