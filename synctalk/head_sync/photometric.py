"""Photometric pose refinement: a tracker on the pixels of all frames.

Landmarks leave about a pixel of error, which shows as blur and silhouettes in the avatar. Here the
tracker builds its own appearance of the rigid head (points on the surface with mean intensities,
per-point reliability) and aligns every frame of the clip, held-out ones included, directly to it.
It knows nothing of the avatar that is trained later: no rendered image, no trained weight enters.

1. A few hundred key frames are kept as grey images: memory does not grow with the clip.
2. Appearance, key-frame poses and the surface's depth are refined in turn; depth and poses are
   coupled exactly by a Schur complement (photometric bundle adjustment), because depth solved
   with fixed poses creeps (the bas-relief ambiguity).
3. All frames are streamed once and aligned to the final appearance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync.alignment import (
    Appearance,
    FramePose,
    System,
    align,
    fit_exposure,
    stack_poses,
)
from synctalk.head_sync.depth import DepthSolver
from synctalk.head_sync.geometry import Float, Poses
from synctalk.head_sync.keyframes import Camera, Keyframe, PointStatistics, measure_points
from synctalk.head_sync.pyramid import Grey
from synctalk.head_sync.selection import choose_samples
from synctalk.head_sync.surface import Samples, Surface

Image = NDArray[np.uint8]
IMAGE_NOISE_VARIANCE = 9.0  # grey levels squared: coding noise and texture detail
FEWEST_KEYFRAMES = 40
FULL = ((2, 3), (1, 2), (0, 2))
SHORT = ((1, 1), (0, 2))


@dataclass(frozen=True)
class PhotometricConfig:
    """Settings of the photometric step.

    Args:
        enabled: off for the ablation: poses then come from landmarks and tracked points alone.
        keyframes: frames kept for appearance and depth, at most; of short footage a quarter.
        points: surface points aligned.
        rounds: alternations of appearance, poses and depth on the key frames.
        face_px: face width to which larger footage is halved.
        min_weight: rigidity below which a triangle is not sampled.
        workers: threads; frames are independent.
        outline: align the head's edge before the background, too; off for the ablation. Rotations
            err by 40 % less with it (docs/research/tracker.md).
    """

    enabled: bool = True
    keyframes: int = 160
    points: int = 3000
    rounds: int = 6
    face_px: float = 320.0
    min_weight: float = 0.25
    workers: int = 2
    outline: bool = True

    def count(self, n_valid: int) -> int:
        """Key frames of so many valid frames."""
        return min(self.keyframes, max(FEWEST_KEYFRAMES, n_valid // 4))


@dataclass(frozen=True)
class PhotometricModel:
    """The head as the photometric tracker knows it.

    Args:
        surface: depth-corrected surface.
        appearance: points and intensities on it.
        camera: intrinsics and scale.
        residual_before: mean robust residual at the starting poses, grey levels (key frames).
        residual_after: the same at the refined poses.
    """

    surface: Surface
    appearance: Appearance
    camera: Camera
    residual_before: float
    residual_after: float


def grey_of(frame: Image) -> Grey:
    """Luma of an RGB frame."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def keyframe_indices(valid: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Up to ``count`` valid frames, evenly spread."""
    known = np.flatnonzero(valid)
    return known[np.unique(np.linspace(0, len(known) - 1, count).round().astype(np.intp))]


def appearance_of(samples: Samples, surface: Surface, stats: PointStatistics) -> Appearance:
    """The appearance that the key frames show at their present poses."""
    rigidity = samples.interpolate(surface.weights)
    weights = rigidity / (1 + stats.variance[0] / IMAGE_NOISE_VARIANCE)
    points, normals = samples.interpolate(surface.vertices), samples.unit_normals(surface)
    return Appearance(points, normals, stats.mean, weights, samples.on_outline(surface))


def _normalise_gain(keyframes: list[Keyframe]) -> list[Keyframe]:
    mean = float(np.mean([k.pose.gain for k in keyframes]))
    return [replace(k, pose=replace(k.pose, gain=k.pose.gain / mean)) for k in keyframes]


def build_model(
    greys: Sequence[Grey],
    poses: Poses,
    surface: Surface,
    camera: Camera,
    config: PhotometricConfig,
    advance: Callable[[], None] = lambda: None,
) -> tuple[PhotometricModel, Poses]:
    """Alternate appearance, key-frame poses and depth.

    Args:
        greys: the key frames, uint8 [H, W].
        poses: their starting poses.
        surface: starting surface.
        camera: intrinsics and scale.
        config: settings.
        advance: called after each key frame of each round.

    Returns:
        The model and the key frames' refined poses.
    """
    starts = [FramePose(R, t) for R, t in zip(poses.R, poses.t, strict=True)]
    keyframes = [
        Keyframe(camera.pyramid(grey, pose, surface.vertices), pose)
        for grey, pose in zip(greys, starts, strict=True)
    ]
    rng = np.random.default_rng(0)
    samples = choose_samples(keyframes, surface, camera, config.points, config.min_weight, rng)
    depth = DepthSolver(surface, samples)
    with ThreadPoolExecutor(config.workers) as pool:
        for turn in range(config.rounds):
            stats = measure_points(keyframes, samples, surface, camera)
            appearance = appearance_of(samples, surface, stats)
            schedule = FULL if turn < 2 else SHORT

            def refine(
                frame: Keyframe,
                look: Appearance = appearance,
                plan: tuple[tuple[int, int], ...] = schedule,
            ) -> tuple[Keyframe, System]:
                pose, system = align(frame.pyramid, look, frame.pose, camera.K, plan)
                return replace(frame, pose=pose), system

            results = []
            for result in pool.map(refine, keyframes):
                results.append(result)
                advance()
            if turn >= 1:
                turned = (k.pose.R for k, _ in results)
                systems = (s for _, s in results)
                surface = depth.solve(zip(turned, systems, strict=True), stats, camera.K[0, 0])
            keyframes = _normalise_gain([k for k, _ in results])
    stats = measure_points(keyframes, samples, surface, camera)
    appearance = appearance_of(samples, surface, stats)
    before = _mean_residual(keyframes, starts, appearance, camera)
    after = _mean_residual(keyframes, [k.pose for k in keyframes], appearance, camera)
    model = PhotometricModel(surface, appearance, camera, before, after)
    return model, stack_poses([k.pose for k in keyframes])


def _mean_residual(
    keyframes: list[Keyframe], poses: list[FramePose], appearance: Appearance, camera: Camera
) -> float:
    total = 0.0
    for frame, pose in zip(keyframes, poses, strict=True):
        seen = appearance.seen_from(pose)
        total += fit_exposure(frame.pyramid, 0, seen, pose, camera.K)[1].sigma
    return total / len(keyframes)


@dataclass(frozen=True)
class AlignedClip:
    """All frames aligned to a model.

    Args:
        poses: [T]; frames that were not valid keep their starting pose.
        information: [T, 6, 6] of (w, v); zero where not valid.
        sigma: [T] robust residual, grey levels; 0 where not valid.
    """

    poses: Poses
    information: Float
    sigma: Float


def align_clip(
    frames: Iterable[Image],
    starts: Poses,
    valid: NDArray[np.bool_],
    model: PhotometricModel,
    config: PhotometricConfig,
    advance: Callable[[], None],
) -> AlignedClip:
    """Stream all frames once and align each to the model's appearance."""
    R, t = starts.R.copy(), starts.t.copy()
    information, sigma = np.zeros((len(starts), 6, 6)), np.zeros(len(starts))
    camera, vertices = model.camera, model.surface.vertices

    def one(item: tuple[int, Image]) -> None:
        i, frame = item
        start = FramePose(starts.R[i], starts.t[i])
        pyramid = camera.pyramid(grey_of(frame), start, vertices)
        pose, system = align(pyramid, model.appearance, start, camera.K, FULL)
        R[i], t[i] = pose.R, pose.t
        information[i], sigma[i] = system.pose_information(), system.sigma

    def wanted() -> Iterator[tuple[int, Image]]:
        for i, frame in enumerate(frames):
            advance()
            if valid[i]:
                yield i, frame

    queue = wanted()
    with ThreadPoolExecutor(config.workers) as pool:
        while batch := list(islice(queue, 8 * config.workers)):
            list(pool.map(one, batch))
    return AlignedClip(Poses(R, t), information, sigma)
