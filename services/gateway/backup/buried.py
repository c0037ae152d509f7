"""What must not come back: erased avatars and dubs, deleted keys, revoked consents.

Their names are collected with every backup and kept beside them for good. A restore gives no
object of them back, has the gateway erase their records as if it was asked to once more, deletes
the keys and revokes the consents; one that was deleted comes back as a revoked one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from redis.asyncio import Redis

from services.common.errors import NotFound
from services.gateway.auth import lookup_key
from services.gateway.backup.snapshot import Entry
from services.gateway.core import Tables
from services.gateway.erasure_model import ErasureRecord
from services.gateway.model import now_s
from synctalk.errors import InputError

_RECORD = re.compile(r"gw:([^:]+):(key|consent|avatar|dub|upload|erasure|receipt):([^:]+)")
_NAME = re.compile(r"tenants/([^/]+)/(avatars|dubs|keys|consents|uploads)/([^/]+)")
_ERASED = ("erasure", "receipt")
Records = Mapping[tuple[str, str, str], Mapping[str, Any]]
"""By tenant, kind and id."""


def records(entries: Iterable[Entry]) -> Records:
    """Those of a copy that matter here."""
    found = {}
    for each in entries:
        if (match := _RECORD.fullmatch(each.key)) and each.kind == "text":
            found[match[1], match[2], match[3]] = json.loads(each.value)
    return found


def noticed(now: Records, before: Records) -> Iterator[str]:
    """Names of what has been erased, deleted or revoked, also since the backup before."""
    for (tenant, kind, name), record in now.items():
        if kind in _ERASED:
            yield from _erased(tenant, name, record, before, now)
        elif kind == "consent" and record.get("revoked_s") is not None:
            yield f"tenants/{tenant}/consents/{name}"
    for tenant, kind, name in before.keys() - now.keys():
        if kind == "key":
            yield f"tenants/{tenant}/keys/{name}"


def _erased(
    tenant: str, name: str, record: Mapping[str, Any], before: Records, now: Records
) -> Iterator[str]:
    for kind in ("avatar", "dub", "consent"):
        old = before.get((tenant, kind, name))
        if old is None and record.get("collection") != f"{kind}s":
            continue
        yield f"tenants/{tenant}/{kind}s/{name}"
        for upload in uploads(old or record):
            if not now.get((tenant, "upload", upload), {}).get("used_by"):
                yield f"tenants/{tenant}/uploads/{upload}"


def uploads(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of those that an avatar, a dub or an erasure used."""
    named = [record.get(field) for field in ("video", "audio", "background_image")]
    listed = [each for each in named if isinstance(each, str) and each]
    return (*listed, *record.get("uploads", ()))


def prefixes(names: Iterable[str]) -> tuple[str, ...]:
    """What keys of erased things begin with."""
    return tuple(
        f"{name}/" for name in names if name.split("/")[2] in ("avatars", "dubs", "uploads")
    )


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those that an operator gives. Raises :class:`InputError`."""
    found = tuple(filter(None, (name.strip() for name in names)))
    for name in found:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} is no name of something erased, deleted or revoked",
                reason="INVALID_NAME",
                remedy="Give lines such as tenants/acme/avatars/av_…, …/dubs/…, …/keys/… or "
                "…/consents/….",
            )
    return found


async def bury(redis: Redis, names: Iterable[str]) -> list[str]:
    """Undo in a restored Redis what had been undone before; what it was done to."""
    tables = Tables(redis)
    done = []
    for name in names:
        _, tenant, kind, record_id = name.split("/")
        try:
            if kind == "keys":
                record = await tables.keys.get(tenant, record_id)
                await cast(Any, redis.delete(lookup_key(record.digest)))
                await tables.keys.delete(tenant, record_id)
            elif kind == "consents":
                await tables.consents.update(
                    tenant, record_id,
                    lambda old: old if old.revoked_s is not None
                    else old.model_copy(update={"revoked_s": now_s()}),
                )  # fmt: skip
            elif kind == "avatars":
                avatar = await tables.avatars.get(tenant, record_id)
                await _erase(tables, tenant, record_id, "avatars", (avatar.video,))
            elif kind == "dubs":
                dub = await tables.dubs.get(tenant, record_id)
                await _erase(tables, tenant, record_id, "dubs", dub.uploads)
            else:  # uploads go with what used them
                continue
        except NotFound:  # made after the backup, or before all backups
            continue
        done.append(name)
    return done


async def _erase(
    tables: Tables,
    tenant: str,
    record_id: str,
    collection: Literal["avatars", "dubs"],
    used: tuple[str, ...],
) -> None:
    await tables.erasures.create(
        ErasureRecord(
            id=record_id,
            tenant=tenant,
            created_s=now_s(),
            collection=collection,
            uploads=used,
        )
    )
