"""The paper's reconstruction protocol (section IV-A): own audio, last 1/11 of the frames.

Head pose, eyes and brows come from the tracked source; the lips once from tracked landmarks (an
oracle: what the renderer can do) and once from the audio (what the product does). Each rendered
frame is compared with its source frame on the whole crop, first as rendered over its plate, then
with the face blended into the source. Frames are streamed: memory does not grow with the clip.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from synctalk.bundle import BundleManifest
from synctalk.dataset import SAMPLE_RATE_HZ, SubjectDataset, Tracks
from synctalk.errors import BundleError
from synctalk.evaluation.heard import heard_in
from synctalk.evaluation.landmarks import (
    head_mask,
    landmark_distance,
    lip_gap,
    mouth_mask,
    yaw_pitch_roll,
)
from synctalk.evaluation.machine import describe_machine
from synctalk.evaluation.result import (
    Drive,
    EvaluationResult,
    Image,
    Series,
    Timings,
)
from synctalk.evaluation.scoring import Gallery, Scores
from synctalk.evaluation.stages import measure_stages
from synctalk.face.tracking import FaceTrack, FaceTracker
from synctalk.media import VideoWriter
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

if TYPE_CHECKING:
    from synctalk.avatar import Driving

IN_FLIGHT = 1
"""Frames that wait to be scored."""


class TalkingHead(Protocol):
    """What can be evaluated: :class:`synctalk.avatar.Avatar`, or a renderer to compare it with."""

    @property
    def manifest(self) -> BundleManifest:
        """Facts of the avatar."""
        ...

    def driving_from_tracks(self, tracks: Tracks) -> Driving:
        """Coefficients of tracked faces."""
        ...

    def lips_from_audio(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lip coefficients [T,K] of audio-visual features [T,D]."""
        ...

    def mouth_opening_mm(self, lip: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gap between the inner lips [T] of lip coefficients [T,K]."""
        ...

    def render(self, driving: Driving, plates: Iterable[Image]) -> Iterator[Image]:
        """Crop frames on their plates."""
        ...

    def blend_portrait(self, crop: Image, source: Image, mesh: NDArray[np.float32]) -> Image:
        """The source with the rendered face blended in."""
        ...


def measure_reconstruction(
    avatar: TalkingHead,
    dataset: SubjectDataset,
    folder: Path,
    *,
    tracker: FaceTracker,
    progress: ProgressCallback = ignore_progress,
) -> EvaluationResult:
    """Measure ``avatar`` on the held-out frames of the footage it was trained on.

    Args:
        avatar: a loaded avatar.
        dataset: the dataset it was trained on.
        folder: gets the side-by-side videos.
        tracker: re-tracks source and rendered frames for LMD.
        progress: receives events of the stages ``evaluate source``, ``… tracked``, ``… audio``.

    Raises:
        BundleError: the avatar comes from other footage.
    """
    _check_same_footage(avatar.manifest, dataset)
    span = dataset.held_out_range
    driving = avatar.driving_from_tracks(dataset.tracks)
    heard = dataclasses.replace(driving, lip=avatar.lips_from_audio(heard_in(dataset)))
    held_out = slice(span.start, span.stop)
    stage = StageProgress(progress, "evaluate source", len(span))
    source = _track(tracker, stage.wrap(dataset.frames(span.start)), dataset)
    run = _Run(avatar, dataset, tracker, source, folder, progress)
    tracked = run.drive(driving[held_out], "tracked")
    audio = run.drive(heard[held_out], "audio")
    return EvaluationResult(
        subject=avatar.manifest.subject,
        preset=str(avatar.manifest.settings.get("preset", "")),
        tracker=dataset.manifest.tracker,
        size=dataset.manifest.size,
        fps=dataset.manifest.fps,
        n_frames=len(dataset),
        first=span.start,
        cuts=dataset.manifest.cuts,
        tracked=tracked,
        audio=audio,
        source_lip_gap=_known(lip_gap(source.landmarks68, dataset.manifest.size), source.found),
        pose_deg=yaw_pitch_roll(dataset.tracks.R).astype(np.float64),
        timings=Timings(
            preprocess_s=dataset.manifest.timings_s,
            train_s=_only_training(avatar.manifest, dataset),
            frame_ms=measure_stages(avatar, dataset),
        ),
        curve=avatar.manifest.training_curve,
        machine=describe_machine(),
    )


@dataclasses.dataclass(frozen=True)
class _Run:
    avatar: TalkingHead
    dataset: SubjectDataset
    tracker: FaceTracker
    source: FaceTrack
    folder: Path
    progress: ProgressCallback

    def drive(self, driving: Driving, name: str) -> Drive:
        """Render, score, film and re-track the held-out frames in one pass."""
        size, fps = self.dataset.manifest.size, self.dataset.manifest.fps
        start = self.dataset.held_out_range.start
        sound = self.dataset.audio()[start * SAMPLE_RATE_HZ // fps :]
        gallery = Gallery(start, len(self.source))
        plain, portrait = Scores(), Scores()
        video = f"source_and_{name}.mp4"
        with VideoWriter(self.folder / video, 2 * size, size, fps, audio=sound) as writer:

            def note(i: int, rendered: Image, frame: Image, matte: Image) -> None:
                mouth = mouth_mask(self.source.landmarks68[i], size, size)
                head = head_mask(matte)
                plain.add(rendered, frame, head, mouth)
                mesh = self.dataset.tracks.mesh[start + i]
                blended = self.avatar.blend_portrait(rendered, frame, mesh)
                portrait.add(blended, frame, head, mouth)
                gallery.add(i, plain.psnr[-1], frame, rendered)
                writer.write(np.concatenate([frame, rendered], 1))

            stage = StageProgress(self.progress, f"evaluate {name}", len(self.source))
            with ThreadPoolExecutor(1, "score") as scoring:  # while the next frame is tracked
                frames = self._watched(driving, note, scoring)
                track = _track(self.tracker, stage.wrap(frames), self.dataset)
        return self._summarise(driving, track, plain, portrait, gallery, video)

    def _watched(
        self, driving: Driving, note: Callable[[int, Image, Image, Image], None], pool: Executor
    ) -> Iterator[Image]:
        """The rendered frames, each shown to ``note`` with its source frame and matte.

        ``note`` is called on ``pool``, in order, a few frames behind.
        """
        start = self.dataset.held_out_range.start
        rendered = self.avatar.render(driving, self.dataset.plates(start))
        frames, mattes = self.dataset.frames(start), self.dataset.mattes(start)
        pending: deque[Future[None]] = deque()
        for i, (image, frame, matte) in enumerate(zip(rendered, frames, mattes, strict=True)):
            pending.append(pool.submit(note, i, image, frame, matte))
            if len(pending) > IN_FLIGHT:
                pending.popleft().result()
            yield image
        for last in pending:
            last.result()

    def _summarise(
        self,
        driving: Driving,
        track: FaceTrack,
        plain: Scores,
        portrait: Scores,
        gallery: Gallery,
        video: str,
    ) -> Drive:
        size = self.dataset.manifest.size
        both = self.source.found & track.found
        lmd = landmark_distance(track.landmarks68, self.source.landmarks68, size)
        return Drive(
            plain=plain.result(),
            portrait=portrait.result(),
            lmd=_known(lmd, both),
            lip_gap=_known(lip_gap(track.landmarks68, size), track.found),
            mouth_opening_mm=self.avatar.mouth_opening_mm(driving.lip).astype(np.float64),
            video=video,
            examples=tuple(gallery.examples),
            worst=gallery.worst(),
        )


def _track(tracker: FaceTracker, frames: Iterable[Image], dataset: SubjectDataset) -> FaceTrack:
    start = dataset.held_out_range.start
    return tracker.track(frames, cuts=[c - start for c in dataset.manifest.cuts if c > start])


def _known(values: NDArray[np.floating], found: NDArray[np.bool_]) -> Series:
    """``values`` with NaN where no face was found."""
    return np.where(found, values, np.nan).astype(np.float64)


def _check_same_footage(manifest: BundleManifest, dataset: SubjectDataset) -> None:
    if manifest.source_sha256 != dataset.manifest.source_sha256 or (
        (manifest.crop, manifest.size) != (dataset.manifest.crop, dataset.manifest.size)
    ):
        raise BundleError(
            f"The avatar of {manifest.subject} was not trained on {dataset.path}.",
            reason="AVATAR_OF_OTHER_FOOTAGE",
            remedy="Evaluate an avatar on the dataset it was trained on.",
        )


def _only_training(manifest: BundleManifest, dataset: SubjectDataset) -> dict[str, float]:
    """The avatar's timings without those it repeats from the dataset."""
    before = dataset.manifest.timings_s
    return {name: s for name, s in manifest.timings_s.items() if name not in before}
