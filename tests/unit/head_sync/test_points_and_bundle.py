"""Optical-flow points and bundle adjustment on rendered texture and on exact geometry."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from synctalk.face import load_canonical_face
from synctalk.head_sync.bundle import BundleConfig, adjust, median_error_px, triangulate
from synctalk.head_sync.geometry import Float, Poses, exp_so3, intrinsics, jitter, log_so3, project
from synctalk.head_sync.motion import FRONTAL
from synctalk.head_sync.points import PointGroup, PointsConfig, PointTracker
from synctalk.head_sync.surface import head_surface

K = intrinsics(1200.0, (512, 512))
CENTRE = np.array([0.0, -20.0, 900.0])
PRECISION = np.repeat([1 / np.deg2rad(0.1) ** 2, 1 / 0.3**2], 3)


def turning(n: int) -> Poses:
    phase = np.linspace(0, 2 * np.pi, n)[:, None]
    turn = np.deg2rad([3.0, 8.0, 2.0]) * np.sin(phase + np.arange(3.0))
    return Poses(FRONTAL @ exp_so3(turn), CENTRE + 4 * np.cos(phase + np.arange(1.0, 4.0)))


def exact_groups(
    poses: Poses, model: Float, starts: tuple[int, ...], length: int
) -> list[PointGroup]:
    rng = np.random.default_rng(0)
    groups = []
    for start in starts:
        some = model[rng.choice(len(model), 60, replace=False)]
        xy = project(poses.at(slice(start, start + length)).transform(some), K)
        xy += rng.normal(0, 0.15, xy.shape)
        xy[rng.random(xy.shape[:2]) < 0.1] = np.nan
        groups.append(PointGroup(start, xy, some + rng.normal(0, 1.5, some.shape), np.ones(60)))
    return groups


def no_landmarks(poses: Poses) -> tuple[Float, Float]:
    weak = np.diag([1e2] * 3 + [1e-3] * 3)
    return np.repeat(weak[None], len(poses), axis=0), np.zeros((len(poses), 6))


def rigid_points() -> Float:
    face = load_canonical_face()
    return face.vertices[face.rigid_weight >= 0.4].astype(np.float64)


def test_bundle_adjustment_recovers_poses_from_noisy_starts() -> None:
    truth = turning(50)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (50, 6)) * np.repeat([np.deg2rad(0.7), 1.0], 3)
    groups = exact_groups(truth, rigid_points(), (0, 10, 20, 30), 20)
    shots = [slice(0, 50)]
    config = BundleConfig(iterations=6)
    start = truth.moved(noise)
    result = adjust(groups, start, no_landmarks, K, shots, PRECISION, config)
    assert result.after_px < 0.25 < result.before_px
    off = log_so3(result.poses.R @ truth.R.transpose(0, 2, 1))
    was = log_so3(start.R @ truth.R.transpose(0, 2, 1))
    assert np.linalg.norm(off - off.mean(0)) < 0.25 * np.linalg.norm(was - was.mean(0))
    assert jitter(result.poses, shots)[0] < 1.5 * jitter(truth, shots)[0] + 0.02


def test_triangulation_brings_points_to_where_they_are_seen() -> None:
    truth = turning(30)
    groups = exact_groups(truth, rigid_points(), (0,), 30)
    placed = triangulate(groups, truth, K, BundleConfig())
    assert median_error_px(placed, truth, K) < 0.25 < median_error_px(groups, truth, K)


def test_a_point_that_moves_on_its_own_is_overruled() -> None:
    truth = turning(30)
    groups = exact_groups(truth, rigid_points(), (0,), 30)
    wandering, absent = groups[0].xy.copy(), groups[0].xy.copy()
    wandering[:, :10] += 6 * np.sin(np.linspace(0, 9, 30))[:, None, None]
    absent[:, :10] = np.nan
    seen = [
        project(
            adjust(
                [replace(groups[0], xy=xy)],
                truth,
                no_landmarks,
                K,
                [slice(0, 30)],
                PRECISION,
                BundleConfig(),
            ).poses.transform(rigid_points()),
            K,
        )
        for xy in (wandering, absent)
    ]
    assert np.linalg.norm(seen[0] - seen[1], axis=-1).mean() < 0.3  # ten of sixty stray by 6 px


def textured_frames(poses: Poses) -> list[np.ndarray]:
    """A plane with random texture at the head's depth, seen under small shifts."""
    rng = np.random.default_rng(5)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (512, 512)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    shift = project(poses.t[:, None], K)[:, 0] - project(poses.t[:1, None], K)[0]
    return [
        cv2.warpAffine(texture, np.float32([[1, 0, dx], [0, 1, dy]]), (512, 512)).astype(np.uint8)
        for dx, dy in shift
    ]


def test_flow_finds_points_again_and_groups_end_at_cuts() -> None:
    n = 24
    t = np.array([0.0, -20.0, 900.0]) + np.outer(np.arange(n), [0.4, 0.2, 0.0])
    truth = Poses(np.repeat(FRONTAL[None], n, axis=0), t)
    frames = textured_frames(truth)
    face = load_canonical_face()
    surface = head_surface(face.vertices.astype(np.float64), face)
    wrong = Poses(truth.R, truth.t + np.random.default_rng(6).normal(0, 0.8, (n, 3)) * [1, 1, 0])
    tracker = PointTracker(surface, wrong, K, {0, 14}, PointsConfig(interval=8))
    for i, grey in enumerate(frames):
        tracker.feed(i, grey, valid=i != 5)
    groups = tracker.finish()
    assert {g.start for g in groups} >= {0, 14}
    for group in groups:
        stop = group.frames.stop
        assert stop <= 14 or group.start >= 14
        moved = group.xy - group.xy[0]
        true = project(truth.t[group.frames, None], K) - project(truth.t[group.start, None], K)
        assert np.nanmedian(np.abs(moved - true)) < 0.1
        if group.start == 0:
            assert np.isnan(group.xy[5]).all()
            assert np.isfinite(group.xy[6]).mean() > 0.8
