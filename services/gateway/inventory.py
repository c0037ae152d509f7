"""What there is of an avatar, a dub or a consent: objects and records, listed and not remembered.

From these lists come receipts of erasures and exports of what is held about a person.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

from services.common.jobs import Job
from services.common.names import versions_key
from services.gateway.core import Gateway
from services.gateway.erasure_model import ErasedObject, ErasureRecord, Inventory

_PAGE = 200


def name_of(record: ErasureRecord) -> str:
    """Its name between services, and what its keys begin with."""
    return f"tenants/{record.tenant}/{record.collection}/{record.id}"


async def list_all(
    gateway: Gateway, record: ErasureRecord, jobs: list[tuple[str, Job]]
) -> Inventory:
    """Everything of what is to be erased, uploads that nothing else uses included."""
    tenant, name = record.tenant, name_of(record)
    places, keys = [name], [f"gw:{tenant}:{record.collection[:-1]}:{record.id}"]
    for upload_id in record.uploads:
        upload = await gateway.tables.uploads.find(tenant, upload_id)
        others = set(upload.used_by) - {record.id} if upload is not None else set()
        if not others:
            places.append(f"tenants/{tenant}/uploads/{upload_id}")
    for queue, job in jobs:
        if job.publish_as == name:
            base = f"jobs:{{{queue}}}:job:{job.id}"
            keys += (f"gw:{tenant}:job:{job.id}", base, f"{base}:log", f"{base}:attempts")
    keys += (f"gw:{tenant}:job:{record.id}", versions_key(name))
    keys += [f"gw:{tenant}:event:{event}" async for event in events_of(gateway, record)]
    return Inventory(
        objects=await list_objects(gateway, places), records=await _present(gateway, keys)
    )


async def list_again(gateway: Gateway, record: ErasureRecord) -> Inventory:
    """What is left of all that was listed before, looked for in the same places."""
    before = record.inventory
    uploads = {key.key.rsplit("/", 1)[0] for key in before.objects if "/uploads/" in key.key}
    return Inventory(
        objects=await list_objects(gateway, [name_of(record), *sorted(uploads)]),
        records=await _present(gateway, before.records),
    )


async def list_objects(gateway: Gateway, places: list[str]) -> tuple[ErasedObject, ...]:
    """All objects below these prefixes."""
    found = [await asyncio.to_thread(gateway.store.list, place) for place in places]
    return tuple(
        ErasedObject(key=each.key, size_bytes=each.size_bytes)
        for listed in found
        for each in listed
    )


async def _present(gateway: Gateway, keys: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    async with gateway.redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.exists(key)
        there = await cast(Any, pipe.execute())
    return tuple(key for key, found in zip(keys, there, strict=True) if found)


async def avatars_of(gateway: Gateway, tenant: str, consent_id: str) -> AsyncIterator[str]:
    """Ids of avatars that stand on a consent."""
    token = ""
    while True:
        found, token = await gateway.tables.avatars.page(tenant, _PAGE, token)
        for avatar in found:
            if avatar.consent == consent_id:
                yield avatar.id
        if not token:
            return


async def dubs_of(gateway: Gateway, tenant: str, avatar_id: str) -> AsyncIterator[str]:
    """Ids of dubs that an avatar speaks."""
    token = ""
    while True:
        found, token = await gateway.tables.dubs.page(tenant, _PAGE, token)
        for dub in found:
            if dub.avatar == avatar_id:
                yield dub.id
        if not token:
            return


async def dubs_under(gateway: Gateway, tenant: str, consent_id: str) -> AsyncIterator[str]:
    """Ids of dubs that were made under a consent, whether or not their avatar is still there."""
    token = ""
    while True:
        found, token = await gateway.tables.dubs.page(tenant, _PAGE, token)
        for dub in found:
            if dub.consent == consent_id:
                yield dub.id
        if not token:
            return


async def events_of(gateway: Gateway, record: ErasureRecord) -> AsyncIterator[str]:
    """Ids of events about something."""
    token = ""
    while True:
        found, token = await gateway.tables.events.page(record.tenant, _PAGE, token)
        for event in found:
            if json.loads(event.body)["data"].get("id") == record.id:
                yield event.id
        if not token:
            return
