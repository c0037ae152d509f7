"""SubjectDataset: what preprocessing learns from a video, on disk (DESIGN §3).

A folder, written once and then only read::

    manifest.json        schema version, source, crop, camera, cuts, sha256 of every part
    quality.json/.png    the footage report a person reads
    frames.mp4           the source at 25 fps, upright, at its own resolution
    plates.mp4           the crop with the head taken out: what the avatar is composited on
    erased.safetensors   where the plates differ from the crop; elsewhere the crop is exact
    masks.mp4            part labels of the crop (8-bit grey, lossless); see face.PartLabel
    matte.mp4            soft alpha of the head, hair included (8-bit grey, lossless)
    background.png       the empty scene behind the person, crop-sized
    tracks.safetensors   arrays over frames; see ``Tracks``
    audio.wav            16 kHz mono, as long as the video
    audio.safetensors    mel spectrogram and audio-visual features, one row a frame

The only code that reads or writes these files. Coordinates are continuous pixels of the crop: the
centre of its first pixel is (0.5, 0.5). The camera is a pinhole, x right, y down, z forward;
the head frame has its origin between the eyes, x to the subject's left, y up, z out of the face,
millimetres; ``X_cam = R @ X_head + t``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from synctalk.errors import DatasetError
from synctalk.media import VideoReader, read_audio
from synctalk.media.cuts import longest_shot
from synctalk.tensor_files import checked

SCHEMA_VERSION = 2
FPS = 25
SAMPLE_RATE_HZ = 16_000
HELD_OUT_FRACTION = 1 / 11
"""The paper's protocol keeps the last 1/11 of the frames for testing."""

FRAMES = "frames.mp4"
PLATES = "plates.mp4"
ERASED = "erased.safetensors"
MASKS = "masks.mp4"
MATTE = "matte.mp4"
BACKGROUND = "background.png"
TRACKS = "tracks.safetensors"
AUDIO = "audio.wav"
AUDIO_FEATURES = "audio.safetensors"
QUALITY = "quality.json"
QUALITY_PICTURE = "quality.png"
MANIFEST = "manifest.json"
PARTS = (
    FRAMES, PLATES, ERASED, MASKS, MATTE, BACKGROUND, TRACKS, AUDIO, AUDIO_FEATURES, QUALITY,
    QUALITY_PICTURE,
)  # fmt: skip

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """A square window of the source, in whole source pixels."""

    x: int
    y: int
    side: int

    def halved(self) -> Crop:
        """The same window in a plane of half the size."""
        return Crop(self.x // 2, self.y // 2, self.side // 2)

    def cut(self, frame: Image, size: int) -> Image:
        """The window of ``frame`` [H,W,3], scaled to [size,size,3]."""
        window = frame[self.y : self.y + self.side, self.x : self.x + self.side]
        if self.side == size:
            return np.ascontiguousarray(window)
        scaled: Image = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)
        return scaled


@dataclass(frozen=True)
class DatasetManifest:
    """The facts of a dataset that are not arrays.

    Args:
        source_name: file name of the uploaded video (no path).
        source_sha256: digest of the uploaded file.
        source_width, source_height: of ``frames.mp4``, px.
        size: side of the crop's frames, px.
        n_frames: frames at 25 fps.
        cuts: first frame of every shot but the first.
        tracker: name of the face tracker used.
        timings_s: seconds spent per stage.
        files: sha256 of every part.
    """

    source_name: str
    source_sha256: str
    source_width: int
    source_height: int
    crop: Crop
    size: int
    n_frames: int
    cuts: tuple[int, ...]
    tracker: str
    timings_s: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    fps: int = FPS
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, where: Path) -> DatasetManifest:
        """Parse what ``to_json`` wrote.

        Raises:
            DatasetError: not JSON, a missing field, or another schema version.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw.get("schema_version") != SCHEMA_VERSION:
                raise DatasetError(
                    f"{where}: schema version {raw.get('schema_version')}, "
                    f"this release reads {SCHEMA_VERSION}.",
                    reason="DATASET_VERSION",
                    remedy="Run `synctalk preprocess` on the video again.",
                )
            raw["crop"] = Crop(**raw["crop"])
            raw["cuts"] = tuple(raw["cuts"])
            if any(Path(name).name != name for name in raw.get("files", ())):
                raise ValueError("a part lies in another folder")
            return cls(**raw)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DatasetError(
                f"{where}: not a dataset manifest ({error}).",
                reason="DATASET_MANIFEST",
                remedy="Run `synctalk preprocess` on the video again.",
            ) from error


@dataclass(frozen=True)
class Tracks:
    """Arrays over the T frames of a dataset, all float32 unless said otherwise.

    Args:
        landmarks68: [T,68,2] iBUG points, crop px.
        mesh: [T,478,3] dense landmarks, crop px (z in px, smaller is nearer); zeros where the
            tracker gives none.
        score: [T] tracker confidence, 0 where no face was found.
        blendshapes: [T,52] ARKit coefficients in [0,1].
        R: [T,3,3] head rotation.
        t: [T,3] head translation, mm.
        valid: [T] bool, False where the pose is interpolated.
        K: [3,3] intrinsics of the crop camera, px.
        vertices: [468,3] the subject's neutral face mesh in the head frame, mm.
    """

    landmarks68: NDArray[np.float32]
    mesh: NDArray[np.float32]
    score: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    R: NDArray[np.float32]
    t: NDArray[np.float32]
    valid: NDArray[np.bool_]
    K: NDArray[np.float32]
    vertices: NDArray[np.float32]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """[T] where the face was found: other frames have neither mesh nor pose of their own."""
        return self.valid & (self.score > 0)

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in _fields(self)}
        save_file(arrays, path)

    @classmethod
    def load(cls, path: Path) -> Tracks:
        """Read what ``save`` wrote."""
        return cls(**load_file(checked(path)))


@dataclass(frozen=True)
class AudioFeatures:
    """What drives the lips.

    Args:
        mel: [M,80] mel spectrogram (METHOD row 1), hop 12.5 ms.
        visual: [T,D] audio-visual encoder features, one row a frame.
    """

    mel: NDArray[np.float32]
    visual: NDArray[np.float32]


class SubjectDataset:
    """Read access to a dataset folder; open with :meth:`open`."""

    def __init__(self, path: Path, manifest: DatasetManifest, tracks: Tracks) -> None:
        self.path = path
        self.manifest = manifest
        self.tracks = tracks

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SubjectDataset:
        """Open a dataset folder.

        Raises:
            DatasetError: not a folder, a missing part, or another schema version.
        """
        folder = Path(path)
        manifest_path = folder / MANIFEST
        if not manifest_path.is_file():
            raise DatasetError(
                f"{folder} is not a dataset: {MANIFEST} is missing.",
                reason="DATASET_NOT_FOUND",
                remedy="Make one with `synctalk preprocess VIDEO --out DATASET`.",
            )
        manifest = DatasetManifest.from_json(manifest_path.read_bytes(), manifest_path)
        missing = [name for name in PARTS if not (folder / name).is_file()]
        if missing:
            raise DatasetError(
                f"{folder} is incomplete: {', '.join(missing)} missing.",
                reason="DATASET_INCOMPLETE",
                remedy="Run `synctalk preprocess` on the video again.",
            )
        return cls(folder, manifest, Tracks.load(folder / TRACKS))

    def verify(self) -> None:
        """Compare every part with its digest in the manifest.

        Raises:
            DatasetError: a part was changed or damaged.
        """
        for name, digest in self.manifest.files.items():
            if sha256_file(self.path / name) != digest:
                raise DatasetError(
                    f"{self.path / name} does not match its checksum.",
                    reason="DATASET_DAMAGED",
                    remedy="Run `synctalk preprocess` on the video again.",
                )

    def __len__(self) -> int:
        return self.manifest.n_frames

    @property
    def lost(self) -> tuple[int, ...]:
        """Frames in which the face was not found."""
        return tuple(np.flatnonzero(~self.tracks.usable).tolist())

    @property
    def played(self) -> range:
        """Frames that dubbing plays: the longest run of a shot with a face in each."""
        return longest_shot(len(self), self.manifest.cuts, self.lost)

    @property
    def train_range(self) -> range:
        """Frames the avatar may learn from."""
        return range(len(self) - held_out_count(len(self)))

    @property
    def held_out_range(self) -> range:
        """The last 1/11 of the frames."""
        return range(len(self) - held_out_count(len(self)), len(self))

    def source_frames(self, start: int = 0) -> Iterator[Image]:
        """Frames [H,W,3] at the source's resolution, from ``start`` on."""
        with VideoReader(self.path / FRAMES) as reader:
            yield from reader.iter_rgb(start)

    def frames(self, start: int = 0) -> Iterator[Image]:
        """Frames of the crop [size,size,3], from ``start`` on."""
        for frame in self.source_frames(start):
            yield self.manifest.crop.cut(frame, self.manifest.size)

    def erased(self) -> NDArray[np.int16]:
        """Where the head was taken out, [T,size,2]; see :func:`erased_spans`."""
        spans: NDArray[np.int16] = load_file(checked(self.path / ERASED))["spans"]
        return spans

    def plates(self, start: int = 0) -> Iterator[Image]:
        """The crop without the head [size,size,3], from ``start`` on."""
        for _, plate in self.frames_and_plates(start):
            yield plate

    def frames_and_plates(self, start: int = 0) -> Iterator[tuple[Image, Image]]:
        """Each frame of the crop with its plate, which equals it where nothing was erased."""
        spans = self.erased()[start:]
        with VideoReader(self.path / PLATES) as reader:
            streams = zip(self.frames(start), reader.iter_rgb(start), spans, strict=True)
            for frame, plate, erased in streams:
                yield frame, keep_outside(plate, frame, erased)

    def mattes(self, start: int = 0) -> Iterator[Image]:
        """Soft alpha of the head [size,size], from ``start`` on."""
        with VideoReader(self.path / MATTE) as reader:
            yield from reader.iter_grey(start)

    def masks(self, start: int = 0) -> Iterator[Image]:
        """Part labels [size,size], from ``start`` on."""
        with VideoReader(self.path / MASKS) as reader:
            yield from reader.iter_grey(start)

    def audio(self) -> NDArray[np.float32]:
        """The clip's speech, 16 kHz mono in [-1,1]."""
        return read_audio(self.path / AUDIO, SAMPLE_RATE_HZ)

    def audio_features(self) -> AudioFeatures:
        """Mel spectrogram and audio-visual features of the clip's speech."""
        return AudioFeatures(**load_file(checked(self.path / AUDIO_FEATURES)))


def erased_spans(frame: Image, plate: Image) -> NDArray[np.int16]:
    """First and one past the last column that differ, row by row: [H,2]; 0, 0 where none does."""
    height, width, channels = frame.shape
    differs = (frame != plate).reshape(height, width * channels)  # reducing 3 values is slow
    first, last = differs.argmax(1), differs[:, ::-1].argmax(1)
    spans = np.stack([first // channels, width - last // channels], axis=1)
    spans[~differs.any(1)] = 0
    return spans.astype(np.int16)


def keep_outside(plate: Image, frame: Image, spans: NDArray[np.int16]) -> Image:
    """``plate`` [H,W,...] where ``spans`` [H,2] erase, else ``frame``, which no codec changed."""
    columns = np.arange(plate.shape[1])
    inside = (columns >= spans[:, :1]) & (columns < spans[:, 1:])
    kept = frame.copy()
    cv2.copyTo(plate, inside.view(np.uint8), kept)  # twenty times np.where's speed
    return kept


def save_erased(path: Path, spans: Sequence[NDArray[np.int16]]) -> None:
    """Write the spans of all frames as safetensors."""
    save_file({"spans": np.stack(spans)}, path)


def held_out_count(n_frames: int) -> int:
    """How many of ``n_frames`` are kept for testing (at least one)."""
    return max(1, int(n_frames * HELD_OUT_FRACTION))


def save_audio_features(path: Path, features: AudioFeatures) -> None:
    """Write ``features`` as safetensors."""
    save_file({"mel": features.mel, "visual": features.visual}, path)


def publish(partial: Path, final: Path, manifest: DatasetManifest) -> SubjectDataset:
    """Turn a finished working folder into a dataset in one rename.

    Parts that are not the dataset's are removed; the manifest gets every part's digest.

    Raises:
        DatasetError: a part is missing, or ``final`` exists and is not an older dataset.
    """
    missing = [name for name in PARTS if not (partial / name).is_file()]
    if missing:
        raise DatasetError(f"{partial}: {', '.join(missing)} missing.", reason="DATASET_INCOMPLETE")
    for entry in partial.iterdir():
        if entry.name not in PARTS:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    files = {name: sha256_file(partial / name) for name in PARTS}
    manifest = dataclasses.replace(manifest, files=files)
    (partial / MANIFEST).write_text(manifest.to_json())
    replace_folder(partial, final, MANIFEST)
    return SubjectDataset.open(final)


def replace_folder(partial: Path, final: Path, marker: str) -> None:
    """Rename ``partial`` to ``final``; an older folder holding ``marker`` gives way.

    Raises:
        DatasetError: ``final`` exists and holds something else.
    """
    if final.exists():
        if not (final / marker).is_file():
            raise DatasetError(
                f"{final} exists and was not written by synctalk.",
                reason="OUTPUT_EXISTS",
                remedy="Choose another --out folder.",
            )
        old = final.with_name(final.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        partial.rename(final)
        shutil.rmtree(old)
    else:
        partial.rename(final)


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fields(instance: Tracks) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(instance)
