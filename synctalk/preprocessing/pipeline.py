"""The stages of preprocessing, in order; see the package for how they are kept and published."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from synctalk import dataset as parts
from synctalk.dataset import (
    AudioFeatures,
    Crop,
    DatasetManifest,
    SubjectDataset,
    Tracks,
    erased_spans,
    publish,
    save_audio_features,
    save_erased,
    sha256_file,
)
from synctalk.errors import FootageError, InputError
from synctalk.face import (
    CanonicalFace,
    FaceTrack,
    GeometricCapturer,
    MeshFaceTracker,
    make_tracker,
    parse_frames,
)
from synctalk.face.face_models import load_face_model
from synctalk.face.remesh import remesh
from synctalk.face_sync import AudioVisualEncoder
from synctalk.head_sync import HeadTrack, stabilize
from synctalk.media import (
    NormalisedMedia,
    VideoPreset,
    VideoReader,
    VideoWriter,
    delayed,
    detect_cuts,
    mel_spectrogram,
    normalise,
    read_audio,
    sample_frames,
    write_wav,
)
from synctalk.preprocessing import MIN_LENGTH_S, too_short
from synctalk.preprocessing.locate import locate_head
from synctalk.preprocessing.work import WorkFolder
from synctalk.progress import ProgressCallback, StageProgress
from synctalk.quality import QualityReport, assess_footage, draw_quality_picture

STAGES = 2  # changes when the stages do: what another release began is begun again
SAMPLES = 12
AHEAD = 4
"""Frames that are decoded before they are asked for."""
TRACK = "track.safetensors"
FILMED_SOUND = "filmed.wav"
"""As it was recorded: the dataset's is in step with the lips."""

Image = NDArray[np.uint8]


class QualityRefused(FootageError):
    """The footage cannot become an avatar; ``report`` says why, verdict by verdict."""

    def __init__(self, message: str, report: QualityReport, remedy: str) -> None:
        super().__init__(message, reason="FOOTAGE_REFUSED", remedy=remedy)
        self.report = report


@dataclass(frozen=True)
class Settings:
    """What the user chose; see :func:`synctalk.preprocessing.preprocess`."""

    tracker: str
    size: int
    face_model: Path | None
    device: str


@dataclass(frozen=True)
class Clip:
    """The frames of the crop; iterating reads them from the disk, one at a time."""

    path: Path
    crop: Crop
    size: int
    n_frames: int

    def __len__(self) -> int:
        return self.n_frames

    def __iter__(self) -> Iterator[Image]:
        return _read_ahead(self.crop.cut(frame, self.size) for frame in VideoReader(self.path))

    def counted(self, progress: ProgressCallback, stage: str) -> Iterator[Image]:
        """The frames, each reported as a unit of ``stage`` when it was used."""
        return StageProgress(progress, stage, len(self)).wrap(self)


class Pipeline:
    """One preprocessing run.

    Args:
        source: the footage.
        final: the dataset to make.
        settings: see :class:`Settings`.
        progress: receives the events of all stages.

    Raises:
        InputError: the face model cannot be used, or the working folder not made.
    """

    def __init__(
        self, source: Path, final: Path, settings: Settings, progress: ProgressCallback
    ) -> None:
        self._source, self._final, self._settings = source, final, settings
        self._progress = progress
        self._face_model: CanonicalFace | None = None
        digest = None
        if settings.face_model is not None:
            self._face_model = remesh(load_face_model(settings.face_model))
            digest = sha256_file(settings.face_model)
        identity = {
            "stages": STAGES,
            "tracker": settings.tracker,
            "size": settings.size,
            "face_model": digest,
        }
        self._work = WorkFolder(final, source, identity)

    def run(self) -> SubjectDataset:
        """All stages that an earlier run has not finished; the dataset."""
        try:
            return self._run()
        except InputError:
            self._work.discard()  # nothing of it can be used again
            raise

    def _run(self) -> SubjectDataset:
        work, folder = self._work, self._work.folder
        crop = Crop(**work.stage("locate", self._locate))
        media = NormalisedMedia(**work.stage("normalise", self._normalise))
        size = min(self._settings.size, crop.side // 16 * 16)
        clip = Clip(folder / parts.FRAMES, crop, size, media.n_frames)
        cuts = tuple(work.stage("cuts", lambda: self._cuts(clip)))
        tracked = work.stage("track", lambda: self._track(clip, cuts))
        track = _load_track(folder / TRACK, size)
        seen = work.stage("quality", lambda: self._quality(media, clip, track, cuts))
        work.stage("pose", lambda: self._pose(clip, track, cuts))
        work.stage("parse", lambda: self._parse(clip, track, cuts))
        work.stage("audio", lambda: self._audio(media.n_frames, seen["sound_shift_ms"]))
        manifest = DatasetManifest(
            source_name=self._source.name,
            source_sha256=work.source_sha256,
            source_width=media.width,
            source_height=media.height,
            crop=crop,
            size=size,
            n_frames=media.n_frames,
            cuts=cuts,
            tracker=tracked["tracker"],
            timings_s=work.timings_s,
        )
        return publish(folder, self._final, manifest)

    def _locate(self) -> dict[str, int]:
        samples = StageProgress(self._progress, "locate", 1)
        tracker = make_tracker("mesh", self._settings.device)
        crop = locate_head(sample_frames(self._source, SAMPLES), tracker, self._source)
        samples.advance()
        return dataclasses.asdict(crop)

    def _cuts(self, clip: Clip) -> list[int]:
        return detect_cuts(clip.counted(self._progress, "cuts"))

    def _normalise(self) -> dict[str, Any]:
        folder = self._work.folder
        media = normalise(
            self._source, folder / parts.FRAMES, folder / FILMED_SOUND, progress=self._progress
        )
        if media.duration_s < MIN_LENGTH_S:
            raise too_short(self._source, media.duration_s)
        return dataclasses.asdict(media)

    def _track(self, clip: Clip, cuts: tuple[int, ...]) -> dict[str, Any]:
        tracker = make_tracker(self._settings.tracker, self._settings.device)
        track = tracker.track(clip, cuts=cuts, progress=self._progress)
        mesh = track.mesh
        if mesh is None:  # a 68-point tracker: the driving features still need the dense mesh
            meshes = make_tracker("mesh", self._settings.device)
            mesh = meshes.track(clip, cuts=cuts, progress=self._progress).mesh
        assert mesh is not None
        save_file(
            {
                "landmarks68": track.landmarks68,
                "mesh": mesh,
                "score": track.score,
                "n_faces": track.n_faces,
            },
            self._work.folder / TRACK,
        )
        name = "mesh" if isinstance(tracker, MeshFaceTracker) else "face-alignment"
        return {"found": int(track.found.sum()), "tracker": name}

    def _quality(
        self, media: NormalisedMedia, clip: Clip, track: FaceTrack, cuts: tuple[int, ...]
    ) -> dict[str, Any]:
        folder = self._work.folder
        wav = read_audio(folder / FILMED_SOUND)
        report = assess_footage(
            media, lambda: clip.counted(self._progress, "quality"), track, wav, cuts
        )
        if report.refusals:
            first = report.refusals[0]
            raise QualityRefused(
                f"{self._source}: " + " ".join(v.message for v in report.refusals),
                report,
                first.remedy,
            )
        picture = draw_quality_picture(report, track, wav)
        (folder / parts.QUALITY).write_text(report.to_json())
        _write_png(folder / parts.QUALITY_PICTURE, picture)
        return {"warnings": len(report.warnings), "sound_shift_ms": report.sound_shift_ms}

    def _pose(self, clip: Clip, track: FaceTrack, cuts: tuple[int, ...]) -> dict[str, Any]:
        head = stabilize(
            lambda: clip,
            track,
            cuts=cuts,
            size=clip.size,
            face_model=self._face_model,
            progress=self._progress,
        )
        blendshapes = GeometricCapturer().capture(track, cuts=cuts)
        _tracks(track, head, blendshapes).save(self._work.folder / parts.TRACKS)
        return {"report": dataclasses.asdict(head.report)}

    def _parse(self, clip: Clip, track: FaceTrack, cuts: tuple[int, ...]) -> dict[str, Any]:
        folder, size = self._work.folder, clip.size
        parsed = parse_frames(lambda: clip, track, cuts=cuts, progress=self._progress)
        grey = VideoPreset.GREY_LOSSLESS
        spans: list[NDArray[np.int16]] = []
        with (
            VideoWriter(folder / parts.PLATES, size, size, preset=VideoPreset.LOSSLESS) as plates,
            VideoWriter(folder / parts.MASKS, size, size, preset=grey) as masks,
            VideoWriter(folder / parts.MATTE, size, size, preset=grey) as mattes,
        ):
            for frame in parsed:
                spans.append(erased_spans(frame.frame, frame.plate))
                plates.write(frame.plate)
                masks.write_grey(frame.labels)
                mattes.write_grey(frame.matte)
        save_erased(folder / parts.ERASED, spans)
        _write_png(folder / parts.BACKGROUND, parsed.background)
        return {"background_coverage": parsed.coverage}

    def _audio(self, n_frames: int, shift_ms: float) -> dict[str, Any]:
        folder = self._work.folder
        stage = StageProgress(self._progress, "audio", 1)
        wav = delayed(read_audio(folder / FILMED_SOUND), shift_ms)
        write_wav(folder / parts.AUDIO, wav)
        visual = AudioVisualEncoder.pretrained().encode(torch.from_numpy(wav), n_frames).numpy()
        features = AudioFeatures(mel=mel_spectrogram(wav), visual=visual)
        save_audio_features(folder / parts.AUDIO_FEATURES, features)
        stage.advance()
        return {"dim": int(visual.shape[1])}


def _read_ahead(frames: Iterator[Image]) -> Iterator[Image]:
    """The frames, decoded in a thread while those before them are looked at."""
    with ThreadPoolExecutor(1, "read ahead") as pool:
        pending = deque(pool.submit(next, frames, None) for _ in range(AHEAD))
        try:
            while (frame := pending.popleft().result()) is not None:
                pending.append(pool.submit(next, frames, None))
                yield frame
        finally:
            pool.shutdown(cancel_futures=True)


def _tracks(track: FaceTrack, head: HeadTrack, blendshapes: NDArray[np.float32]) -> Tracks:
    assert track.mesh is not None
    return Tracks(
        landmarks68=track.landmarks68,
        mesh=track.mesh,
        score=track.score,
        blendshapes=blendshapes,
        R=head.R,
        t=head.t,
        valid=head.valid,
        K=head.K,
        vertices=head.vertices,
    )


def _load_track(path: Path, size: int) -> FaceTrack:
    return FaceTrack(**load_file(path), size=(size, size))


def _write_png(path: Path, image: Image) -> None:
    ok, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok
    path.write_bytes(data.tobytes())
