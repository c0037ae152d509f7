"""An avatar from object storage to memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.common.artifacts import ArtifactRef, artifact_files, download_folder
from services.common.errors import NotFound, Unavailable
from services.common.storage import ObjectStore
from services.renderer.cache import Size
from synctalk.avatar import Avatar
from synctalk.bundle import MANIFEST, WEIGHTS, BundleManifest
from synctalk.errors import BundleError

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


@contextmanager
def newer_goes_elsewhere() -> Iterator[None]:
    """While releases are side by side, one replica's refusal is not the last word.

    Raises:
        Unavailable: the bundle is of a later release, which other replicas may be.
    """
    try:
        yield
    except BundleError as error:
        if error.reason != "BUNDLE_NEWER":
            raise
        raise Unavailable(error.message, reason=error.reason, remedy=error.remedy) from None


def read_manifest(store: ObjectStore, bundle: ArtifactRef) -> BundleManifest:
    """The manifest alone.

    Raises:
        NotFound: the artifact is gone, or is not a bundle.
        BundleError: of a version that is not read any more.
        Unavailable: of a later one.
    """
    ref = artifact_files(store, bundle).get(MANIFEST)
    if ref is None:
        raise NotFound(
            f"{bundle.prefix} is not an avatar bundle",
            reason="NOT_A_BUNDLE",
            remedy="Name the bundle of a version of an avatar.",
        )
    text = store.get_bytes(ref).decode()
    with newer_goes_elsewhere():
        return BundleManifest.from_json(text, Path(bundle.prefix) / MANIFEST)


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
        Unavailable: nor is this release new enough for it.
    """
    place = Path(tempfile.mkdtemp(dir=folder)) / "bundle"
    try:
        download_folder(store, bundle, place)
        with newer_goes_elsewhere():
            avatar = Avatar.load(place, device)
        count = len(avatar.deform(avatar.source[slice(0, 1)])[0])
    except BaseException:
        shutil.rmtree(place.parent, ignore_errors=True)
        raise
    return LoadedAvatar(avatar, place, size, count)


def discard_avatar(loaded: LoadedAvatar) -> None:
    """Remove its footage; the memory goes with the last reference."""
    shutil.rmtree(loaded.folder.parent, ignore_errors=True)
