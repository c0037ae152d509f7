"""AUE: how far facial actions differ, from OpenFace's files or from our blendshapes.

The paper names the metric and not its formula. Here: the sum over action units of the absolute
difference of their intensities (0 to 5), averaged over frames; upper face, lower face and both.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.face.blendshapes import ARKIT_NAMES
from synctalk.face.geometric import GeometricCapturer
from synctalk.face.tracking import FaceTrack

Series = NDArray[np.float64]

UPPER = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU45")
LOWER = ("AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26")
STRONGEST = 5.0
"""Intensity of a full action in OpenFace."""

BLENDSHAPES: Mapping[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    "AU05": ("eyeWideLeft", "eyeWideRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU23": ("mouthPressLeft", "mouthPressRight"),
    "AU26": ("jawOpen",),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""Blendshapes whose mean, times five, is taken as an action's intensity. AU25 (lips part) is
``jawOpen - mouthClose``. The geometry knows no AU06, 07, 09 and 17: they are left out."""


@dataclass(frozen=True)
class OpenFacePair:
    """Files that OpenFace's FeatureExtraction wrote (``-aus``) of the two videos.

    Args:
        reference, frame: CSV of the source video and of the rendered one.
    """

    reference: Path
    frame: Path


@dataclass(frozen=True)
class ActionErrors:
    """Error of every frame, [T]; NaN where a face is missing in either video."""

    upper: Series
    lower: Series

    @property
    def both(self) -> Series:
        """[T] upper and lower together."""
        return self.upper + self.lower


def openface_errors(pair: OpenFacePair, n_frames: int) -> ActionErrors:
    """AUE by OpenFace.

    Raises:
        InputError: a file has no action units, or not ``n_frames`` rows.
    """
    reference, frame = (read_openface(path, n_frames) for path in (pair.reference, pair.frame))
    return _errors(reference, frame)


def read_openface(path: Path, n_frames: int) -> dict[str, Series]:
    """Intensities [T] by action unit, NaN where OpenFace had no success.

    Raises:
        InputError: the file cannot be read, has no action units, or not ``n_frames`` rows.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{str(k).strip(): v for k, v in row.items()} for row in csv.DictReader(file)]
        rows = [row for row in rows if int(row.get("face_id", 0) or 0) == 0]
        found = np.array([float(row.get("success", 1)) > 0 for row in rows])
        units = {
            unit: np.where(found, [float(row[f"{unit}_r"]) for row in rows], np.nan)
            for unit in (*UPPER, *LOWER)
        }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is not OpenFace's table of action units: {error}.",
            reason="BAD_OPENFACE_FILE",
            remedy="Run OpenFace's FeatureExtraction with -aus on the video.",
        ) from error
    if len(rows) != n_frames:
        raise InputError(
            f"{path} has {len(rows)} frames, the video {n_frames}.",
            reason="LENGTHS_DIFFER",
            remedy="Run OpenFace on the very frames that are scored.",
        )
    return units


def blendshape_errors(
    source: FaceTrack, track: FaceTrack, cuts: tuple[int, ...] = ()
) -> ActionErrors:
    """Own AUE: both tracks are measured as one clip, so that one calibration holds for both.

    Args:
        source, track: of the same frames, with meshes.
        cuts: frames that begin a new shot.
    """
    n = len(source)
    joined = _joined(source, track)
    shapes = GeometricCapturer().capture(joined, cuts=(*cuts, n, *(n + cut for cut in cuts)))
    units = {unit: _intensity(shapes, names) for unit, names in BLENDSHAPES.items()}
    open_jaw, closed = (shapes[:, ARKIT_NAMES.index(name)] for name in ("jawOpen", "mouthClose"))
    units["AU25"] = STRONGEST * np.clip(open_jaw - closed, 0, 1).astype(np.float64)
    for values in units.values():
        values[~joined.found] = np.nan
    return _errors({u: v[:n] for u, v in units.items()}, {u: v[n:] for u, v in units.items()})


def _intensity(shapes: NDArray[np.float32], names: tuple[str, ...]) -> Series:
    columns = [ARKIT_NAMES.index(name) for name in names]
    return np.asarray(STRONGEST * shapes[:, columns].mean(1), np.float64)


def _errors(reference: Mapping[str, Series], frame: Mapping[str, Series]) -> ActionErrors:
    def total(units: tuple[str, ...]) -> Series:
        apart = [np.abs(frame[u] - reference[u]) for u in units if u in reference]
        return np.asarray(np.sum(apart, axis=0))

    return ActionErrors(total(UPPER), total(LOWER))


def _joined(a: FaceTrack, b: FaceTrack) -> FaceTrack:
    assert a.mesh is not None
    assert b.mesh is not None
    return FaceTrack(
        landmarks68=np.concatenate([a.landmarks68, b.landmarks68]),
        mesh=np.concatenate([a.mesh, b.mesh]),
        score=np.concatenate([a.score, b.score]),
        n_faces=np.concatenate([a.n_faces, b.n_faces]),
        size=a.size,
    )
