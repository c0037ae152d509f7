"""Head-Sync Stabilizer: a steady head pose for every frame (SyncTalk++ §III-C, METHOD rows 4-7).

Landmarks give focal length, identity and first poses (:mod:`.motion`). Points tracked by optical
flow (:mod:`.points`) steady them in a bundle adjustment (:mod:`.bundle`). The pixels of all frames
then give the final poses (:mod:`.photometric`), and a temporal prior that never reaches across a
cut takes out what noise is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import FootageError
from synctalk.face import FaceTrack, load_canonical_face
from synctalk.head_sync.bundle import BundleConfig, adjust
from synctalk.head_sync.geometry import Float, Poses, jitter, project, shot_slices
from synctalk.head_sync.keyframes import Camera
from synctalk.head_sync.landmarks import bend, landmarks_of, shape_of
from synctalk.head_sync.motion import (
    Motion,
    MotionConfig,
    chunks,
    landmark_distance,
    landmark_evidence,
    landmark_rms_px,
    refine_shape,
    rigid_alignment,
    track_motion,
)
from synctalk.head_sync.photometric import (
    AlignedClip,
    PhotometricConfig,
    align_clip,
    build_model,
    grey_of,
    keyframe_indices,
)
from synctalk.head_sync.points import PointGroup, PointsConfig, PointTracker
from synctalk.head_sync.pyramid import Grey
from synctalk.head_sync.report import HeadSyncReport, StepReport
from synctalk.head_sync.surface import FaceModel, head_surface, with_outline
from synctalk.head_sync.temporal import fill_gaps, regularised_step
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

Image = NDArray[np.uint8]
SETTLE_FRAMES = 240
FramesFactory = Callable[[], Iterable[Image]]


@dataclass(frozen=True)
class HeadSyncConfig:
    """Settings of the Head-Sync Stabilizer.

    Args:
        motion: focal length, identity, first poses.
        points: optical flow of head points.
        bundle: bundle adjustment of those points.
        photometric: appearance, depth, final poses.
        acceleration_deg: expected second difference of rotation, degrees a frame squared.
        acceleration_mm: expected second difference of translation, mm a frame squared.
        correlated_pixels: how many residuals count as one independent observation.
        reject_share: a photometric pose that moves the face further than this share of its width
            from where the landmarks see it is not believed.
    """

    motion: MotionConfig = field(default_factory=MotionConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    bundle: BundleConfig = field(default_factory=BundleConfig)
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    acceleration_deg: float = 0.1
    acceleration_mm: float = 0.3
    correlated_pixels: float = 10.0
    reject_share: float = 0.06

    @property
    def precision(self) -> Float:
        """[6] inverse variances of a second difference of (rad, mm)."""
        deviation = np.repeat([np.deg2rad(self.acceleration_deg), self.acceleration_mm], 3)
        return np.asarray(1 / deviation**2)


@dataclass(frozen=True)
class HeadTrack:
    """The head in every frame. ``X_cam = R @ X_head + t``.

    Args:
        R: [T, 3, 3] float32, head to camera.
        t: [T, 3] float32, mm.
        focal_px: focal length, px.
        K: [3, 3] float32, px; the axis meets the image's centre.
        vertices: [468, 3] float32, the subject's mean face in the head frame, mm.
        valid: [T] bool, False where the pose is interpolated because no face was found.
        report: how good it is.
    """

    R: NDArray[np.float32]
    t: NDArray[np.float32]
    focal_px: float
    K: NDArray[np.float32]
    vertices: NDArray[np.float32]
    valid: NDArray[np.bool_]
    report: HeadSyncReport


def stabilize(
    frames: FramesFactory,
    track: FaceTrack,
    *,
    cuts: Sequence[int] = (),
    size: int | tuple[int, int],
    config: HeadSyncConfig | None = None,
    face_model: FaceModel | None = None,
    progress: ProgressCallback = ignore_progress,
) -> HeadTrack:
    """Find the head's pose in every frame of a clip.

    Args:
        frames: called for each pass over the clip; yields RGB uint8 [H, W, 3] frames.
        track: the face in every frame.
        cuts: indices of frames that begin a new shot.
        size: (width, height) of the frames, px, or the side of square ones.
        config: settings.
        face_model: mean 3D face in the order of the track's mesh; the default open model if None.
        progress: receives events of the stages ``"head motion"`` (focal lengths tried),
            ``"head points"`` (frames), ``"head model"`` (key frames times rounds) and
            ``"head poses"`` (frames).

    Raises:
        FootageError: no frame has a face (``NO_FACE``), or the frames do not match the track
            (``FRAME_COUNT``).
    """
    size = (size, size) if isinstance(size, int) else size
    settings, model = config or HeadSyncConfig(), face_model or load_canonical_face()
    return _Stabilizer(frames, track, tuple(cuts), size, settings, model, progress).run()


@dataclass
class _State:
    """Poses as they improve, the weight of their evidence, and the entries of the report."""

    poses: Poses
    information: Float
    steps: list[StepReport] = field(default_factory=list)


class _Stabilizer:
    """One run; holds what the steps share."""

    def __init__(
        self,
        frames: FramesFactory,
        track: FaceTrack,
        cuts: tuple[int, ...],
        size: tuple[int, int],
        config: HeadSyncConfig,
        model: FaceModel,
        progress: ProgressCallback,
    ) -> None:
        self._frames, self._size, self._config, self._model = frames, size, config, model
        self._valid = track.found
        if not self._valid.any():
            raise FootageError(
                "No frame of the clip has a face.",
                reason="NO_FACE",
                remedy="Use footage in which one person faces the camera.",
            )
        self._landmarks = landmarks_of(track, model)
        self._shots = shot_slices(len(track), cuts)
        self._progress = progress

    def run(self) -> HeadTrack:
        """All steps."""
        seen = self._landmarks.at(np.flatnonzero(self._valid))
        tried = self._stage("motion", len(self._config.motion.focal_grid) + 1)
        motion = track_motion(seen, self._size, self._config.motion, tried.advance)
        poses = self._everywhere(motion.poses)
        state = _State(poses, self._landmark_information(poses, motion))
        vertices = bend(np.asarray(self._model.vertices, np.float64), motion.shape, self._landmarks)
        self._record(state, "motion", motion)
        index = keyframe_indices(self._valid, self._config.photometric.count(self._valid.sum()))
        greys = self._watch(state, motion, vertices, index)
        rejected: tuple[int, ...] = ()
        if self._config.photometric.enabled:
            vertices, rejected = self._photometric(state, motion, vertices, index, greys)
            self._smooth(state)
            self._record(state, "smooth", motion)
        lost = tuple(int(i) for i in np.flatnonzero(~self._valid))
        vertices, poses = self._to_head_frame(vertices, state.poses, motion)
        report = HeadSyncReport(tuple(state.steps), float(motion.K[0, 0]), lost, rejected)
        return _head_track(poses, motion.K, vertices, self._valid, report)

    def _stage(self, name: str, total: int) -> StageProgress:
        return StageProgress(self._progress, f"head {name}", total)

    def _everywhere(self, known: Poses) -> Poses:
        n = len(self._valid)
        blank = Poses(np.repeat(np.eye(3)[None], n, axis=0), np.zeros((n, 3)))
        filled = blank.with_rows(np.flatnonzero(self._valid), known)
        return fill_gaps(filled, self._valid, self._shots)

    def _landmark_information(self, poses: Poses, motion: Motion) -> Float:
        """[T, 6, 6]; neighbouring landmarks err together, so a tenth of them count."""
        return self._landmark_terms(poses, motion)[0]

    def _landmark_terms(self, poses: Poses, motion: Motion) -> tuple[Float, Float]:
        H, g = landmark_evidence(
            self._landmarks, motion.shape, poses, motion.K, self._config.motion.huber_px
        )
        scale = self._valid / (10 * max(motion.rms_px, 0.1) ** 2)
        return H * scale[:, None, None], g * scale[:, None]

    def _photometric(
        self,
        state: _State,
        motion: Motion,
        vertices: Float,
        index: NDArray[np.intp],
        greys: list[Grey],
    ) -> tuple[Float, tuple[int, ...]]:
        config = self._config.photometric
        camera = self._camera(state.poses.at(index), motion.K, vertices)
        surface = head_surface(vertices, self._model)
        if config.outline:
            surface = with_outline(surface)
        fitted = self._stage("model", config.rounds * len(index))
        model, refined = build_model(
            greys, state.poses.at(index), surface, camera, config, fitted.advance
        )
        start = state.poses.with_rows(index, refined)
        aligned = self._stage("poses", len(self._valid))
        clip = align_clip(self._frames(), start, self._valid, model, config, aligned.advance)
        wrong = self._disagrees(clip.poses, motion)
        self._accept(state, clip, wrong)
        residuals = (model.residual_before, model.residual_after)
        self._record(state, "photometric", motion, residuals)
        vertices = model.surface.vertices[: model.surface.n_face]
        return vertices, tuple(int(i) for i in np.flatnonzero(wrong))

    def _accept(self, state: _State, clip: AlignedClip, wrong: NDArray[np.bool_]) -> None:
        good = np.flatnonzero(self._valid & ~wrong)
        state.poses = state.poses.with_rows(good, clip.poses.at(good))
        information = clip.information[good] / self._config.correlated_pixels
        state.information[good] = information

    def _watch(
        self, state: _State, motion: Motion, vertices: Float, index: NDArray[np.intp]
    ) -> list[Grey]:
        """First pass over the frames: points are tracked and adjusted, key frames kept."""
        surface = head_surface(vertices, self._model)
        starts = {shot.start for shot in self._shots}
        tracker = PointTracker(surface, state.poses, motion.K, starts, self._config.points)
        wanted, greys, count = set(index.tolist()), [], 0
        watched = self._stage("points", len(self._valid))
        for i, frame in enumerate(self._frames()):
            grey = grey_of(frame)
            if self._config.points.enabled and i < len(self._valid):
                tracker.feed(i, grey, bool(self._valid[i]))
            if i in wanted:
                greys.append(grey)
            count += 1
            watched.advance()
        if count != len(self._valid):
            raise FootageError(
                f"The clip has {count} frames but its face track has {len(self._valid)}.",
                reason="FRAME_COUNT",
                remedy="Track and stabilise the same frames.",
            )
        if self._config.points.enabled:
            self._adjust(state, motion, tracker.finish())
        return greys

    def _adjust(self, state: _State, motion: Motion, groups: list[PointGroup]) -> None:
        bundle = adjust(
            groups,
            state.poses,
            lambda poses: self._landmark_terms(poses, motion),
            motion.K,
            self._shots,
            self._config.precision,
            self._config.bundle,
        )
        state.poses = bundle.poses
        self._record(state, "bundle", motion, points=(bundle.before_px, bundle.after_px))

    def _to_head_frame(self, vertices: Float, poses: Poses, motion: Motion) -> tuple[Float, Poses]:
        """Let the landmarks say where the face is under the final poses, and re-centre.

        Appearance and poses may have shifted together; nothing in the pixels tells.
        """
        before = shape_of(vertices, self._landmarks)
        shape, _ = self._settled(poses, motion.K, before)
        C, origin = rigid_alignment(shape, self._landmarks.model, self._landmarks.weights)
        R = poses.R @ C.T
        vertices = bend(vertices, shape, self._landmarks) @ C.T + origin
        return vertices, Poses(R, poses.t - (R @ origin))

    def _camera(self, poses: Poses, K: Float, vertices: Float) -> Camera:
        uv = project(poses.transform(vertices), K)
        width = float(np.median(np.ptp(uv[..., 0], axis=1)))
        octave = max(0, int(np.ceil(np.log2(width / self._config.photometric.face_px))))
        return Camera(K, self._size, octave)

    def _disagrees(self, poses: Poses, motion: Motion) -> NDArray[np.bool_]:
        limit = self._config.reject_share
        parts = [
            landmark_distance(self._landmarks.at(rows), motion.shape, poses.at(rows), motion.K)
            for rows in chunks(len(poses))
        ]
        away = np.concatenate(parts)
        return np.asarray((~np.isfinite(away) | (away > limit)) & self._valid)

    def _smooth(self, state: _State) -> None:
        zero = np.zeros((len(state.poses), 6))
        step = regularised_step(
            state.poses, state.information, zero, self._shots, self._config.precision
        )
        state.poses = state.poses.moved(step)

    def _settled(self, poses: Poses, K: Float, shape: Float) -> tuple[Float, float]:
        """The landmarks' mean shape under ``poses``, near ``shape``, and their rms from it, px."""
        rows = keyframe_indices(self._valid, SETTLE_FRAMES)
        seen = replace(self._landmarks.at(rows), model=shape)
        part = poses.at(rows)
        settled = refine_shape(seen, shape, part, K, self._config.motion)
        return settled, landmark_rms_px(seen, settled, part, K)

    def _record(
        self,
        state: _State,
        name: str,
        motion: Motion,
        photometric: tuple[float, float] | None = None,
        points: tuple[float, float] | None = None,
    ) -> None:
        landmark_px = self._settled(state.poses, motion.K, motion.shape)[1]
        jitter_deg, jitter_mm = jitter(state.poses, self._shots)
        state.steps.append(
            StepReport(name, landmark_px, points, photometric, jitter_deg, jitter_mm)
        )


def _head_track(
    poses: Poses, K: Float, vertices: Float, valid: NDArray[np.bool_], report: HeadSyncReport
) -> HeadTrack:
    return HeadTrack(
        R=poses.R.astype(np.float32),
        t=poses.t.astype(np.float32),
        focal_px=float(K[0, 0]),
        K=K.astype(np.float32),
        vertices=vertices.astype(np.float32),
        valid=valid,
        report=report,
    )
