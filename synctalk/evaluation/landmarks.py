"""Metrics on landmarks, head pose and blendshapes, and the image regions they define."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from synctalk.errors import InputError

FloatArray = NDArray[np.floating]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MOUTH = slice(48, 68)
"""iBUG points of the outer (48-59) and inner (60-67) lip contours."""
OUTER_LIPS = slice(48, 60)
UPPER_INNER_LIP, LOWER_INNER_LIP = 62, 66
LMD_SIDE_PX = 512
MOUTH_MARGIN = 0.25
HEAD_ALPHA = 127
NEUTRAL = np.diag([1.0, -1.0, -1.0])
"""Rotation of a frontal head: its y is up and z towards the camera, the camera's the reverse."""


def head_mask(matte: Image) -> Mask:
    """The head with its hair: where the soft alpha [H,W] exceeds 127 of 255."""
    return np.asarray(matte > HEAD_ALPHA)


def mouth_mask(landmarks68: FloatArray, height: int, width: int) -> Mask:
    """The upright box around the outer lips, widened by a quarter of their width on every side.

    Args:
        landmarks68: [68,2] iBUG points, px (first pixel's centre at 0.5).
        height, width: of the image, px.

    Returns:
        bool [height,width]: pixels whose centre lies in the box; empty where no face was found
        (points at zero).
    """
    lips = landmarks68[OUTER_LIPS]
    low, high = lips.min(0), lips.max(0)
    margin = MOUTH_MARGIN * (high[0] - low[0])
    inside = [
        (centre >= low[axis] - margin) & (centre <= high[axis] + margin)
        for axis, centre in enumerate((np.arange(width) + 0.5, np.arange(height) + 0.5))
    ]
    return np.asarray(inside[1][:, None] & inside[0][None, :])


def landmark_distance(landmarks68: FloatArray, reference68: FloatArray, side: int) -> FloatArray:
    """LMD of every frame: mean distance of the 20 mouth points, each frame's centroid removed.

    The centroid of the mouth is taken out of both (as is usual since Chen et al. 2018, "Lip
    movements generation at a glance"), so that it measures the lips' shape and not the head's pose.

    Args:
        landmarks68, reference68: [T,68,2] px of the same frames, from one tracker.
        side: side of the square frames, px.

    Returns:
        [T] px at 512x512.
    """
    mouth, wanted = landmarks68[:, MOUTH], reference68[:, MOUTH]
    difference = (mouth - mouth.mean(1, keepdims=True)) - (wanted - wanted.mean(1, keepdims=True))
    return np.asarray(np.linalg.norm(difference, axis=2).mean(1) * (LMD_SIDE_PX / side))


def lip_gap(landmarks68: FloatArray, side: int) -> FloatArray:
    """[T] distance between the inner lips' middles (points 62 and 66), px at 512x512."""
    gap = landmarks68[:, LOWER_INNER_LIP] - landmarks68[:, UPPER_INNER_LIP]
    return np.asarray(np.linalg.norm(gap, axis=1) * (LMD_SIDE_PX / side))


def yaw_pitch_roll(R: FloatArray) -> FloatArray:
    """[T,3] degrees of head rotations [T,3,3]: zero when frontal.

    ``R = diag(1,-1,-1) @ Ry(yaw) @ Rx(pitch) @ Rz(roll)``: yaw > 0 turns to the subject's left,
    pitch > 0 looks down, roll > 0 tilts towards the subject's right shoulder.
    """
    return np.asarray(Rotation.from_matrix(NEUTRAL @ R).as_euler("YXZ", degrees=True))


def rotation_errors(R: FloatArray, truth: FloatArray) -> FloatArray:
    """Angle between two tracks of rotations after one global alignment.

    The head frame of a tracker and that of the truth differ by a constant rotation; the one that
    fits best (orthogonal Procrustes over all frames) is applied to the head's side first.

    Args:
        R, truth: [T,3,3].

    Returns:
        [T] degrees; ``rms`` of it is the rotation RMSE.
    """
    u, _, vt = np.linalg.svd(np.einsum("tji,tjk->ik", R, truth, dtype=np.float64))
    alignment = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    relative = np.swapaxes(truth, 1, 2) @ (R @ alignment)
    return np.asarray(np.degrees(Rotation.from_matrix(relative).magnitude()))


def rms(values: FloatArray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def correlations(estimate: FloatArray, truth: FloatArray) -> FloatArray:
    """Pearson correlation over time of every column (blendshape), NaN where one is constant.

    Args:
        estimate, truth: [T,K].

    Returns:
        [K] in [-1,1].

    Raises:
        InputError: different shapes.
    """
    if estimate.shape != truth.shape:
        raise InputError(
            f"Cannot correlate {list(estimate.shape)} with {list(truth.shape)}.",
            reason="ARRAY_SHAPE",
        )
    a = estimate - estimate.mean(0, dtype=np.float64)
    b = truth - truth.mean(0, dtype=np.float64)
    norm = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    covariance = (a * b).sum(0)
    result = np.full(norm.shape, np.nan)
    np.divide(covariance, norm, out=result, where=norm > 1e-12)
    return result
