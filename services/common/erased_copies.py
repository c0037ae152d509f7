"""Copies on a worker's disk of what was erased: they go, too, as soon as their worker looks.

Workers keep footage and datasets for the next attempt or the next training. Each such folder says
whose it is; every few seconds its worker asks which of those were erased since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from redis import Redis

from services.common.consents import erasure_keys
from services.common.jobs.connect import connect_worker
from services.common.work_folders import WorkFolders

LOOK_S = 5.0
GONE_WITHIN_S = 60.0
"""After an erasure no worker that runs has a copy any more; one that is down looks when it starts.

A folder in use goes when its job has stopped, which takes as long as a cancelled job may."""


class ErasedCopies:
    """Keeps the disk of a worker clean; call it every :data:`LOOK_S`.

    Args:
        folders: each with the seconds that it keeps what nobody touches.
    """

    def __init__(self, redis_url: str, folders: Sequence[tuple[WorkFolders, float]]) -> None:
        self._redis = connect_worker(redis_url)
        self._folders = folders

    def __call__(self) -> None:
        """Remove what is old or erased, unless it is in use. Raises :class:`RedisError`."""
        for folders, keep_s in self._folders:
            folders.tidy(keep_s)
            owners = folders.owners()
            erased = erased_names(self._redis, {name for of in owners.values() for name in of})
            for folder, of in owners.items():
                if of and of <= erased:  # the same content may be another's, who is still there
                    folders.remove(folder)


def erased_names(redis: Redis, names: Iterable[str]) -> set[str]:
    """Those of ``tenants/{tenant}/{collection}/{id}`` that are being, or were, erased."""
    parts = [(name, name.split("/")) for name in names]
    asked = [(name, erasure_keys(part[1], part[3])) for name, part in parts if len(part) == 4]
    keys = [key for _, pair in asked for key in pair]
    found = cast(Any, redis.mget(keys)) if keys else []
    return {name for n, (name, _) in enumerate(asked) if any(found[2 * n : 2 * n + 2])}
