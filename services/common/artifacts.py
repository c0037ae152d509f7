"""Folders in object storage: written whole, named by one reference, verified file by file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from services.common.errors import AlreadyExists, CorruptData
from services.common.storage import ObjectRef, ObjectStore, check_key
from synctalk.errors import InputError

LISTING = "_listing.json"
_PARALLEL = 4


@dataclass(frozen=True)
class ArtifactRef:
    """A stored folder: what its keys begin with, and the listing of its files."""

    prefix: str
    listing: ObjectRef


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size_bytes: int
    sha256: str


class _Listing(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    files: tuple[_File, ...]


def upload_folder(store: ObjectStore, folder: Path, prefix: str) -> ArtifactRef:
    """Store every file of ``folder`` under ``prefix``, and the listing last.

    Nothing refers to what a broken upload leaves behind; sweeping the prefix removes it.

    Raises:
        InputError: a link or a special file in the folder, or a name that cannot be a key.
    """
    check_key(prefix)
    paths = list(_files(folder))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        refs = list(pool.map(lambda path: store.put_file(f"{prefix}/{path}", folder / path), paths))
    files = tuple(
        _File(path=path, size_bytes=ref.size_bytes, sha256=ref.sha256)
        for path, ref in zip(paths, refs, strict=True)
    )
    listing = _Listing(files=files).model_dump_json().encode()
    return ArtifactRef(
        prefix, store.put_bytes(f"{prefix}/{LISTING}", listing, content_type="application/json")
    )


def download_folder(store: ObjectStore, artifact: ArtifactRef, folder: Path) -> None:
    """Write the artifact to ``folder``, which appears whole or not at all.

    Raises:
        AlreadyExists: something is at ``folder``.
        NotFound: the artifact or a file of it is gone.
        CorruptData: a file is not what was stored.
    """
    if folder.exists():
        raise AlreadyExists(f"{folder} exists", reason="FOLDER_EXISTS", remedy="Remove it first.")
    refs = artifact_files(store, artifact)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda item: store.get_file(item[1], partial / item[0]), refs.items()))
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def artifact_files(store: ObjectStore, artifact: ArtifactRef) -> dict[str, ObjectRef]:
    """References to the artifact's files by their paths, for reading only some of them."""
    try:
        listing = _Listing.model_validate_json(store.get_bytes(artifact.listing))
    except ValidationError:
        listing = None
    if listing is None or listing.schema_version != 1:
        raise CorruptData(
            f"{artifact.listing.key} is not a listing that this version reads",
            reason="UNKNOWN_LISTING",
            remedy="Read it with the version that wrote it.",
        )
    return {
        file.path: ObjectRef(f"{artifact.prefix}/{file.path}", file.size_bytes, file.sha256)
        for file in listing.files
    }


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()) or name == LISTING:
            raise InputError(
                f"{path} is a link, a special file or has a reserved name",
                reason="INVALID_ARTIFACT_FILE",
                remedy="Leave only plain files in the folder.",
            )
        if path.is_file():
            yield check_key(name)
