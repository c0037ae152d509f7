"""The audit log: who did what, append-only, each entry chained to the one before.

A tenant's entries are a Redis stream ``gw:{tenant}:audit`` whose ids count from 1 without a gap.
An entry's digest is the SHA-256 of its canonical JSON, which holds the digest of its predecessor:
changing, dropping or inserting one breaks the chain from there on. Whoever notes the newest digest
elsewhere from time to time can prove that nothing before it was rewritten, not even by somebody
who can write to the database.

Entries are written before what they tell is done, so nothing is done that is not in the log.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common import logs
from services.common.audit_chain import GENESIS, digest_of_entry

_BATCH = 200

# KEYS: stream. ARGV: id of its expected end, then ids and entries in turn.
# Reply: '' or, where the end is another one, its entry.
_APPEND = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (last and last[1] or '0-0') ~= ARGV[1] then return last and last[2][2] or '{}' end
for at = 2, #ARGV, 2 do redis.call('XADD', KEYS[1], ARGV[at], 'entry', ARGV[at + 1]) end
return ''
"""


class AuditEntry(BaseModel):
    """Something that was done, or refused.

    Args:
        number: from 1, without a gap.
        actor: id of the key, or whom the token's issuer names.
        resource: e.g. ``consents/con_…``.
        detail: what else matters; never a secret, never a person's name.
        previous: digest of the entry before.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    at_s: float
    tenant: str
    actor: str
    action: str
    resource: str
    detail: dict[str, str]
    request_id: str
    previous: str
    digest: str = ""

    def sealed(self) -> AuditEntry:
        """With its digest."""
        return self.model_copy(update={"digest": digest_of_entry(self.model_dump())})


class Audit:
    """Appends to the logs of tenants; what comes together is written together."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._append_script = redis.register_script(_APPEND)
        self._waiting: dict[str, list[tuple[AuditEntry, asyncio.Future[None]]]] = {}
        self._ends: dict[str, tuple[int, str]] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def note(
        self, tenant: str, actor: str, action: str, resource: str, **detail: str
    ) -> None:
        """Append an entry; returns when Redis has it."""
        entry = AuditEntry(
            number=0, at_s=round(time.time(), 3), tenant=tenant, actor=actor, action=action,
            resource=resource, detail=detail, request_id=logs.request_id(), previous="",
        )  # fmt: skip
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, []).append((entry, written))
        if tenant not in self._writing:
            self._writing[tenant] = asyncio.create_task(self._write(tenant))
        await written

    async def page(self, tenant: str, after: int, limit: int) -> list[AuditEntry]:
        """Entries from number ``after + 1`` on, oldest first."""
        rows = await cast(Any, self._redis.xrange(_key(tenant), f"{after + 1}-0", "+", count=limit))
        return [AuditEntry.model_validate_json(fields["entry"]) for _, fields in rows]

    async def _write(self, tenant: str) -> None:
        try:
            while batch := self._waiting.get(tenant, [])[:_BATCH]:
                del self._waiting[tenant][: len(batch)]
                try:
                    await self._append(tenant, [entry for entry, _ in batch])
                except (RedisError, ValueError) as error:
                    _settle(batch, error)
                else:
                    _settle(batch, None)
        finally:
            del self._writing[tenant]
            self._waiting.pop(tenant, None)

    async def _append(self, tenant: str, entries: list[AuditEntry]) -> None:
        number, digest = self._ends.get(tenant, (0, GENESIS))
        while True:
            sealed: list[AuditEntry] = []
            for entry in entries:
                place = {"number": number + len(sealed) + 1, "previous": digest}
                sealed.append(entry.model_copy(update=place).sealed())
                digest = sealed[-1].digest
            arguments = [f"{number}-0"]
            for each in sealed:
                arguments += (f"{each.number}-0", each.model_dump_json())
            end = await cast(Any, self._append_script(keys=[_key(tenant)], args=arguments))
            if not end:
                self._ends[tenant] = (sealed[-1].number, digest)
                return
            # Another process was first, or this one has just begun.
            found = AuditEntry.model_validate_json(end) if end != "{}" else None
            number, digest = (found.number, found.digest) if found else (0, GENESIS)


def _settle(batch: list[tuple[AuditEntry, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, written in batch:
        if written.done():  # whoever noted it has gone
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)


def _key(tenant: str) -> str:
    return f"gw:{tenant}:audit"
