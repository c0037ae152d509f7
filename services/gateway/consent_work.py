"""What happens when a consent is revoked: everything that stands on it is erased.

That it stands no more is true from the moment in which its record says so: trainers and renderers
ask for themselves. Here the rest follows, whatever dies in between.
"""

from __future__ import annotations

import contextlib

from services.common.errors import NotFound
from services.gateway import uploads
from services.gateway.core import Gateway
from services.gateway.erasure import begin_avatar, begin_dub
from services.gateway.events import emit
from services.gateway.inventory import avatars_of, dubs_under
from services.gateway.model import ConsentRecord, now_s

_LOOK_S = 0.5


class ConsentWork:
    """Looks at revoked consents."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def look(self, record: ConsentRecord) -> float:
        """Have its avatars erased; seconds until the next look while that goes on.

        The erasure of an avatar takes the record away first, which ends its live sessions, and
        cancels its jobs.
        """
        tenant, why = record.tenant, f"consents/{record.id} revoked"
        await self._let_go_of_footage(record)
        if await self._begin(record, why) or await self._erasing(tenant, why):
            return _LOOK_S
        data = {"id": record.id, "object": "consent", "state": "revoked", "erased": True}
        await emit(self._gateway, tenant, "consent.revoked", data, record.id)
        await self._gateway.tables.consents.update(
            tenant, record.id, lambda old: old.model_copy(update={"settled": True})
        )
        return 0.0

    async def _begin(self, record: ConsentRecord, why: str) -> bool:
        """Whether there was anything left whose erasure had not begun."""
        gateway, tenant = self._gateway, record.tenant
        left = False
        async for avatar in avatars_of(gateway, tenant, record.id):
            left = True
            with contextlib.suppress(NotFound):
                await begin_avatar(gateway, tenant, avatar, with_dubs=True, why=why)
        async for dub in dubs_under(gateway, tenant, record.id):
            left = True
            with contextlib.suppress(NotFound):
                await begin_dub(gateway, tenant, dub, why=why)
        return left

    async def _let_go_of_footage(self, record: ConsentRecord) -> None:
        """It goes with the avatars that are made of it, or by itself; the evidence stays."""
        if record.evidence is None:
            return
        free = await uploads.release(
            self._gateway, record.tenant, record.evidence.footage, record.id
        )
        if free is not None and free.state == "ready":
            await self._gateway.tables.uploads.update(
                record.tenant, free.id, lambda old: old.model_copy(update={"delete_s": now_s()})
            )

    async def _erasing(self, tenant: str, why: str) -> bool:
        table = self._gateway.tables.erasures
        for erasure_id in await table.open_ids(tenant):
            found = await table.find(tenant, erasure_id)
            if found is not None and found.why == why and found.done_s is None:
                return True
        return False
