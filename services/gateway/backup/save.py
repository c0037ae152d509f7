"""Make a backup while everything runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from services.common import logs
from services.common.artifacts import LISTING
from services.common.errors import NotFound
from services.common.storage import ObjectStore, StoredObject
from services.gateway.backup.buried import noticed, prefixes, records
from services.gateway.backup.snapshot import Entry, Snapshot, take
from services.gateway.backup.vault import Backup, Kept, Manifest, Vault
from synctalk import __version__

log = logs.logger(__name__)
ROOT = "tenants"
KEEP_S = 30 * 86_400.0
_PARALLEL = 4
Told = Callable[[int, int], None]
"""Called with how many of how many objects are done."""


@dataclass(frozen=True)
class Saved:
    """What came of it.

    Args:
        copied: objects that no earlier backup had; copied_bytes: theirs.
        forgotten: contents that were removed: old ones, and those of what was erased.
    """

    backup: Backup
    copied: int
    copied_bytes: int
    forgotten: int


def save(
    redis: Redis,
    store: ObjectStore,
    vault: Vault,
    keep_s: float = KEEP_S,
    told: Told = lambda done, of: None,
) -> Saved:
    """Copy Redis, then the objects that no earlier backup has; check, publish, forget the old.

    Raises:
        SyncTalkError: Redis or the store cannot be read; no backup has appeared then.
        Conflict: another backup is under way.
    """
    with vault.held():
        return _save(redis, store, vault, keep_s, told)


def _save(redis: Redis, store: ObjectStore, vault: Vault, keep_s: float, told: Told) -> Saved:
    earlier = vault.backups()
    before = records(earlier[-1].entries()) if earlier else {}
    snapshot = take(redis)
    buried = vault.bury(noticed(records(snapshot.entries), before), snapshot.taken_s)
    known = {each.key: each for each in earlier[-1].objects()} if earlier else {}
    objects, copied = _copy(store, vault, known, told)
    backup = vault.write(
        snapshot.taken_s, snapshot.entries, objects.values(), _facts(snapshot, objects, vault)
    )
    forgotten = vault.forget(keep_s, snapshot.taken_s, prefixes(buried))
    log.info("backup made", name=backup.name, objects=len(objects), copied=len(copied))
    return Saved(backup, len(copied), sum(each.size_bytes for each in copied), forgotten)


def _copy(
    store: ObjectStore, vault: Vault, known: Mapping[str, Kept], told: Told
) -> tuple[dict[str, Kept], list[Kept]]:
    """All objects of the bucket by key, and those that were new; what vanishes is left out."""
    listed = store.list(ROOT)
    new = [each for each in listed if not _is_known(each, known.get(each.key), vault)]
    copied: list[Kept] = []
    with TemporaryDirectory(dir=vault.folder, prefix=".copying.") as folder:
        jobs = [(each, Path(folder) / str(number)) for number, each in enumerate(new)]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for done, kept in enumerate(pool.map(lambda job: _take(store, vault, *job), jobs), 1):
                copied += [kept] if kept else []
                told(done, len(new))
    fresh = {each.key: each for each in copied}
    names = {each.key for each in listed} - {each.key for each in new}
    return {key: known[key] for key in sorted(names)} | fresh, copied


def _is_known(found: StoredObject, kept: Kept | None, vault: Vault) -> bool:
    return (
        kept is not None
        and kept.size_bytes == found.size_bytes
        and kept.modified_s == found.modified.timestamp()
        and vault.content(kept.sha256).is_file()
    )


def _take(store: ObjectStore, vault: Vault, found: StoredObject, path: Path) -> Kept | None:
    try:
        ref, content_type = store.fetch(found.key, path)
    except NotFound:  # swept or erased since it was listed
        return None
    vault.take_in(path, ref.sha256)
    modified_s = found.modified.timestamp()
    return Kept(found.key, ref.size_bytes, ref.sha256, content_type, modified_s)


def _facts(snapshot: Snapshot, objects: Mapping[str, Kept], vault: Vault) -> Manifest:
    return Manifest(
        taken_s=snapshot.taken_s,
        release=__version__,
        keys=len(snapshot.entries),
        objects=len(objects),
        bytes=sum(each.size_bytes for each in objects.values()),
        broken=tuple(sorted(_broken(snapshot.entries, objects, vault))),
        files={},
    )


def _broken(entries: Iterable[Entry], objects: Mapping[str, Kept], vault: Vault) -> Iterator[str]:
    """Avatars and dubs of the snapshot whose files are not all here, by their checksums."""
    for (tenant, kind, name), record in records(entries).items():
        if kind not in ("avatar", "dub"):
            continue
        wanted = list(_references(record))
        for each in list(wanted):
            kept = objects.get(each["key"])
            if each["key"].endswith(f"/{LISTING}") and kept is not None:
                wanted += _listed(each["key"], vault.content(kept.sha256))
        if any(not _is_here(each, objects) for each in wanted):
            yield f"tenants/{tenant}/{kind}s/{name}"


def _references(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every reference to an object in a record."""
    if isinstance(value, dict):
        if value.keys() >= {"key", "size_bytes", "sha256"}:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _references(each)


def _listed(key: str, path: Path) -> Iterator[Mapping[str, Any]]:
    folder = key.rpartition("/")[0]
    for file in json.loads(path.read_bytes())["files"]:
        yield {**file, "key": f"{folder}/{file['path']}"}


def _is_here(reference: Mapping[str, Any], objects: Mapping[str, Kept]) -> bool:
    kept = objects.get(reference["key"])
    return kept is not None and kept.sha256 == reference["sha256"]
