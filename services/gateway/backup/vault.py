"""A folder of backups.

``objects/ab/ab12…``    contents by their SHA-256: what backups or keys share lies there once
``backups/{moment}/``   one backup: ``redis.jsonl.gz``, ``objects.jsonl.gz``, ``manifest.json``
``buried.json``         what was erased, deleted or revoked: names and when that was noticed

A backup appears by a rename, when it is whole. Readable by its owner only: it holds what users
uploaded. It is not encrypted; let the volume do that.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.common.errors import Conflict, CorruptData, NotFound
from services.gateway.backup.snapshot import Entry

SCHEMA_VERSION = 1
_MOMENT = "%Y%m%dT%H%M%SZ"
_REDIS, _OBJECTS, _MANIFEST, _BURIED = (
    "redis.jsonl.gz", "objects.jsonl.gz", "manifest.json", "buried.json",
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """An object as it was in the bucket."""

    key: str
    size_bytes: int
    sha256: str
    content_type: str
    modified_s: float


@dataclass(frozen=True)
class Manifest:
    """What a backup is.

    Args:
        taken_s: the moment of Redis, by its clock; objects were copied after it.
        files: SHA-256 of the backup's own two files.
        broken: resources that were ready at that moment and whose files are not all here.
    """

    taken_s: float
    release: str
    keys: int
    objects: int
    bytes: int
    broken: tuple[str, ...]
    files: Mapping[str, str]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Backup:
    """A whole backup in its folder."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The moment it was taken."""
        return self.folder.name

    def entries(self) -> list[Entry]:
        """Redis. Raises :class:`CorruptData`."""
        return [Entry.from_line(line) for line in self._lines(_REDIS)]

    def objects(self) -> list[Kept]:
        """The bucket. Raises :class:`CorruptData`."""
        return [Kept(**json.loads(line)) for line in self._lines(_OBJECTS)]

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        if not path.is_file() or _sha256(path) != self.manifest.files.get(name):
            raise CorruptData(
                f"{path} is not what was written",
                reason="BACKUP_DAMAGED",
                remedy="Restore an earlier backup: --at.",
            )
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return file.read().splitlines()


class Vault:
    """The folder; made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("objects", "backups"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Alone with it, and without what a killed one has left.

        Raises:
            Conflict: another backup or restore is under way.
        """
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"another backup or restore is under way in {self.folder}",
                    reason="BACKUP_UNDER_WAY",
                    remedy="Wait for its end.",
                ) from None
            for left in (*self.folder.glob(".copying.*"), *self.folder.glob("backups/.*.part")):
                shutil.rmtree(left)
            yield

    def content(self, sha256: str) -> Path:
        """Where the content of this digest lies, or would."""
        return self.folder / "objects" / sha256[:2] / sha256

    def take_in(self, path: Path, sha256: str) -> None:
        """Keep a file of this folder as the content of this digest."""
        place = self.content(sha256)
        place.parent.mkdir(exist_ok=True)
        path.replace(place)

    def backups(self) -> list[Backup]:
        """All, oldest first. Raises :class:`CorruptData` at one of a later release."""
        found = sorted((self.folder / "backups").glob(f"[0-9]*Z/{_MANIFEST}"))
        return [_open(path) for path in found]

    def backup(self, name: str = "") -> Backup:
        """The one of this name, or the newest. Raises :class:`NotFound`."""
        found = [each for each in self.backups() if name in ("", each.name)]
        if not found:
            raise NotFound(
                f"no backup {name} in {self.folder}".replace("  ", " "),
                reason="BACKUP_NOT_FOUND",
                remedy="Name the folder that `backup` was given, and one of its backups.",
            )
        return found[-1]

    def write(
        self, taken_s: float, entries: Iterable[Entry], objects: Iterable[Kept], facts: Manifest
    ) -> Backup:
        """Publish a backup; ``facts`` lacks only the digests of its files."""
        name = datetime.fromtimestamp(taken_s, UTC).strftime(_MOMENT)
        final, partial = (self.folder / "backups" / each for each in (name, f".{name}.part"))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write_lines(partial / _REDIS, (each.to_line() for each in entries))
        _write_lines(partial / _OBJECTS, (json.dumps(asdict(each)) for each in objects))
        digests = {each: _sha256(partial / each) for each in (_REDIS, _OBJECTS)}
        text = json.dumps({**asdict(facts), "files": digests}, indent=1)
        (partial / _MANIFEST).write_text(text + "\n")
        shutil.rmtree(final, ignore_errors=True)  # of the same second
        partial.rename(final)
        return _open(final / _MANIFEST)

    def buried(self) -> dict[str, float]:
        """Names of what must not come back, and when that was noticed."""
        path = self.folder / _BURIED
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    def bury(self, names: Iterable[str], now_s: float) -> dict[str, float]:
        """Note more of them; all of them."""
        known = self.buried()
        known |= {name: now_s for name in sorted(set(names) - known.keys())}
        partial = self.folder / f".{_BURIED}.part"
        with partial.open("w") as file:
            json.dump(known, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / _BURIED)
        return known

    def forget(self, keep_s: float, now_s: float, erased: tuple[str, ...]) -> int:
        """Remove old backups but the newest, and contents that none needs; how many contents.

        Args:
            erased: prefixes of keys; contents that only such keys have are removed at once.
        """
        every = self.backups()
        for each in every[:-1]:
            if each.manifest.taken_s < now_s - keep_s:
                shutil.rmtree(each.folder)
        needed = {
            kept.sha256
            for each in self.backups()
            for kept in each.objects()
            if not kept.key.startswith(erased)
        }
        doomed = [path for path in self.folder.glob("objects/*/*") if path.name not in needed]
        for path in doomed:
            path.unlink()
        return len(doomed)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as file:
        file.writelines(line + "\n" for line in lines)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: Path) -> Backup:
    raw = json.loads(path.read_text())
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise CorruptData(
            f"{path}: a backup of version {raw.get('schema_version')}, this release reads "
            f"{SCHEMA_VERSION}",
            reason="BACKUP_VERSION",
            remedy="Use the release that wrote it.",
        )
    return Backup(path.parent, Manifest(**{**raw, "broken": tuple(raw["broken"])}))
