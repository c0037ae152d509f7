"""Head pose and time: pose error, pose jitter, flicker."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from synctalk.face.canonical import load_canonical_face
from synctalk.face.tracking import FaceTrack
from synctalk.head_sync.geometry import Poses, intrinsics, jitter, log_so3
from synctalk.head_sync.landmarks import landmarks_of
from synctalk.head_sync.motion import MotionConfig, initial_poses, refine_poses

Image = NDArray[np.uint8]
Series = NDArray[np.float64]


@dataclass(frozen=True)
class HeadPoses:
    """Poses of the frames that have a face.

    Args:
        rows: [F] those frames.
        poses: F poses.
    """

    rows: NDArray[np.intp]
    poses: Poses


def head_poses(track: FaceTrack) -> HeadPoses:
    """The head's pose in every frame by itself: the mean face, the usual lens, no smoothing."""
    rows = np.flatnonzero(track.found)
    face, config = load_canonical_face(), MotionConfig()
    K = intrinsics(config.focal_prior * min(track.size), track.size)
    landmarks = landmarks_of(track, face).at(rows)
    if not len(rows):
        return HeadPoses(rows, Poses(np.zeros((0, 3, 3)), np.zeros((0, 3))))
    poses = initial_poses(landmarks, landmarks.model, K)
    return HeadPoses(rows, refine_poses(landmarks, landmarks.model, poses, K, config.huber_px))


def pose_errors(head: HeadPoses, reference: HeadPoses, n_frames: int) -> Series:
    """[T] angle between the head's rotations in degrees; NaN where either has no face."""
    out = np.full(n_frames, np.nan)
    rows, a, b = np.intersect1d(head.rows, reference.rows, return_indices=True)
    if len(rows):
        relative = head.poses.R[a] @ reference.poses.R[b].transpose(0, 2, 1)
        out[rows] = np.rad2deg(np.linalg.norm(log_so3(relative), axis=1))
    return out


def pose_jitter(head: HeadPoses, cuts: tuple[int, ...]) -> float:
    """Mean length of the rotation's second difference, degrees a frame squared; NaN for none.

    No difference is taken across a cut or a frame without a face.
    """
    starts = np.diff(head.rows) != 1
    starts |= np.isin(head.rows[1:], cuts)
    edges = [0, *(np.flatnonzero(starts) + 1).tolist(), len(head.rows)]
    shots = [slice(a, b) for a, b in pairwise(edges) if b - a >= 3]
    return jitter(head.poses, shots)[0] if shots else float("nan")


def flicker(frame: Image, before: Image, reference: Image, reference_before: Image) -> float:
    """Mean absolute difference, in grey levels, of the two videos' changes from frame to frame.

    0 where the rendered frame changes exactly as the source does, whatever its constant error.
    """
    change = frame.astype(np.int16) - before
    wanted = reference.astype(np.int16) - reference_before
    return float(np.abs(change - wanted).mean(dtype=np.float64))
