"""Stable Head Points Tracker: optical flow of trackable points on the head (SyncTalk++ §III-C).

Well-textured corners on the rigid part of the head are chosen in a reference frame and looked for
in the following frames by pyramidal Lucas-Kanade flow, always straight from the reference patch,
so that nothing drifts; the present head poses say where to start looking. A forward-backward check
drops what was not found again. New references start regularly and at every cut; a group of points
lives for two reference intervals, so that neighbouring groups overlap, and never past a cut.

The paper keeps the points "with the most significant flow changes"; those are unstable. What is
kept here are points that move with the head: the weight of a point is the rigidity of the region
that it lies on (brows, eyes, mouth and jaw low), and the bundle adjustment lowers it by measured
residual. All groups lie on one shared surface, which is what links them across cuts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.head_sync.geometry import Float, Poses, project
from synctalk.head_sync.pyramid import Grey
from synctalk.head_sync.surface import Surface, vertex_normals

Points32 = NDArray[np.float32]


@dataclass(frozen=True)
class PointsConfig:
    """Settings of the point tracker.

    Args:
        enabled: off for the ablation: no flow, no bundle adjustment.
        interval: frames between reference frames.
        count: corners chosen in a reference frame.
        quality: weakest corner kept, relative to the strongest.
        spacing_share: least distance between corners, in face widths.
        round_trip_px: largest forward-backward error at a face width of 200 px.
        min_weight: least rigidity of the surface under a corner.
    """

    enabled: bool = True
    interval: int = 30
    count: int = 110
    quality: float = 0.01
    spacing_share: float = 0.035
    round_trip_px: float = 0.6
    min_weight: float = 0.25


@dataclass(frozen=True)
class PointGroup:
    """Points chosen in one reference frame and where they were seen.

    Args:
        start: index of the reference frame.
        xy: [n, M, 2] continuous px in frames start, start + 1, …; NaN where not found.
        model: [M, 3] mm, where the reference's pose and the surface put them, head frame.
        weights: [M] rigidity of the surface there.
    """

    start: int
    xy: Float
    model: Float
    weights: Float

    @property
    def frames(self) -> slice:
        """The frames that the group covers."""
        return slice(self.start, self.start + len(self.xy))


@dataclass
class _Living:
    start: int
    grey: Grey
    model: Float
    weights: Float
    xy: list[Float] = field(default_factory=list)


class PointTracker:
    """Fed with every frame in order; ``finish`` returns the groups.

    Args:
        surface: the head.
        poses: present poses of all frames.
        K: [3, 3] intrinsics.
        starts: first frames of the shots.
        config: settings.
    """

    def __init__(
        self, surface: Surface, poses: Poses, K: Float, starts: set[int], config: PointsConfig
    ) -> None:
        self._surface, self._poses, self._K = surface, poses, K
        self._starts, self._config = starts, config
        self._normals = vertex_normals(surface.vertices, surface.triangles)
        self._living: list[_Living] = []
        self._done: list[PointGroup] = []
        self._since = 0

    def feed(self, index: int, grey: Grey, valid: bool) -> None:
        """Look for all living points in frame ``index``; begin a new group when due."""
        if index in self._starts:
            self._retire(0)
        for group in self._living:
            group.xy.append(self._find(group, index, grey) if valid else _nothing(group))
        self._since += 1
        if valid and (not self._living or self._since >= self._config.interval):
            self._begin(index, grey)

    def finish(self) -> list[PointGroup]:
        """All groups that were seen in more than one frame."""
        self._retire(0)
        return self._done

    def _retire(self, keep: int) -> None:
        ended = self._living[: len(self._living) - keep]
        self._living = self._living[len(self._living) - keep :]
        self._done += [
            PointGroup(g.start, np.stack(g.xy), g.model, g.weights) for g in ended if len(g.xy) > 1
        ]

    def _begin(self, index: int, grey: Grey) -> None:
        self._retire(min(1, len(self._living)))
        self._since = 0
        depth, weight = self._depth_and_weight(index, grey.shape[:2])
        usable = np.asarray(weight >= self._config.min_weight, np.uint8)
        spacing = self._config.spacing_share * self._face_width(index)
        corners = cv2.goodFeaturesToTrack(
            grey, self._config.count, self._config.quality, max(spacing, 2.0), mask=usable
        )
        if corners is None:
            return
        xy = corners[:, 0].astype(np.float64)
        row, column = xy.round().astype(int).T[::-1]
        ray = np.concatenate(
            [(xy + 0.5 - self._K[:2, 2]) / self._K[0, 0], np.ones((len(xy), 1))], 1
        )
        camera = ray * depth[row, column][:, None]
        model = (camera - self._poses.t[index]) @ self._poses.R[index]
        group = _Living(index, grey, model, weight[row, column].astype(np.float64))
        group.xy.append(xy + 0.5)
        self._living.append(group)

    def _face_width(self, index: int) -> float:
        face = self._surface.vertices[: self._surface.n_face]
        at = self._poses.at(slice(index, index + 1))
        return float(np.ptp(project(at.transform(face), self._K)[0, :, 0]))

    def _depth_and_weight(self, index: int, shape: tuple[int, ...]) -> tuple[Float, Float]:
        """Depth (mm) and rigidity of the surface under each pixel, painted far to near."""
        X = self._poses.at(slice(index, index + 1)).transform(self._surface.vertices)[0]
        uv = project(X, self._K) - 0.5
        corners = X[self._surface.triangles]
        towards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        facing = np.flatnonzero((towards * corners.mean(1)).sum(1) < 0)
        far = corners[facing, :, 2].mean(1)
        weight = self._surface.weights[self._surface.triangles[facing]].min(1)
        depths, weights = np.zeros(shape), np.zeros(shape)
        order = np.argsort(-far)
        outlines = (uv[self._surface.triangles[facing]] * 16).round().astype(np.int32)
        for k in order:
            cv2.fillConvexPoly(depths, outlines[k], float(far[k]), shift=4)
            cv2.fillConvexPoly(weights, outlines[k], float(weight[k]), shift=4)
        return depths, weights

    def _find(self, group: _Living, index: int, grey: Grey) -> Float:
        X = self._poses.at(slice(index, index + 1)).transform(group.model)
        reference = (group.xy[0] - 0.5).astype(np.float32)
        guess = (project(X, self._K)[0] - 0.5).astype(np.float32)
        use_guess = cv2.OPTFLOW_USE_INITIAL_FLOW
        there, ok = _flow(group.grey, grey, reference, guess, use_guess)
        back, ok_back = _flow(grey, group.grey, there, there.copy(), 0)
        error = np.linalg.norm(back - reference, axis=1)
        limit = self._config.round_trip_px * max(self._face_width(index) / 200, 0.5)
        lost = ~ok | ~ok_back | (error > limit)
        found: Float = there.astype(np.float64) + 0.5
        found[lost] = np.nan
        return found


def _flow(
    source: Grey, target: Grey, at: Points32, guess: Points32, flags: int
) -> tuple[Points32, NDArray[np.bool_]]:
    """Pyramidal Lucas-Kanade: positions [M, 2] in ``target`` and whether they were found."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 0.02)
    there, ok, _ = cv2.calcOpticalFlowPyrLK(
        source, target, at, guess, winSize=(15, 15), maxLevel=2, criteria=stop, flags=flags
    )
    return np.asarray(there), np.asarray(ok[:, 0] == 1)


def _nothing(group: _Living) -> Float:
    return np.full_like(group.xy[0], np.nan)
