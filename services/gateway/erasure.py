"""Erasing avatars, dubs and consents, with everything that was made for them.

What is to be erased is written down first; then the resource is gone for its owner, and the
reconciler goes on until everything is, whatever dies in between. All that there is, objects and
records, is listed before anything is deleted, and looked for afterwards: that is the receipt, which
is kept. Its places are swept once more some time later, for workers that had lost their job and
wrote on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal, cast

from services.common.errors import FailedPrecondition, NotFound
from services.common.jobs import Job
from services.common.names import versions_key
from services.gateway import uploads
from services.gateway.core import Gateway
from services.gateway.erasure_model import Erased, ErasureRecord, Inventory, ReceiptRecord
from services.gateway.inventory import (
    avatars_of,
    dubs_of,
    dubs_under,
    events_of,
    list_again,
    list_all,
    name_of,
)
from services.gateway.model import now_s
from services.gateway.records import Table
from services.gateway.views import View

_ASKED_S = 25.0
_STOPPING_S = 20.0
_LOOK_S = 0.2
_PAGE = 200


class Erasure(View):
    """What was erased; not all of it yet where the state is `erasing`."""

    id: str
    state: Literal["erasing", "erased"]
    erased: Erased


async def erase_avatar(
    gateway: Gateway, tenant: str, avatar_id: str, *, with_dubs: bool
) -> Erasure:
    """Erase an avatar, and its dubs if wanted; waits a while for the end of it.

    Raises:
        NotFound: there is no such avatar, or it was erased long ago.
    """
    return await finished(
        gateway, await begin_avatar(gateway, tenant, avatar_id, with_dubs=with_dubs)
    )


async def begin_avatar(
    gateway: Gateway, tenant: str, avatar_id: str, *, with_dubs: bool, why: str = "request"
) -> ErasureRecord:
    """Have an avatar erased. Raises :class:`NotFound`."""
    record = await gateway.tables.erasures.find(tenant, avatar_id)
    if record is None:
        avatar = await gateway.tables.avatars.get(tenant, avatar_id)
        dubs = [dub async for dub in dubs_of(gateway, tenant, avatar_id)] if with_dubs else []
        record = await _begin(gateway, tenant, avatar_id, "avatars", (avatar.video,), dubs, why)
    return record


async def erase_consent(gateway: Gateway, tenant: str, consent_id: str) -> Erasure:
    """Erase a consent with its evidence; waits a while for the end of it.

    Raises:
        NotFound: there is no such consent.
        FailedPrecondition: something stands on it.
    """
    record = await gateway.tables.erasures.find(tenant, consent_id)
    if record is None:
        consent = await gateway.tables.consents.get(tenant, consent_id)
        for kind, standing in (
            ("avatars", avatars_of(gateway, tenant, consent_id)),
            ("dubs", dubs_under(gateway, tenant, consent_id)),
        ):
            if any([True async for _ in standing]):
                raise FailedPrecondition(
                    f"{kind} stand on consent {consent_id}",
                    reason="CONSENT_IN_USE",
                    remedy="Revoke it, which erases them, or delete them; then delete the consent.",
                )
        record = await _begin(gateway, tenant, consent_id, "consents", consent.uploads)
    return await finished(gateway, record)


async def erase_dub(gateway: Gateway, tenant: str, dub_id: str) -> Erasure:
    """Erase a dub; waits a while for the end of it. Raises :class:`NotFound`."""
    return await finished(gateway, await begin_dub(gateway, tenant, dub_id))


async def begin_dub(
    gateway: Gateway, tenant: str, dub_id: str, *, why: str = "request"
) -> ErasureRecord:
    """Have a dub erased. Raises :class:`NotFound`."""
    record = await gateway.tables.erasures.find(tenant, dub_id)
    if record is None:
        dub = await gateway.tables.dubs.get(tenant, dub_id)
        record = await _begin(gateway, tenant, dub_id, "dubs", dub.uploads, (), why)
    return record


async def _begin(
    gateway: Gateway,
    tenant: str,
    record_id: str,
    collection: Literal["avatars", "dubs", "consents"],
    used: Iterable[str],
    dubs: Iterable[str] = (),
    why: str = "request",
) -> ErasureRecord:
    record = ErasureRecord(
        id=record_id, tenant=tenant, created_s=now_s(), collection=collection,
        uploads=tuple(used), dubs=tuple(dubs), why=why,
        inventory=Inventory(records=(f"gw:{tenant}:{collection[:-1]}:{record_id}",)),
    )  # fmt: skip
    return await gateway.tables.erasures.create(record)


async def finished(gateway: Gateway, record: ErasureRecord) -> Erasure:
    """Whoever's turn it is does the work; here one waits for it, so that nothing counts twice."""
    changed = asyncio.Event()
    tenant, record_id = record.tenant, record.id
    with (
        contextlib.suppress(TimeoutError, NotFound),
        gateway.changes.subscribe(record.member, changed.set),
    ):
        async with asyncio.timeout(_ASKED_S):
            while record.done_s is None:
                changed.clear()
                record = await gateway.tables.erasures.get(tenant, record_id)
                if record.done_s is None:
                    await changed.wait()
    state: Literal["erasing", "erased"] = "erasing" if record.done_s is None else "erased"
    return Erasure(id=record_id, state=state, erased=record.erased)


class Eraser:
    """Looks at erasures."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._tables = gateway.tables

    async def look(self, record: ErasureRecord) -> float:
        """Erase what is left; seconds until the next look where something still runs."""
        await self._table(record).delete(record.tenant, record.id)
        children = await self._children(record)
        jobs = await self._jobs(record)
        if children is None or not await self._stopped(jobs):
            return _LOOK_S
        if not record.listed:  # before anything is deleted: whoever goes on knows of it
            found = await list_all(self._gateway, record, jobs)
            await self._update(record, inventory=record.inventory + found, listed=True)
            return 0.0
        erased = await self._erase(record, jobs)
        if record.done_s is not None:
            await self._tables.erasures.delete(record.tenant, record.id)
            return 0.0
        objects = record.inventory.objects
        sizes = sum(each.size_bytes for each in objects)
        erased += children + Erased(objects=len(objects), bytes=sizes)
        await self._write_receipt(record, erased)
        again_s = now_s() + self._gateway.settings.erasure_again_s
        await self._update(record, erased=erased, done_s=now_s(), again_s=again_s)
        return 0.0

    async def _update(self, record: ErasureRecord, **changes: object) -> ErasureRecord:
        return await self._tables.erasures.update(
            record.tenant, record.id, lambda old: old.model_copy(update=changes)
        )

    def _table(self, record: ErasureRecord) -> Table[Any]:
        tables: dict[str, Table[Any]] = {
            "avatars": self._tables.avatars, "dubs": self._tables.dubs,
            "consents": self._tables.consents,
        }  # fmt: skip
        return tables[record.collection]

    async def _write_receipt(self, record: ErasureRecord, erased: Erased) -> None:
        """What a listing of the same places still finds stands in it, should there be anything."""
        if await self._tables.receipts.find(record.tenant, record.id) is not None:
            return  # another look was first
        left = await list_again(self._gateway, record)
        await self._gateway.audit.note(
            record.tenant, "system", "erase", f"{record.collection}/{record.id}",
            why=record.why, objects=str(len(record.inventory.objects)),
            records=str(len(record.inventory.records)),
            left=str(len(left.objects) + len(left.records)),
        )  # fmt: skip
        await self._tables.receipts.create(
            ReceiptRecord(
                id=record.id, tenant=record.tenant, created_s=now_s(), why=record.why,
                collection=record.collection, begun_s=record.created_s,
                inventory=record.inventory, left=left, erased=erased,
            )
        )  # fmt: skip

    async def _children(self, record: ErasureRecord) -> Erased | None:
        """What was erased of dubs that go with an avatar; None while that goes on."""
        if record.done_s is not None:
            return Erased()
        total = Erased(dubs=len(record.dubs))
        for dub_id in record.dubs:
            child = await self._tables.erasures.find(record.tenant, dub_id)
            if child is None and (
                receipt := await self._tables.receipts.find(record.tenant, dub_id)
            ):
                total += receipt.erased
                continue
            if child is None:
                dub = await self._tables.dubs.find(record.tenant, dub_id)
                if dub is None:
                    continue
                child = await _begin(
                    self._gateway, record.tenant, dub_id, "dubs", dub.uploads, (), record.why
                )
            if child.done_s is None:
                return None
            total += child.erased
        return total

    async def _jobs(self, record: ErasureRecord) -> list[tuple[str, Job]]:
        """Its jobs, also those that no record names; and unfinished dubs of an erased avatar."""
        name = f"tenants/{record.tenant}/{record.collection}/{record.id}"
        if record.collection == "consents":
            return []
        if record.collection == "dubs":
            with contextlib.suppress(NotFound):
                return [("dub", await self._gateway.dub_queue.get(record.id))]
            return []
        found = [
            (queue, job)
            for queue in ("preprocess", "train")
            async for job in self._all_jobs(queue, record.tenant)
            if job.publish_as == name
        ]
        for dub_id in await self._tables.dubs.open_ids(record.tenant):
            dub = await self._tables.dubs.find(record.tenant, dub_id)
            if dub is not None and dub.avatar == record.id:
                with contextlib.suppress(NotFound):
                    found.append(("dub", await self._gateway.dub_queue.get(dub_id)))
        return found

    async def _stopped(self, jobs: list[tuple[str, Job]]) -> bool:
        """Cancel all and wait until none runs."""
        for queue, job in jobs:
            with contextlib.suppress(NotFound):
                await self._gateway.queues[queue].cancel(job.id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOPPING_S):
                for queue, job in jobs:
                    while await self._runs(queue, job.id):
                        await asyncio.sleep(_LOOK_S)
                return True
        return False

    async def _runs(self, queue: str, job_id: str) -> bool:
        try:
            return not (await self._gateway.queues[queue].get(job_id)).state.terminal
        except NotFound:
            return False

    async def _erase(self, record: ErasureRecord, jobs: list[tuple[str, Job]]) -> Erased:
        """Delete what there is; of what it counts jobs and uploads."""
        name = name_of(record)
        await asyncio.to_thread(self._gateway.store.delete_prefix, name)
        erased = Erased()
        for upload_id in record.uploads:
            erased += await self._erase_upload(record, upload_id)
        own = [(queue, job) for queue, job in jobs if job.publish_as == name]
        for queue, job in own:
            with contextlib.suppress(FailedPrecondition):  # queued again by somebody: next time
                await self._gateway.queues[queue].delete(job.id)
            await self._tables.jobs.delete(record.tenant, job.id)
        await self._tables.jobs.delete(record.tenant, record.id)  # of a dub that was never queued
        await cast(Any, self._gateway.redis.delete(versions_key(name)))
        for each in self._gateway.queues.values():
            await each.unpublish(name)
        async for event in events_of(self._gateway, record):
            await self._tables.events.delete(record.tenant, event)
        return erased + Erased(jobs=len(own))

    async def _erase_upload(self, record: ErasureRecord, upload_id: str) -> Erased:
        """Its own uploads, unless something else uses them."""
        free = await uploads.release(self._gateway, record.tenant, upload_id, record.id)
        if free is None or free.state == "expired":
            return Erased()
        prefix = f"tenants/{record.tenant}/uploads/{upload_id}"
        await asyncio.to_thread(self._gateway.store.delete_prefix, prefix)
        # Its URL may take bytes until then; the sweep looks again. Its name may be a person's.
        await self._tables.uploads.update(
            record.tenant, upload_id,
            lambda old: old if old.used_by else old.model_copy(
                update={"state": "expired", "delete_s": old.expires_s, "filename": "erased"}
            ),
        )  # fmt: skip
        return Erased(uploads=1)

    async def _all_jobs(self, queue: str, tenant: str) -> AsyncIterator[Job]:
        token = ""
        while True:
            page = await self._gateway.queues[queue].list(tenant, limit=_PAGE, token=token)
            for job in page.jobs:
                yield job
            token = page.next_token
            if not token:
                return
