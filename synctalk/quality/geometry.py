"""What the face track alone tells: size, pose, mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synctalk.face.tracking import FaceTrack

FloatArray = NDArray[np.float64]

_RIGHT_CHEEK, _LEFT_CHEEK, _FOREHEAD, _CHIN = 234, 454, 10, 152  # MediaPipe's mesh
_NOSE_REACH = 0.75  # of the nose tip before the eyes, in eye distances; fitted to the mesh's yaw


@dataclass(frozen=True)
class FaceMotion:
    """Per frame; NaN where no face was found.

    Args:
        eye_distance_px: [T] between the eyes' centres, corrected for yaw.
        yaw_deg: [T] positive towards the subject's left.
        pitch_deg: [T] positive downwards, relative to the clip's median.
        mouth_gap: [T] inner lips' gap in eye distances.
        centre_px: [T, 2] between the eyes.
    """

    eye_distance_px: FloatArray
    yaw_deg: FloatArray
    pitch_deg: FloatArray
    mouth_gap: FloatArray
    centre_px: FloatArray


def face_motion(track: FaceTrack) -> FaceMotion:
    """Simple geometry on the tracked points, angles good to 20 %; the exact pose comes later."""
    points = track.landmarks68.astype(np.float64)
    points[~track.found] = np.nan
    right, left = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    apart = np.linalg.norm(left - right, axis=1)
    yaw, pitch = _angles(track) if track.mesh is not None else _angles_of_68(points, apart)
    distance = apart / np.cos(np.radians(np.clip(np.abs(yaw), 0, 60)))
    gaps = np.linalg.norm(points[:, [61, 62, 63]] - points[:, [67, 66, 65]], axis=2).mean(1)
    return FaceMotion(distance, yaw, pitch, gaps / distance, (left + right) / 2)


def _angles(track: FaceTrack) -> tuple[FloatArray, FloatArray]:
    assert track.mesh is not None
    mesh = track.mesh.astype(np.float64)
    mesh[~track.found] = np.nan
    across = mesh[:, _LEFT_CHEEK] - mesh[:, _RIGHT_CHEEK]
    down = mesh[:, _CHIN] - mesh[:, _FOREHEAD]
    yaw = np.degrees(np.arctan2(across[:, 2], np.hypot(across[:, 0], across[:, 1])))
    pitch = np.degrees(np.arctan2(down[:, 2], np.hypot(down[:, 0], down[:, 1])))
    return yaw, pitch - _median(pitch)


def _angles_of_68(points: FloatArray, apart: FloatArray) -> tuple[FloatArray, FloatArray]:
    """From the nose tip's place between the eyes and the mouth; for trackers without a mesh."""
    eyes = points[:, 36:48].mean(1)
    along = (points[:, 42:48].mean(1) - points[:, 36:42].mean(1)) / apart[:, None]
    below = np.stack([-along[:, 1], along[:, 0]], 1)
    tip = (points[:, 30] - eyes) / apart[:, None]
    yaw = np.degrees(np.arcsin(np.clip((tip * along).sum(1) / _NOSE_REACH, -1, 1)))
    drop = (tip * below).sum(1)
    pitch = np.degrees(np.arcsin(np.clip((drop - _median(drop)) / _NOSE_REACH, -1, 1)))
    return yaw, pitch


def _median(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0
