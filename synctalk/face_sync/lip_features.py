"""Driving features of a subject: what lips, eyes, brows and head do, as few standardised numbers.

Tracked 478-point meshes (MediaPipe's topology) are moved into the head frame and reduced by PCA:
lips and chin, eyes and brows, irises, and the head pose itself (METHOD, "What a spike on CPU
training learnt": 24 mouth + 12 eye and brow + 3 iris + 6 pose coefficients drove the best model;
blendshapes cost 1.5 dB in the mouth). Each coefficient is divided by its standard deviation over
the training frames and clipped to +-4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from synctalk.errors import InputError
from synctalk.face import topology

OUTER_LIP = topology.LIPS_OUTER
INNER_LIP = topology.LIPS_INNER
CHIN = (18, 200, 199, 175, 152, 148, 377)
LIP_POINTS = OUTER_LIP + INNER_LIP + CHIN
EYE_POINTS = topology.RIGHT_EYE + topology.LEFT_EYE + topology.RIGHT_BROW + topology.LEFT_BROW
IRIS_POINTS = (topology.RIGHT_IRIS[0], topology.LEFT_IRIS[0])  # the centres
GAP_PAIRS = ((13, 14), (82, 87), (312, 317))  # upper and lower inner lip, at and beside the middle

_CLIP = 4.0
_LEAST_FRAMES = 25


@dataclass(frozen=True)
class LipOpening:
    """Mouth opening as a linear function of lip coefficients: mm = coefs @ weights + bias."""

    weights: Tensor  # [K]
    bias: float

    def __call__(self, coefs: Tensor) -> Tensor:
        """Gap between the inner lips in mm, [T], of coefficients [T, K]."""
        return coefs @ self.weights.to(coefs) + self.bias


@dataclass(frozen=True)
class LinearSpace:
    """A PCA basis with standardised coefficients.

    Args:
        mean: [F] mean of the observations.
        components: [K, F] orthonormal rows.
        scale: [K] standard deviation of each coefficient over the training frames.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, observations: Tensor, rank: int) -> LinearSpace:
        """PCA of observations [T, F]; at most ``rank`` components with any variance."""
        mean = observations.mean(0)
        centred = (observations - mean).double()
        _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
        scale = singular / max(1, len(observations) - 1) ** 0.5
        kept = int((scale[:rank] > 1e-3 * scale[0].clamp_min(1e-9)).sum())
        return cls(mean, rows[:kept].to(mean), scale[:kept].to(mean))

    def encode(self, observations: Tensor) -> Tensor:
        """Standardised coefficients in [-4, 4], [T, K], of observations [T, F]."""
        coefs = (observations - self.mean) @ self.components.T / self.scale
        return coefs.clamp(-_CLIP, _CLIP)

    def decode(self, coefs: Tensor) -> Tensor:
        """Observations [T, F] that coefficients [T, K] stand for."""
        return coefs * self.scale @ self.components + self.mean


@dataclass(frozen=True)
class DrivingSpace:
    """A subject's coefficient spaces; ``fit_driving_space`` makes it.

    Args:
        lips: lips and chin, over x and y offsets in the head frame (mm).
        expressions: eyes and brows, likewise.
        irises: iris centres, likewise.
        poses: rotation vector from the mean pose (rad) and translation (mm).
        vertices: [478, 3] rigid rest position of each mesh point in the head frame, mm.
        rotation: [3, 3] mean head rotation.
    """

    lips: LinearSpace
    expressions: LinearSpace
    irises: LinearSpace
    poses: LinearSpace
    vertices: Tensor
    rotation: Tensor

    def lip(self, mesh: Tensor, R: Tensor, t: Tensor, K: Tensor) -> Tensor:
        """Lip coefficients [T, Kl] of tracked meshes; see :func:`head_frame_offsets`."""
        return self.lips.encode(head_frame_offsets(mesh, R, t, K, self.vertices, LIP_POINTS))

    def expression(self, mesh: Tensor, R: Tensor, t: Tensor, K: Tensor) -> Tensor:
        """Eye, brow and iris coefficients [T, Ke] of tracked meshes."""
        eyes = head_frame_offsets(mesh, R, t, K, self.vertices, EYE_POINTS)
        irises = head_frame_offsets(mesh, R, t, K, self.vertices, IRIS_POINTS)
        return torch.cat([self.expressions.encode(eyes), self.irises.encode(irises)], dim=1)

    def blinking_alone(
        self, mesh: Tensor, R: Tensor, t: Tensor, K: Tensor, blink: Tensor
    ) -> DrivingSpace:
        """This space with the lids' closing as its one expression, for the paper's ablation.

        Args:
            mesh, R, t, K: of the training frames.
            blink: [T] how far the lids are closed in them.
        """
        eyes = head_frame_offsets(mesh, R, t, K, self.vertices, EYE_POINTS)
        centred = (blink - blink.mean()).to(eyes)
        way = centred @ (eyes - self.expressions.mean)
        way = way / way.norm().clamp_min(1e-9)
        spread = ((eyes - self.expressions.mean) @ way).std().clamp_min(1e-6)
        lids = LinearSpace(self.expressions.mean, way[None], spread[None])
        still = torch.zeros_like(self.irises.components[:1])
        irises = LinearSpace(self.irises.mean, still, torch.ones(1))
        return replace(self, expressions=lids, irises=irises)

    def pose(self, R: Tensor, t: Tensor) -> Tensor:
        """Pose coefficients [T, 6] (lighting and shading change with the pose)."""
        return self.poses.encode(_pose_vectors(R, t, self.rotation))

    @cached_property
    def opening(self) -> LipOpening:
        """Mouth opening as a function of the lip coefficients."""
        gap = torch.zeros_like(self.lips.mean)
        base = 0.0
        for upper, lower in GAP_PAIRS:
            gap[2 * LIP_POINTS.index(upper) + 1] += 1.0 / len(GAP_PAIRS)
            gap[2 * LIP_POINTS.index(lower) + 1] -= 1.0 / len(GAP_PAIRS)
            base += float(self.vertices[upper, 1] - self.vertices[lower, 1]) / len(GAP_PAIRS)
        weights = (self.lips.components @ gap) * self.lips.scale
        return LipOpening(weights, base + float(self.lips.mean @ gap))

    def mouth_opening(self, coefs: Tensor) -> Tensor:
        """Gap between the inner lips in mm, [T], of lip coefficients [T, Kl]."""
        return self.opening(coefs)

    def state(self) -> dict[str, Tensor]:
        """Plain tensors, for safetensors."""
        spaces = {
            f"{name}.{part}": getattr(getattr(self, name), part)
            for name in _SPACES
            for part in _PARTS
        }
        tensors = {**spaces, "vertices": self.vertices, "rotation": self.rotation}
        return {name: tensor.contiguous() for name, tensor in tensors.items()}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> DrivingSpace:
        """The inverse of :meth:`state`."""

        def space(name: str) -> LinearSpace:
            return LinearSpace(*(state[f"{name}.{part}"] for part in _PARTS))

        lips, expressions, irises, poses = (space(name) for name in _SPACES)
        return cls(lips, expressions, irises, poses, state["vertices"], state["rotation"])


_SPACES = ("lips", "expressions", "irises", "poses")
_PARTS = ("mean", "components", "scale")


def head_frame_offsets(
    mesh: Tensor, R: Tensor, t: Tensor, K: Tensor, vertices: Tensor, points: tuple[int, ...]
) -> Tensor:
    """Where tracked points lie beside their rigid place, with the head pose taken out.

    Each 2D point is seen along a ray; the ray is followed to the head-frame depth of the point's
    rigid vertex. Frames are independent: nothing is filtered, so cuts need no care.

    Args:
        mesh: [T, 478, 2 or 3] tracked points, pixels (the first pixel's centre is (0.5, 0.5)).
        R: [T, 3, 3] head rotations, X_cam = R @ X_head + t.
        t: [T, 3] head translations, mm.
        K: [3, 3] intrinsics for the same pixels.
        vertices: [478, 3] rigid mesh in the head frame, mm.
        points: mesh indices wanted.

    Returns:
        [T, 2 * len(points)] x, y offsets in the head frame, mm.
    """
    index = torch.as_tensor(points, device=mesh.device)
    pixels = mesh[:, index, :2]
    rigid = vertices[index]
    rays = torch.linalg.solve(K, _homogeneous(pixels).transpose(1, 2)).transpose(1, 2)
    directions = rays @ R  # rows of R^T ray
    origins = -(t[:, None] @ R)
    depth = (rigid[:, 2] - origins[..., 2]) / directions[..., 2]
    placed = origins + depth[..., None] * directions
    offsets: Tensor = (placed - rigid)[..., :2].flatten(1)
    return offsets


def fit_driving_space(
    mesh: Tensor,
    R: Tensor,
    t: Tensor,
    K: Tensor,
    vertices: Tensor,
    train_mask: Tensor,
    *,
    n_lip: int = 24,
    n_expression: int = 12,
    n_iris: int = 3,
) -> DrivingSpace:
    """Learn a subject's driving features from the training frames.

    Args:
        mesh: [T, 478, 2 or 3] tracked points in pixels.
        R: [T, 3, 3] head rotations.
        t: [T, 3] head translations, mm.
        K: [3, 3] intrinsics.
        vertices: [468, 3] the subject's rigid mesh in the head frame, mm.
        train_mask: [T] bool, frames to learn from (tracked, not held out).
        n_lip: lip coefficients.
        n_expression: eye and brow coefficients.
        n_iris: iris coefficients.

    Raises:
        InputError: fewer than 25 training frames, or shapes that do not fit.
    """
    _check_tracks(mesh, vertices, train_mask)
    mesh, R, t, K, vertices = (x.float() for x in (mesh, R, t, K, vertices))
    full = torch.cat([vertices, _iris_vertices(vertices)])
    chosen = train_mask.bool()
    seen = (mesh[chosen], R[chosen], t[chosen], K, full)
    rotation = _mean_rotation(R[chosen])
    return DrivingSpace(
        lips=LinearSpace.fit(head_frame_offsets(*seen, LIP_POINTS), n_lip),
        expressions=LinearSpace.fit(head_frame_offsets(*seen, EYE_POINTS), n_expression),
        irises=LinearSpace.fit(head_frame_offsets(*seen, IRIS_POINTS), n_iris),
        poses=LinearSpace.fit(_pose_vectors(R[chosen], t[chosen], rotation), 6),
        vertices=full,
        rotation=rotation,
    )


def _check_tracks(mesh: Tensor, vertices: Tensor, train_mask: Tensor) -> None:
    frames = len(mesh)
    if mesh.shape[1] != 478 or vertices.shape != (468, 3) or train_mask.shape != (frames,):
        raise InputError(
            "Driving features need mesh [T, 478, 2|3], vertices [468, 3] and train_mask [T]; got "
            f"{tuple(mesh.shape)}, {tuple(vertices.shape)} and {tuple(train_mask.shape)}.",
            reason="BAD_TRACKS",
        )
    if int(train_mask.sum()) < _LEAST_FRAMES:
        raise InputError(
            f"Driving features need at least one second of tracked frames, got "
            f"{int(train_mask.sum())} frames.",
            reason="TOO_FEW_TRACKED_FRAMES",
            remedy="Use footage in which the face is found in more frames.",
        )


def _homogeneous(pixels: Tensor) -> Tensor:
    return torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)


def _iris_vertices(vertices: Tensor) -> Tensor:
    """[10, 3] a rest place for the iris points: the middle of their eye's contour."""
    right = vertices[list(topology.RIGHT_EYE)].mean(0, keepdim=True)
    left = vertices[list(topology.LEFT_EYE)].mean(0, keepdim=True)
    return torch.cat([right.expand(5, 3), left.expand(5, 3)])


def _mean_rotation(R: Tensor) -> Tensor:
    """[3, 3] the rotation nearest to the mean of R [T, 3, 3]."""
    u, _, vt = torch.linalg.svd(R.mean(0))
    flip = torch.ones(3, dtype=R.dtype)
    flip[2] = torch.sign(torch.linalg.det(u @ vt))
    nearest: Tensor = u @ torch.diag(flip) @ vt
    return nearest


def _pose_vectors(R: Tensor, t: Tensor, rotation: Tensor) -> Tensor:
    """[T, 6] rotation vectors from the mean pose (rad, times 100 to weigh like mm) and t (mm)."""
    relative = rotation.T @ R
    skew = (relative - relative.transpose(1, 2)) / 2
    axis = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=1)
    sine = axis.norm(dim=1, keepdim=True)
    cosine = (relative.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) - 1) / 2
    angle = torch.atan2(sine, cosine)
    return torch.cat([100.0 * axis * angle / sine.clamp_min(1e-8), t], dim=1)
