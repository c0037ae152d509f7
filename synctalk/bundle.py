"""AvatarBundle: a trained avatar on disk (DESIGN §3).

An immutable folder, the only thing the renderer needs::

    manifest.json        schema version, sha256 of every part, settings, metrics, parents
    avatar.safetensors   splats, deformation, driving spaces, lip regressor, source tracks
    source.mp4           the footage that dubbing blends into, at its own resolution
    plates.mp4           its crop without the head

and, so that another background can stand behind the person (avatars made before there was a choice
lack these three)::

    matte.mp4            soft alpha of the person in the footage (8-bit grey, lossless)
    plate_matte.mp4      the same of the plates, where the head is taken out
    background.png       the footage's empty scene, which mattes' soft edges still show

and, for mouths that close over an open one (older avatars lack it, and are dubbed without)::

    torso.mp4            the neck under the jaw, inpainted, and where it replaces the source

The only code that reads or writes these files. Never pickle.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, from_numpy

from synctalk.dataset import FRAMES, PLATES, Crop, SubjectDataset, replace_folder, sha256_file
from synctalk.errors import BundleError
from synctalk.media import VideoPreset, VideoWriter, rgb_to_yuv
from synctalk.media.cuts import longest_shot
from synctalk.media.ordered import ordered_frames
from synctalk.render.torso import Neck, NeckWindow, pack_neck, unpack_neck
from synctalk.tensor_files import checked

SCHEMA_VERSION = 2
"""What this release writes. A fact or part that readers may ignore does not change it: it gets a
default and is left out of older bundles. One that they must understand makes it grow by one, and
the release before must be able to read it already (docs/upgrades.md)."""
READABLE = frozenset({SCHEMA_VERSION})
MANIFEST = "manifest.json"
WEIGHTS = "avatar.safetensors"
SOURCE = "source.mp4"
BUNDLE_PLATES = "plates.mp4"
PARTS = (WEIGHTS, SOURCE, BUNDLE_PLATES)
MATTE = "matte.mp4"
PLATE_MATTE = "plate_matte.mp4"
BACKGROUND = "background.png"
MATTE_PARTS = (MATTE, PLATE_MATTE, BACKGROUND)
TORSO = "torso.mp4"
TORSO_CORNERS = "torso.corners"
"""The tensor that says where in the crop the frames of ``torso.mp4`` lie, [T,2] px."""

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FrameMattes:
    """Soft alpha of the person in one frame, uint8, 255 opaque.

    Args:
        source: [H,W] of the footage; plate: [S,S] of the crop without the head.
    """

    source: Image
    plate: Image


@dataclass(frozen=True)
class Mattes:
    """What stands before the background.

    Args:
        background: [H,W,3] RGB, the empty scene of the footage.
        frames: the mattes of every frame, in order; read once.
    """

    background: Image
    frames: Iterable[FrameMattes]


@dataclass(frozen=True)
class TorsoPlates:
    """The neck under the jaw, restored.

    Args:
        window: where it lies.
        shot: the frames that were restored; in others the source stays.
        frames: picture [h,w,3] RGB and weight [h,w] of the shot's frames, in order; read once.
    """

    window: NeckWindow
    shot: range
    frames: Iterable[tuple[Image, Image]]


@dataclass(frozen=True)
class CurvePoint:
    """Held-out quality at one moment of training."""

    seconds: float
    step: int
    psnr_db: float


@dataclass(frozen=True)
class BundleManifest:
    """The facts of an avatar that are not tensors.

    Args:
        subject: name of the footage it was learnt from.
        source_sha256: digest of that footage.
        consent_id: the consent record it was trained under; None for local use.
        crop, size: the rendered square in source px, and its side as rendered.
        n_frames: frames of the source plates.
        cuts: first frame of every shot of the source but the first.
        lost: source frames in which no face was found; none are named before they were noted.
        window: width, height of the rendered part of the crop, px.
        settings: training configuration.
        metrics: held-out figures measured when training ended.
        training_curve: held-out PSNR while it trained.
        timings_s: seconds per stage of preprocessing and training.
        parents: ids of bundles this one was derived from.
        files: sha256 of every part.
        encoder: version of the audio encoder that its lips were fitted on; "" before it was noted.
    """

    subject: str
    source_sha256: str
    crop: Crop
    size: int
    source_width: int
    source_height: int
    n_frames: int
    cuts: tuple[int, ...]
    window: tuple[int, int]
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    training_curve: tuple[CurvePoint, ...]
    timings_s: Mapping[str, float]
    consent_id: str | None = None
    parents: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    fps: int = 25
    encoder: str = ""
    lost: tuple[int, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def played(self) -> range:
        """Source frames that dubbing plays: the longest run of a shot with a face in each."""
        return longest_shot(self.n_frames, self.cuts, self.lost)

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, where: Path) -> BundleManifest:
        """Parse what ``to_json`` wrote; facts that a later release added are left out.

        Raises:
            BundleError: not JSON, a missing field, or a schema version that this release does not
                read; reason ``BUNDLE_NEWER`` where a later one does.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            _check_version(raw.get("schema_version"), where)
            raw = {each.name: raw[each.name] for each in fields(cls) if each.name in raw}
            raw["crop"] = Crop(**raw["crop"])
            raw["training_curve"] = tuple(CurvePoint(**p) for p in raw["training_curve"])
            for name in {"cuts", "lost", "window", "parents"} & raw.keys():
                raw[name] = tuple(raw[name])
            if any(Path(name).name != name for name in raw.get("files", ())):
                raise ValueError("a part lies in another folder")
            manifest = cls(**raw)
            if not manifest.played:
                raise ValueError("a face in no frame")
            return manifest
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BundleError(
                f"{where}: not an avatar manifest ({error}).",
                reason="BUNDLE_MANIFEST",
                remedy="Train the avatar again.",
            ) from error


def _check_version(version: object, where: Path) -> None:
    if version in READABLE:
        return
    said = f"{where}: schema version {version}, this release reads {sorted(READABLE)}."
    if isinstance(version, int) and version > max(READABLE):
        raise BundleError(
            said,
            reason="BUNDLE_NEWER",
            remedy="Bring this service to the release that made it, or to a later one.",
        )
    raise BundleError(
        said, reason="BUNDLE_VERSION", remedy="Train the avatar again with this release."
    )


@dataclass(frozen=True)
class AvatarBundle:
    """An opened bundle folder: its path and manifest; tensors are loaded on demand."""

    path: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> AvatarBundle:
        """Open a bundle folder.

        Raises:
            BundleError: not a folder, a missing part, or another schema version.
        """
        folder = Path(path)
        manifest_path = folder / MANIFEST
        if not manifest_path.is_file():
            raise BundleError(
                f"{folder} is not an avatar: {MANIFEST} is missing.",
                reason="BUNDLE_NOT_FOUND",
                remedy="Make one with `synctalk train DATASET --out AVATAR`.",
            )
        manifest = BundleManifest.from_json(manifest_path.read_bytes(), manifest_path)
        wanted = dict.fromkeys((*PARTS, *manifest.files))
        missing = [name for name in wanted if not (folder / name).is_file()]
        if missing:
            raise BundleError(
                f"{folder} is incomplete: {', '.join(missing)} missing.",
                reason="BUNDLE_INCOMPLETE",
                remedy="Train the avatar again or copy the whole folder.",
            )
        return cls(folder, manifest)

    @property
    def has_mattes(self) -> bool:
        """Whether another background can stand behind the person."""
        return set(MATTE_PARTS) <= self.manifest.files.keys()

    @property
    def has_torso(self) -> bool:
        """Whether the neck under the jaw was restored."""
        return TORSO in self.manifest.files

    def necks(self, corners: NDArray[np.int32], order: NDArray[np.int64]) -> Iterator[Neck]:
        """The restored necks of source frames in ``order``, which moves by single steps.

        Args:
            corners: the tensor ``torso.corners``.
        """
        packed = ordered_frames(self.path / TORSO, order)
        for index, picture in zip(order, packed, strict=True):
            yield unpack_neck(picture, int(corners[index, 0]), int(corners[index, 1]))

    def background(self) -> Image:
        """The empty scene of the footage, [H,W,3] RGB.

        Raises:
            BundleError: the avatar has no mattes, or the picture is damaged.
        """
        if not self.has_mattes:
            raise BundleError(
                f"{self.path} has no matte of the person.",
                reason="AVATAR_WITHOUT_MATTE",
                remedy="Train the avatar again with this release, or keep the source background.",
            )
        self.verify(BACKGROUND)
        picture = cv2.imread(str(self.path / BACKGROUND), cv2.IMREAD_COLOR)
        assert picture is not None
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name.

        Raises:
            BundleError: the file was changed or damaged.
        """
        self.verify(WEIGHTS)
        tensors: dict[str, Tensor] = load_file(checked(self.path / WEIGHTS))
        return tensors

    def verify(self, *names: str) -> None:
        """Compare parts (all when none is named) with their digests.

        Raises:
            BundleError: a part was changed or damaged.
        """
        for name in names or self.manifest.files:
            if sha256_file(self.path / name) != self.manifest.files.get(name):
                raise BundleError(
                    f"{self.path / name} does not match its checksum.",
                    reason="BUNDLE_DAMAGED",
                    remedy="Copy the bundle again or train the avatar again.",
                )


def write_bundle(
    final: Path,
    manifest: BundleManifest,
    tensors: Mapping[str, Tensor],
    dataset: SubjectDataset,
    mattes: Mattes | None = None,
    torso: TorsoPlates | None = None,
) -> AvatarBundle:
    """Write a bundle beside ``final`` and publish it in one rename."""
    partial = final.with_name(final.name + ".writing")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if torso is not None:
        whole[TORSO_CORNERS] = from_numpy(torso.window.corners)
    save_file(whole, partial / WEIGHTS)
    _link_or_copy(dataset.path / FRAMES, partial / SOURCE)
    _link_or_copy(dataset.path / PLATES, partial / BUNDLE_PLATES)
    names: tuple[str, ...] = PARTS
    if mattes is not None:
        _write_mattes(partial, manifest, mattes)
        names += MATTE_PARTS
    if torso is not None:
        _write_torso(partial, manifest, torso)
        names += (TORSO,)
    files = {name: sha256_file(partial / name) for name in names}
    (partial / MANIFEST).write_text(dataclasses.replace(manifest, files=files).to_json())
    replace_folder(partial, final, MANIFEST)
    return AvatarBundle.open(final)


def _write_mattes(folder: Path, manifest: BundleManifest, mattes: Mattes) -> None:
    whole, grey = (manifest.source_width, manifest.source_height), VideoPreset.GREY_LOSSLESS
    with (
        VideoWriter(folder / MATTE, *whole, preset=grey) as source,
        VideoWriter(folder / PLATE_MATTE, manifest.size, manifest.size, preset=grey) as plate,
    ):
        for frame in mattes.frames:
            source.write_grey(frame.source)
            plate.write_grey(frame.plate)
    written = cv2.imwrite(
        str(folder / BACKGROUND), cv2.cvtColor(mattes.background, cv2.COLOR_RGB2BGR)
    )
    assert written


def _write_torso(folder: Path, manifest: BundleManifest, torso: TorsoPlates) -> None:
    height, width = torso.window.height, torso.window.width
    nothing = (
        rgb_to_yuv(np.zeros((height, width, 3), np.uint8)),
        np.zeros((height, width), np.uint8),
    )
    frames = iter(torso.frames)
    preset = VideoPreset.LOSSLESS
    with VideoWriter(folder / TORSO, width, 2 * height, preset=preset) as writer:
        for index in range(manifest.n_frames):
            if index in torso.shot:
                image, weight = next(frames)
                writer.write_yuv(pack_neck(rgb_to_yuv(image), weight))
            else:
                writer.write_yuv(pack_neck(*nothing))


def _link_or_copy(source: Path, target: Path) -> None:
    """Both artifacts are immutable, so a hard link is as good as a copy where the disk allows."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
