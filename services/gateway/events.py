"""The event log: what happened, and what of it goes to which webhook."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from services.gateway.auth import CallerDep
from services.gateway.core import Gateway, GatewayDep
from services.gateway.model import DeliveryRecord, EventRecord, derived_id, now_s
from services.gateway.views import LimitQuery, Page, TokenQuery, View, errors, moment

router = APIRouter(prefix="/v1/events", tags=["webhooks"])

EventType = Literal[
    "avatar.ready", "avatar.failed", "avatar.cancelled",
    "dub.succeeded", "dub.failed", "dub.cancelled", "consent.revoked",
]  # fmt: skip


class Event(View):
    """Something that happened. `data` is what webhooks are sent."""

    id: str
    type: str
    created_at: datetime
    data: dict[str, Any]


@router.get("", responses=errors(422), summary="List events")
async def list_events(
    caller: CallerDep,
    gateway: GatewayDep,
    limit: LimitQuery = 50,
    token: TokenQuery = "",
    type: Annotated[str | None, Query(description="only these, e.g. `dub.failed`")] = None,
) -> Page[Event]:
    """Newest first. With a filter a page may hold fewer than `limit` and still not be the last."""
    found, following = await gateway.tables.events.page(caller.tenant, limit, token)
    data = [_view(record) for record in found if type in (None, record.type)]
    return Page(data=data, next_token=following or None)


async def emit(
    gateway: Gateway, tenant: str, kind: str, data: dict[str, Any], *once: object
) -> None:
    """Log an event and have it delivered to the webhooks that want it.

    The same ``kind`` and ``once`` make the same event: whoever is unsure emits again.
    """
    event = make_event(gateway, tenant, kind, data, derived_id("ev", tenant, kind, *once))
    event = await gateway.tables.events.create(event)
    token = ""
    while True:
        webhooks, token = await gateway.tables.webhooks.page(tenant, 200, token)
        for webhook in webhooks:
            if event.type in webhook.events:
                await gateway.tables.deliveries.create(delivery_of(event, webhook.id))
        if not token:
            return


def make_event(
    gateway: Gateway, tenant: str, kind: str, data: dict[str, Any], event_id: str
) -> EventRecord:
    """An event of now, with the text that will be signed."""
    now = now_s()
    content = {"type": kind, "timestamp": moment(now).isoformat(), "data": data}
    return EventRecord(
        id=event_id,
        tenant=tenant,
        created_s=now,
        type=kind,
        body=json.dumps(content, separators=(",", ":")),
        delete_s=now + gateway.settings.event_keep_s,
    )


def delivery_of(event: EventRecord, webhook_id: str) -> DeliveryRecord:
    """The one delivery of this event to this webhook."""
    return DeliveryRecord(
        id=derived_id("whd", event.id, webhook_id),
        tenant=event.tenant,
        created_s=now_s(),
        event=event.id,
        webhook=webhook_id,
    )


async def sweep(gateway: Gateway, record: EventRecord) -> float:
    """Called when an event's time is over."""
    await gateway.tables.events.delete(record.tenant, record.id)
    return 0.0


def _view(record: EventRecord) -> Event:
    data: dict[str, Any] = json.loads(record.body)["data"]
    return Event(id=record.id, type=record.type, created_at=moment(record.created_s), data=data)
