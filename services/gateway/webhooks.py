"""Webhooks: where tenants want events sent, by the Standard Webhooks scheme."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from services.gateway.auth import Caller, CallerDep
from services.gateway.core import GatewayDep
from services.gateway.delivery import check_url
from services.gateway.errors import LimitReached
from services.gateway.events import EventType, delivery_of, make_event
from services.gateway.idempotency import OnceDep
from services.gateway.model import DeliveryRecord, WebhookRecord, new_id, now_s
from services.gateway.records import Limit
from services.gateway.views import (
    Body,
    LimitQuery,
    Page,
    TokenQuery,
    View,
    errors,
    maybe_moment,
    moment,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

TEST = "webhook.test"
_SCANNED = 2000
_FULL_RETRY_S = 60.0


class NewWebhook(Body):
    """Where to send what."""

    url: Annotated[str, Field(max_length=2000, examples=["https://example.com/hooks"])]
    events: Annotated[list[EventType], Field(min_length=1)]


class Webhook(View):
    """Where events are sent."""

    id: str
    url: str
    events: list[str]
    created_at: datetime


class WebhookWithSecret(Webhook):
    """A new one: the secret is not shown again."""

    secret: str = Field(description="checks `webhook-signature`", examples=["whsec_…"])


class Delivery(View):
    """An event on its way to a webhook."""

    id: str
    event: str = Field(description="also the header `webhook-id`")
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    status_code: int | None = Field(description="of the last answer")
    message: str = Field(description="what went wrong last")
    next_attempt_at: datetime | None
    created_at: datetime


@router.post(
    "", status_code=201, response_model=WebhookWithSecret, responses=errors(409, 422),
    summary="Have events sent to a URL",
)  # fmt: skip
async def create_webhook(
    body: NewWebhook, caller: CallerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """The secret that checks the signatures is shown this once."""
    await check_url(body.url, allow_private=gateway.settings.webhook_allow_private)

    async def make(webhook_id: str) -> WebhookWithSecret:
        record = await gateway.tables.webhooks.create(
            WebhookRecord(
                id=webhook_id,
                tenant=caller.tenant,
                created_s=now_s(),
                url=body.url,
                events=tuple(dict.fromkeys(body.events)),
                secret=f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
            ),
            _quota(caller),
        )
        return WebhookWithSecret(**_view(record).model_dump(), secret=record.secret)

    return await once.run("wh", make)


@router.get("", responses=errors(422), summary="List webhooks")
async def list_webhooks(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Webhook]:
    """Newest first, without their secrets."""
    found, following = await gateway.tables.webhooks.page(caller.tenant, limit, token)
    return Page(data=[_view(record) for record in found], next_token=following or None)


@router.get("/{webhook_id}", responses=errors(404), summary="One webhook")
async def get_webhook(webhook_id: str, caller: CallerDep, gateway: GatewayDep) -> Webhook:
    """Without its secret."""
    return _view(await gateway.tables.webhooks.get(caller.tenant, webhook_id))


@router.delete(
    "/{webhook_id}", status_code=204, responses=errors(404), summary="Send no more there"
)
async def delete_webhook(webhook_id: str, caller: CallerDep, gateway: GatewayDep) -> Response:
    """What was not delivered yet is dropped."""
    if not await gateway.tables.webhooks.delete(caller.tenant, webhook_id):
        raise gateway.tables.webhooks.missing(webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/test", status_code=202, responses=errors(404), summary="Send a test event"
)
async def test_webhook(webhook_id: str, caller: CallerDep, gateway: GatewayDep) -> Delivery:
    """Of type `webhook.test`; the deliveries show what came of it."""
    webhook = await gateway.tables.webhooks.get(caller.tenant, webhook_id)
    data = {"id": webhook.id, "object": "webhook"}
    event = make_event(gateway, caller.tenant, TEST, data, new_id("ev"))
    await gateway.tables.events.create(event)
    delivery = await gateway.tables.deliveries.create(delivery_of(event, webhook.id))
    return _delivery_view(delivery)


@router.get("/{webhook_id}/deliveries", responses=errors(404), summary="What was sent")
async def list_deliveries(
    webhook_id: str,
    caller: CallerDep,
    gateway: GatewayDep,
    limit: LimitQuery = 50,
    token: TokenQuery = "",
) -> Page[Delivery]:
    """Newest first. A page may hold fewer than `limit` and still not be the last."""
    await gateway.tables.webhooks.get(caller.tenant, webhook_id)
    data: list[Delivery] = []
    scanned = 0
    while True:
        wanted = limit - len(data)
        found, token = await gateway.tables.deliveries.page(caller.tenant, wanted, token)
        data += [_delivery_view(record) for record in found if record.webhook == webhook_id]
        scanned += len(found)
        if not token or len(data) == limit or scanned >= _SCANNED:
            return Page(data=data, next_token=token or None)


def _quota(caller: Caller) -> Limit:
    assert caller.limits is not None
    most = caller.limits.webhooks
    error = LimitReached(
        f"more than {most} webhooks",
        reason="QUOTA_WEBHOOKS",
        remedy="Delete webhooks that are no longer needed.",
        retry_after_s=_FULL_RETRY_S,
    )
    return Limit("index", most, error)


def _view(record: WebhookRecord) -> Webhook:
    return Webhook(
        id=record.id,
        url=record.url,
        events=list(record.events),
        created_at=moment(record.created_s),
    )


def _delivery_view(record: DeliveryRecord) -> Delivery:
    return Delivery(
        id=record.id,
        event=record.event,
        state=record.state,
        attempts=record.attempts,
        status_code=record.status_code,
        message=record.message,
        next_attempt_at=maybe_moment(record.next_s if record.state == "pending" else None),
        created_at=moment(record.created_s),
    )
