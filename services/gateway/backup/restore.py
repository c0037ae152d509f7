"""Fill an empty installation from a backup, before its services start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from services.common import logs
from services.common.errors import CorruptData, FailedPrecondition
from services.common.jobs import connect
from services.common.storage import ObjectStore
from services.gateway.backup.buried import bury, check_names, prefixes
from services.gateway.backup.save import ROOT, Told
from services.gateway.backup.snapshot import OURS, ours, put
from services.gateway.backup.vault import Backup, Kept, Vault

log = logs.logger(__name__)
_UNFINISHED = "gw:restoring"
_PARALLEL = 4


@dataclass(frozen=True)
class Restored:
    """What came of it.

    Args:
        left_out: objects that stay away because what they were of was erased.
        buried: what is erased, deleted or revoked once more.
    """

    backup: Backup
    keys: int
    objects: int
    left_out: int
    buried: tuple[str, ...]


def restore(
    redis: Redis,
    redis_url: str,
    store: ObjectStore,
    vault: Vault,
    gone: Iterable[str],
    name: str = "",
    told: Told = lambda done, of: None,
) -> Restored:
    """Objects first, Redis last: nobody sees a record whose files are still on their way.

    One that was broken off is taken up by calling it again.

    Args:
        gone: names of what was erased, deleted or revoked after the newest backup.
        name: of the backup; empty: the newest.

    Raises:
        FailedPrecondition: the installation is not empty.
        CorruptData: the backup is damaged.
        InputError: a name in ``gone`` is none.
        Conflict: a backup is under way.
    """
    with vault.held():
        return _restore(redis, redis_url, store, vault, check_names(gone), name, told)


def _restore(
    redis: Redis,
    redis_url: str,
    store: ObjectStore,
    vault: Vault,
    gone: Iterable[str],
    name: str,
    told: Told,
) -> Restored:
    backup = vault.backup(name)
    entries, objects = backup.entries(), backup.objects()
    buried = vault.bury(gone, backup.manifest.taken_s)
    erased = prefixes(buried)
    wanted = [each for each in objects if not each.key.startswith(erased)]
    _begin(redis)
    store.ensure_bucket()
    _fill(store, vault, wanted, told)
    keys = put(redis, entries, _now_s(redis))
    done = asyncio.run(_bury(redis_url, buried))
    redis.delete(_UNFINISHED)
    log.info("restored", name=backup.name, keys=keys, objects=len(wanted), buried=len(done))
    return Restored(backup, keys, len(wanted), len(objects) - len(wanted), tuple(done))


def _begin(redis: Redis) -> None:
    if redis.exists(_UNFINISHED):
        doomed = [key for key in ours(redis) if key.decode() != _UNFINISHED]
        if doomed:
            redis.delete(*doomed)
    elif next(ours(redis), None) is not None:
        raise FailedPrecondition(
            f"Redis already has keys that begin with {' or '.join(OURS)}",
            reason="NOT_EMPTY",
            remedy="Restore into a new installation, or into this one when it was emptied.",
        )
    redis.set(_UNFINISHED, "1")


def _fill(store: ObjectStore, vault: Vault, wanted: list[Kept], told: Told) -> None:
    there = {each.key: each.size_bytes for each in store.list(ROOT)}
    foreign = there.keys() - {each.key for each in wanted}
    if foreign:
        raise FailedPrecondition(
            f"bucket {store.bucket} has {len(foreign)} objects that the backup does not have, "
            f"{min(foreign)} for one",
            reason="NOT_EMPTY",
            remedy="Restore into an empty bucket.",
        )

    def give(kept: Kept) -> None:
        # Those of a restore that was broken off are there.
        is_there = there.get(kept.key) == kept.size_bytes
        if not (is_there and store.reference(kept.key).sha256 == kept.sha256):
            _put(store, vault, kept)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for done, _ in enumerate(pool.map(give, wanted), 1):
            told(done, len(wanted))


def _put(store: ObjectStore, vault: Vault, kept: Kept) -> None:
    path = vault.content(kept.sha256)
    if not path.is_file():
        raise _damaged(kept, "is missing")
    if store.put_file(kept.key, path, kept.content_type).sha256 != kept.sha256:
        store.delete(kept.key)
        raise _damaged(kept, "does not match its checksum")


def _damaged(kept: Kept, what: str) -> CorruptData:
    return CorruptData(
        f"the content of {kept.key} {what} in the backup",
        reason="BACKUP_DAMAGED",
        remedy="Bring objects/ back from another copy of the folder.",
    )


def _now_s(redis: Redis) -> float:
    """By the clock that keys expire by."""
    seconds, micros = cast(Any, redis.time())
    return float(seconds) + float(micros) / 1e6


async def _bury(redis_url: str, names: Iterable[str]) -> list[str]:
    async with connect(redis_url) as redis:
        return await bury(redis, names)
