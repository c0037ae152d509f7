"""Preprocessing: an untrusted portrait video in, a SubjectDataset out.

normalise → cuts → track → quality → pose → parse → audio features. Each finished stage leaves its
files in the working folder ``OUT.preprocessing``; run again after an interruption, the stages
already done are taken from there. ``OUT`` appears in one rename when everything is whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
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
    publish,
    save_audio_features,
    sha256_file,
)
from synctalk.errors import DatasetError, FootageError, InputError
from synctalk.face import (
    FaceTrack,
    GeometricCapturer,
    MeshFaceTracker,
    make_tracker,
    parse_frames,
)
from synctalk.face_sync import AudioVisualEncoder
from synctalk.head_sync import HeadTrack, stabilize
from synctalk.media import (
    NormalisedMedia,
    VideoPreset,
    VideoReader,
    VideoWriter,
    detect_cuts,
    mel_spectrogram,
    normalise,
    probe,
    read_audio,
)
from synctalk.progress import ProgressCallback, ignore_progress
from synctalk.quality import QualityReport, assess_footage, draw_quality_picture

MIN_LENGTH_S = 10.0
LOCATE_FRAMES = 12
FACE_HEIGHTS_PER_CROP = 3.2
SIZES = (128, 1024)

Image = NDArray[np.uint8]


class QualityRefused(FootageError):
    """The footage cannot become an avatar; ``report`` says why, verdict by verdict."""

    def __init__(self, message: str, report: QualityReport, remedy: str) -> None:
        super().__init__(message, reason="FOOTAGE_REFUSED", remedy=remedy)
        self.report = report


def preprocess(
    video: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    tracker: str = "auto",
    size: int = 512,
    device: str = "auto",
    progress: ProgressCallback = ignore_progress,
) -> SubjectDataset:
    """Turn a portrait video into a dataset.

    Args:
        video: the footage: one person, static camera, 10 s of speech at least, 2–5 min at best.
        out: dataset folder to write; appears when everything is whole.
        tracker: ``"auto"``, ``"mesh"`` or ``"face-alignment"``.
        size: side of the square that is learnt and rendered, px; smaller where the source is.
        device: for trackers that use a GPU.
        progress: receives events of the stages ``normalise``, ``track``, ``pose``, ``parse`` …

    Raises:
        MediaError: the file cannot be decoded or accepted.
        FootageError: no usable face, too short, …; each with a remedy.
        DatasetError: ``out`` exists and is not a dataset.
    """
    source, final = Path(video), Path(out)
    if not SIZES[0] <= size <= SIZES[1] or size % 16:
        raise InputError(
            f"Size {size} is not possible.",
            reason="BAD_SIZE",
            remedy=f"Choose a multiple of 16 from {SIZES[0]} to {SIZES[1]}.",
        )
    if final.exists() and not (final / parts.MANIFEST).is_file():
        raise DatasetError(
            f"{final} exists and is not a dataset.",
            reason="OUTPUT_EXISTS",
            remedy="Choose another --out folder.",
        )
    _refuse_short(source)
    work = _Work(final, source, {"tracker": tracker, "size": size})
    try:
        return _Preprocessor(source, work, tracker, size, device, progress).run(final)
    except InputError:
        work.discard()  # nothing of it can be used again
        raise


def _refuse_short(source: Path) -> None:
    """Refuse before any long work what is certainly too short or silent."""
    info = probe(source)
    if info.video is None:
        raise FootageError(
            f"{source}: no video stream.",
            reason="NO_VIDEO",
            remedy="Give a video of the person speaking.",
        )
    if info.duration_s and info.duration_s < MIN_LENGTH_S:
        raise FootageError(
            f"{source}: {info.duration_s:.1f} s long; at least {MIN_LENGTH_S:.0f} s are needed.",
            reason="TOO_SHORT",
            remedy="Record 2–5 minutes of one person speaking to the camera.",
        )


class _Work:
    """The working folder: which stages are done, their facts and timings."""

    def __init__(self, final: Path, source: Path, settings: dict[str, Any]) -> None:
        self.folder = final.with_name(final.name + ".preprocessing")
        self._path = self.folder / "stages.json"
        self.source_sha256 = sha256_file(source)
        identity = {"source": self.source_sha256, **settings}
        self._state: dict[str, Any] = {"identity": identity, "facts": {}, "timings_s": {}}
        if self._path.is_file():
            old = json.loads(self._path.read_text())
            if old["identity"] == identity:
                self._state = old
                return
        self.discard()
        self.folder.mkdir(parents=True)

    @property
    def timings_s(self) -> dict[str, float]:
        """Seconds per finished stage."""
        timings: dict[str, float] = self._state["timings_s"]
        return timings

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON-able result of ``make``, from the last run if that finished it."""
        if name not in self._state["facts"]:
            start = time.monotonic()
            result = make()
            self._state["facts"][name] = result
            self._state["timings_s"][name] = round(time.monotonic() - start, 3)
            draft = self._path.with_suffix(".writing")
            draft.write_text(json.dumps(self._state))
            os.replace(draft, self._path)
        return self._state["facts"][name]

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class _Preprocessor:
    def __init__(
        self,
        source: Path,
        work: _Work,
        tracker: str,
        size: int,
        device: str,
        progress: ProgressCallback,
    ) -> None:
        self._source, self._work, self._progress = source, work, progress
        self._tracker_name, self._size, self._device = tracker, size, device
        self._shape = (Crop(0, 0, size), size)

    def run(self, final: Path) -> SubjectDataset:
        work, folder = self._work, self._work.folder
        media = NormalisedMedia(**work.stage("normalise", self._normalise))
        crop = Crop(**work.stage("locate", lambda: self._locate(media)))
        size = min(self._size, crop.side // 16 * 16)
        self._shape = (crop, size)
        cuts = tuple(work.stage("cuts", lambda: detect_cuts(self._frames())))
        tracked = work.stage("track", lambda: self._track(cuts))
        track = _load_track(folder / "track.safetensors", size)
        work.stage("quality", lambda: self._quality(media, track, cuts))
        work.stage("pose", lambda: self._pose(track, cuts, size))
        work.stage("parse", lambda: self._parse(track, cuts, size))
        work.stage("audio", lambda: self._audio(media.n_frames))
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
        return publish(folder, final, manifest)

    def _frames(self) -> Iterator[Image]:
        crop, size = self._shape
        for frame in VideoReader(self._work.folder / parts.FRAMES):
            yield crop.cut(frame, size)

    def _normalise(self) -> dict[str, Any]:
        folder = self._work.folder
        media = normalise(
            self._source, folder / parts.FRAMES, folder / parts.AUDIO, progress=self._progress
        )
        if media.duration_s < MIN_LENGTH_S:
            raise FootageError(
                f"{self._source}: {media.duration_s:.1f} s long; "
                f"at least {MIN_LENGTH_S:.0f} s are needed.",
                reason="TOO_SHORT",
                remedy="Record 2–5 minutes of one person speaking to the camera.",
            )
        return dataclasses.asdict(media)

    def _locate(self, media: NormalisedMedia) -> dict[str, int]:
        """The square around the head: the whole frame when that is square."""
        if media.width == media.height:
            return dataclasses.asdict(Crop(0, 0, media.width))
        reader = VideoReader(self._work.folder / parts.FRAMES)
        picks = np.linspace(0, media.n_frames - 1, LOCATE_FRAMES).astype(int)
        tracker = make_tracker("mesh", self._device)
        cuts = list(range(1, len(picks)))  # samples are far apart: track each on its own
        track = tracker.track((reader.read(int(i)) for i in picks), cuts=cuts)
        if not track.found.any():
            raise FootageError(
                f"{self._source}: no face found in {LOCATE_FRAMES} frames across the video.",
                reason="NO_FACE",
                remedy="Film one person from the front, well lit, face at least 100 px high.",
            )
        points = track.landmarks68[track.found]
        face_height = float(np.median(np.ptp(points[..., 1], axis=1)))
        side = int(min(media.width, media.height, max(FACE_HEIGHTS_PER_CROP * face_height, 256)))
        side -= side % 2
        x, y = np.median(points.mean(1), axis=0)
        left = int(np.clip(x - side / 2, 0, media.width - side)) // 2 * 2
        top = int(np.clip(y - 0.45 * side, 0, media.height - side)) // 2 * 2
        return dataclasses.asdict(Crop(left, top, side))

    def _track(self, cuts: tuple[int, ...]) -> dict[str, Any]:
        tracker = make_tracker(self._tracker_name, self._device)
        track = tracker.track(self._frames(), cuts=cuts, progress=self._progress)
        mesh = track.mesh
        if mesh is None:  # a 68-point tracker: the driving features still need the dense mesh
            mesh = make_tracker("mesh", self._device).track(self._frames(), cuts=cuts).mesh
        assert mesh is not None
        save_file(
            {
                "landmarks68": track.landmarks68,
                "mesh": mesh,
                "score": track.score,
                "n_faces": track.n_faces,
            },
            self._work.folder / "track.safetensors",
        )
        name = "mesh" if isinstance(tracker, MeshFaceTracker) else "face-alignment"
        return {"found": int(track.found.sum()), "tracker": name}

    def _quality(
        self, media: NormalisedMedia, track: FaceTrack, cuts: tuple[int, ...]
    ) -> dict[str, Any]:
        folder = self._work.folder
        wav = read_audio(folder / parts.AUDIO)
        report = assess_footage(media, self._frames, track, wav, cuts)
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
        return {"warnings": len(report.warnings)}

    def _pose(self, track: FaceTrack, cuts: tuple[int, ...], size: int) -> dict[str, Any]:
        head = stabilize(self._frames, track, cuts=cuts, size=size, progress=self._progress)
        blendshapes = GeometricCapturer().capture(track, cuts=cuts)
        _tracks(track, head, blendshapes).save(self._work.folder / parts.TRACKS)
        return {"report": dataclasses.asdict(head.report)}

    def _parse(self, track: FaceTrack, cuts: tuple[int, ...], size: int) -> dict[str, Any]:
        folder = self._work.folder
        parsed = parse_frames(self._frames, track, cuts=cuts, progress=self._progress)
        grey = VideoPreset.GREY_LOSSLESS
        with (
            VideoWriter(folder / parts.PLATES, size, size, preset=VideoPreset.LOSSLESS) as plates,
            VideoWriter(folder / parts.MASKS, size, size, preset=grey) as masks,
            VideoWriter(folder / parts.MATTE, size, size, preset=grey) as mattes,
        ):
            for frame in parsed:
                plates.write(frame.plate)
                masks.write_grey(frame.labels)
                mattes.write_grey(frame.matte)
        _write_png(folder / parts.BACKGROUND, parsed.background)
        return {"background_coverage": parsed.coverage}

    def _audio(self, n_frames: int) -> dict[str, Any]:
        folder = self._work.folder
        wav = read_audio(folder / parts.AUDIO)
        visual = AudioVisualEncoder.pretrained().encode(torch.from_numpy(wav), n_frames).numpy()
        features = AudioFeatures(mel=mel_spectrogram(wav), visual=visual)
        save_audio_features(folder / parts.AUDIO_FEATURES, features)
        return {"dim": int(visual.shape[1])}


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
