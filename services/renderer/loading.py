"""An avatar from object storage to memory."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.common.artifacts import ArtifactRef, artifact_files, download_folder
from services.common.errors import NotFound
from services.common.storage import ObjectStore
from services.renderer.cache import Size
from synctalk.avatar import Avatar
from synctalk.bundle import MANIFEST, WEIGHTS, BundleManifest

# Tensors are kept as stored, and the deformation once more in the form that renders.
_MEMORY_FACTOR = 2
_BASE_BYTES = 8 << 20


@dataclass(frozen=True)
class LoadedAvatar:
    """An avatar in memory and the folder of its footage."""

    avatar: Avatar
    folder: Path
    size: Size
    gaussian_count: int


def read_manifest(store: ObjectStore, bundle: ArtifactRef) -> BundleManifest:
    """The manifest alone.

    Raises:
        NotFound: the artifact is gone, or is not a bundle.
        BundleError: of another version.
    """
    ref = artifact_files(store, bundle).get(MANIFEST)
    if ref is None:
        raise NotFound(
            f"{bundle.prefix} is not an avatar bundle",
            reason="NOT_A_BUNDLE",
            remedy="Name the bundle of a version of an avatar.",
        )
    return BundleManifest.from_json(store.get_bytes(ref).decode(), Path(bundle.prefix) / MANIFEST)


def expected_size(store: ObjectStore, bundle: ArtifactRef) -> Size:
    """What the avatar will take, from the sizes of its files."""
    files = artifact_files(store, bundle)
    weights = files[WEIGHTS].size_bytes if WEIGHTS in files else 0
    return Size(
        _BASE_BYTES + _MEMORY_FACTOR * weights, sum(ref.size_bytes for ref in files.values())
    )


def load_avatar(
    store: ObjectStore, bundle: ArtifactRef, folder: Path, device: str, size: Size
) -> LoadedAvatar:
    """Download the bundle below ``folder`` and prepare it.

    Raises:
        NotFound, CorruptData: the artifact is gone or damaged.
        BundleError: it is not a bundle that this release reads.
    """
    place = Path(tempfile.mkdtemp(dir=folder)) / "bundle"
    try:
        download_folder(store, bundle, place)
        avatar = Avatar.load(place, device)
        count = len(avatar.deform(avatar.source[slice(0, 1)])[0])
    except BaseException:
        shutil.rmtree(place.parent, ignore_errors=True)
        raise
    return LoadedAvatar(avatar, place, size, count)


def discard_avatar(loaded: LoadedAvatar) -> None:
    """Remove its footage; the memory goes with the last reference."""
    shutil.rmtree(loaded.folder.parent, ignore_errors=True)
