"""Rigid motion and pinhole projection for whole clips at once (float64).

Cameras are OpenCV's: x right, y down, z forward, millimetres; image points are continuous pixels
(the first pixel's centre is (0.5, 0.5)). ``X_cam = R @ X_head + t``. Small motions are left
perturbations that turn about the head's origin: ``R <- exp(w) R``, ``t <- t + v``, packed as
``(w, v)`` in radians and millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def skew(v: Float) -> Float:
    """Cross-product matrices [..., 3, 3] of vectors [..., 3]."""
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def exp_so3(w: Float) -> Float:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians (Rodrigues)."""
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    K = skew(w)
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.asarray(np.eye(3) + a * K + b * (K @ K))


def log_so3(R: Float) -> Float:
    """Rotation vectors [..., 3] in radians of rotation matrices; angles below pi."""
    v = np.stack(
        [R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1
    )
    sin = 0.5 * np.linalg.norm(v, axis=-1)
    cos = 0.5 * (np.trace(R, axis1=-2, axis2=-1) - 1)
    angle = np.arctan2(sin, cos)
    scale = np.where(sin > 1e-9, 0.5 * angle / np.maximum(sin, 1e-12), 0.5)
    return np.asarray(v * scale[..., None])


def nearest_rotation(M: Float) -> Float:
    """The rotations [..., 3, 3] nearest to matrices [..., 3, 3] (Procrustes)."""
    U, _, Vt = np.linalg.svd(M)
    Vt[..., 2, :] *= np.sign(np.linalg.det(U @ Vt))[..., None]
    return np.asarray(U @ Vt)


@dataclass(frozen=True)
class Poses:
    """One rigid head pose a frame.

    Args:
        R: [T, 3, 3] float64, head to camera.
        t: [T, 3] float64, mm.
    """

    R: Float
    t: Float

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.R)

    def at(self, index: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Poses:
        """The poses of some frames."""
        return Poses(self.R[index], self.t[index])

    def moved(self, step: Float) -> Poses:
        """Poses after small motions ``step`` [T, 6] (w rad, v mm)."""
        return Poses(exp_so3(step[:, :3]) @ self.R, self.t + step[:, 3:])

    def with_rows(self, rows: NDArray[np.intp], other: Poses) -> Poses:
        """A copy in which the frames ``rows`` come from ``other``."""
        R, t = self.R.copy(), self.t.copy()
        R[rows], t[rows] = other.R, other.t
        return replace(self, R=R, t=t)

    def transform(self, points: Float) -> Float:
        """Head points [P, 3] or [T, P, 3] in camera coordinates, [T, P, 3] mm."""
        return np.asarray(points @ self.R.transpose(0, 2, 1) + self.t[:, None])


def intrinsics(focal_px: float, size: tuple[int, int]) -> Float:
    """K [3, 3] of a pinhole whose axis meets the image's centre; ``size`` is (width, height)."""
    width, height = size
    return np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])


def project(X: Float, K: Float) -> Float:
    """Continuous pixels [..., 2] of camera points [..., 3]."""
    uv = np.empty((*X.shape[:-1], 2))
    for k in range(2):  # whole columns: NumPy is slow along an axis of two
        uv[..., k] = X[..., k] / X[..., 2] * K[0, 0] + K[k, 2]
    return uv


def projection_jacobian(X: Float, focal_px: float) -> Float:
    """d pixel / d camera point, [..., 2, 3], of camera points [..., 3]."""
    J = np.zeros((*X.shape[:-1], 2, 3))
    f_z = focal_px / X[..., 2]
    J[..., 0, 0] = J[..., 1, 1] = f_z
    J[..., 0, 2] = -f_z * X[..., 0] / X[..., 2]
    J[..., 1, 2] = -f_z * X[..., 1] / X[..., 2]
    return J


def pose_jacobian(X: Float, t: Float, focal_px: float) -> Float:
    """d pixel / d (w, v), [T, P, 2, 6], of camera points X [T, P, 3] of heads at t [T, 3].

    In memory the six columns come first, then x and y: each is written and read as a whole.
    """
    x, y, z = np.moveaxis(X, -1, 0)
    rx, ry, rz = np.moveaxis(X - t[:, None], -1, 0)
    J = np.zeros((len(X), 6, 2, X.shape[1]))
    f_z = np.divide(focal_px, z, out=J[:, 3, 0])
    J[:, 4, 1] = f_z
    du = np.divide(-f_z * x, z, out=J[:, 5, 0])
    dv = np.divide(-f_z * y, z, out=J[:, 5, 1])
    # d(exp(w) r)/dw = -[r]x, and a row of the columns 3-5 times -[r]x is r x row
    J[:, 0, 0], J[:, 1, 0], J[:, 2, 0] = ry * du, rz * f_z - rx * du, -ry * f_z
    J[:, 0, 1], J[:, 1, 1], J[:, 2, 1] = ry * dv - rz * f_z, -rx * dv, rx * f_z
    return J.transpose(0, 3, 2, 1)


def shot_slices(n_frames: int, cuts: tuple[int, ...]) -> list[slice]:
    """The shots of a clip; ``cuts`` are the indices of frames that begin a new shot."""
    edges = [0, *sorted(c for c in set(cuts) if 0 < c < n_frames), n_frames]
    return [slice(a, b) for a, b in pairwise(edges)]


def jitter(poses: Poses, shots: list[slice]) -> tuple[float, float]:
    """Mean |second difference| within shots: of rotation in degrees, of translation in mm."""
    rotation, translation = [], []
    for shot in shots:
        part = poses.at(shot)
        if len(part) < 3:
            continue
        velocity = log_so3(part.R[1:] @ part.R[:-1].transpose(0, 2, 1))
        rotation.append(np.linalg.norm(np.diff(velocity, axis=0), axis=1))
        translation.append(np.linalg.norm(np.diff(part.t, 2, axis=0), axis=1))
    if not rotation:
        return 0.0, 0.0
    return (
        float(np.rad2deg(np.concatenate(rotation).mean())),
        float(np.concatenate(translation).mean()),
    )
