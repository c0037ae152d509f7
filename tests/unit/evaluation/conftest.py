"""A small real dataset of the virtual portrait, and an avatar whose errors are known exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from synctalk import dataset as ds
from synctalk.bundle import BundleManifest, CurvePoint
from synctalk.dataset import AudioFeatures, Crop, DatasetManifest, SubjectDataset, Tracks
from synctalk.face.tracking import FaceTrack
from synctalk.media import VideoPreset, VideoReader, VideoWriter, read_audio, write_wav
from synctalk.progress import ProgressCallback, ignore_progress

N, SIDE, FPS = 275, 256, 25
CUT = 258
SHA = "ab" * 32
NOISE = {"tracked": 3.0, "audio": 6.0}

Image = NDArray[np.uint8]


@pytest.fixture(scope="session")
def subject(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> SubjectDataset:
    """275 frames at 256x256, so 25 held out; landmarks and poses are the truth."""
    source = shared_data / "virtual/subject_a"
    folder = tmp_path_factory.mktemp("dataset") / "partial"
    folder.mkdir()
    frames = islice(VideoReader(source / "small.mp4").iter_rgb(), N)
    _write(folder / ds.FRAMES, frames, VideoPreset.NEAR_LOSSLESS)
    background = cv2.imread(str(source / "background.png"))
    small = np.ascontiguousarray(cv2.resize(background, (SIDE, SIDE))[..., ::-1])
    _write(folder / ds.PLATES, (small for _ in range(N)), VideoPreset.NEAR_LOSSLESS)
    everywhere = np.tile(np.array([0, SIDE], np.int16), (SIDE, 1))
    ds.save_erased(folder / ds.ERASED, [everywhere] * N)
    cv2.imwrite(str(folder / ds.BACKGROUND), background)
    mattes = islice(VideoReader(source / "matte_train.mp4").iter_grey(), N)
    _write(folder / ds.MATTE, (cv2.resize(m, (SIDE, SIDE)) for m in mattes))
    _write(folder / ds.MASKS, (np.zeros((SIDE, SIDE), np.uint8) for _ in range(N)))
    _tracks(np.load(source / "truth.npz", allow_pickle=False)).save(folder / ds.TRACKS)
    write_wav(folder / ds.AUDIO, read_audio(source / "train.wav", 16000)[: N * 640])
    visual = np.arange(N, dtype=np.float32)[:, None]
    features = AudioFeatures(mel=np.zeros((1, 80), np.float32), visual=visual)
    ds.save_audio_features(folder / ds.AUDIO_FEATURES, features)
    (folder / ds.QUALITY).write_text("{}")
    cv2.imwrite(str(folder / ds.QUALITY_PICTURE), background)
    return ds.publish(folder, folder.with_name("subject"), _manifest())


def _write(
    path: Path, images: Iterable[Image], preset: VideoPreset = VideoPreset.GREY_LOSSLESS
) -> None:
    with VideoWriter(path, SIDE, SIDE, FPS, preset=preset) as writer:
        for image in images:
            grey = preset is VideoPreset.GREY_LOSSLESS
            (writer.write_grey if grey else writer.write)(np.ascontiguousarray(image))


def _tracks(truth: dict[str, NDArray[np.float64]]) -> Tracks:
    K = np.diag([600.0, 600.0, 1.0])
    K[:2, 2] = SIDE / 2
    arrays = {
        "landmarks68": (truth["lm2d"][:N] + 0.5) / 2,
        "mesh": np.zeros((N, 478, 3)),
        "score": np.ones(N),
        "blendshapes": truth["coeffs"][:N],
        "R": truth["R_head"][:N],
        "t": truth["t_head"][:N],
        "K": K,
        "vertices": np.zeros((468, 3)),
    }
    return Tracks(valid=np.ones(N, bool), **{k: v.astype(np.float32) for k, v in arrays.items()})


def _manifest() -> DatasetManifest:
    return DatasetManifest(
        source_name="virtual.mp4",
        source_sha256=SHA,
        source_width=SIDE,
        source_height=SIDE,
        crop=Crop(0, 0, SIDE),
        size=SIDE,
        n_frames=N,
        cuts=(100, CUT),
        tracker="mesh",
        timings_s={"track": 4.0, "head_sync": 7.5},
    )


@dataclass(frozen=True)
class Motion:
    """Stands for Driving: the lip column tells the frame and how noisy to render it."""

    lip: NDArray[np.float32]

    def __getitem__(self, index: slice) -> Motion:
        return Motion(self.lip[index])


class NoisyAvatar:
    """Renders the source itself plus white noise of known strength: every metric is predictable."""

    def __init__(self, dataset: SubjectDataset) -> None:
        self._dataset = dataset
        self.manifest = BundleManifest(
            subject="virtual <A>",
            source_sha256=SHA,
            crop=Crop(0, 0, SIDE),
            size=SIDE,
            source_width=SIDE,
            source_height=SIDE,
            n_frames=N,
            cuts=(),
            window=(SIDE, SIDE),
            settings={"preset": "demo"},
            metrics={},
            training_curve=(CurvePoint(1.0, 10, 28.0), CurvePoint(60.0, 900, 34.5)),
            timings_s={"track": 4.0, "head_sync": 7.5, "canonical": 20.0, "joint": 70.0},
        )

    def driving_from_tracks(self, tracks: Tracks) -> Motion:
        return Motion(self._lip(len(tracks.score), NOISE["tracked"]))

    def lips_from_audio(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._lip(len(features), NOISE["audio"])

    def mouth_opening_mm(self, lip: NDArray[np.float32]) -> NDArray[np.float32]:
        return lip[:, 1]

    def render(self, driving: Motion, plates: Iterable[Image]) -> Iterator[Image]:
        frames = self._dataset.frames(int(driving.lip[0, 0]))
        for (index, sigma), frame, _ in zip(driving.lip, frames, plates, strict=False):
            noise = np.random.default_rng(int(index)).normal(0, sigma, frame.shape)
            yield np.clip(np.round(frame + noise), 0, 255).astype(np.uint8)

    def blend_portrait(self, crop: Image, source: Image, mesh: NDArray[np.float32]) -> Image:
        blended = source.copy()
        blended[: SIDE // 2] = crop[: SIDE // 2]
        return blended

    def _lip(self, n: int, sigma: float) -> NDArray[np.float32]:
        return np.stack([np.arange(n), np.full(n, sigma)], 1).astype(np.float32)


class OneByOne:
    """A tracker that finds nothing, holds one frame at a time, and notes the cuts it was told."""

    def __init__(self) -> None:
        self.cuts: list[tuple[int, ...]] = []

    def track(
        self,
        frames: Iterable[Image],
        *,
        cuts: Sequence[int] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> FaceTrack:
        self.cuts.append(tuple(cuts))
        n = sum(1 for _ in frames)
        zeros = np.zeros(n, np.float32)
        landmarks = np.zeros((n, 68, 2), np.float32)
        return FaceTrack(landmarks, None, zeros, zeros.astype(np.int32), (256, 256))


@pytest.fixture(scope="session")
def avatar(subject: SubjectDataset) -> NoisyAvatar:
    return NoisyAvatar(subject)
