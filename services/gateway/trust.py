"""What was done and by whom; what was erased; what is held about a person; limits of tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query
from pydantic import Field

from services.common.erased_copies import GONE_WITHIN_S
from services.common.jobs.model import check_name
from services.gateway.audit import AuditEntry
from services.gateway.auth import CallerDep, KeyManagerDep, OperatorDep
from services.gateway.consents import Consent, consent_view
from services.gateway.core import Gateway, GatewayDep
from services.gateway.erasure_model import Erased, ErasedObject, Inventory, ReceiptRecord
from services.gateway.errors import ParamError
from services.gateway.inventory import avatars_of, dubs_of, dubs_under, list_objects
from services.gateway.keys import TenantQuery, tenant_of
from services.gateway.limits import NAMES, Limits, limits_key, limits_of
from services.gateway.views import (
    MAX_LIMIT,
    Body,
    LimitQuery,
    Page,
    TokenQuery,
    View,
    errors,
    moment,
    signed_url,
)
from synctalk.errors import InputError

router = APIRouter(prefix="/v1", tags=["trust"])


class AuditPage(View):
    """Entries of the audit log, oldest first."""

    data: list[AuditEntry]
    next_after: int | None = Field(description="asks for those that follow; null at the end")


class Receipt(View):
    """What an erasure has erased from object store and database. `left` is what a listing found
    afterwards: nothing.
    """

    id: str
    collection: Literal["avatars", "dubs", "consents"]
    why: str
    begun_at: datetime
    done_at: datetime
    objects: tuple[ErasedObject, ...]
    records: tuple[str, ...]
    left: Inventory
    erased: Erased
    copies_gone_by: datetime = Field(
        description="when no worker that runs has footage or data of it on its own disk any more; "
        "one that is down removes them when it starts"
    )


class HeldObject(View):
    """An object about the person. Its URL is signed and expires."""

    key: str
    size_bytes: int
    url: str


class SubjectExport(View):
    """Everything that is held about the person who gave a consent."""

    consent: Consent
    avatars: list[dict[str, Any]]
    dubs: list[dict[str, Any]]
    objects: list[HeldObject]
    audit: list[AuditEntry]


class NewLimits(Body):
    """What one tenant may have in place of what the installation's settings say; null: as those."""

    avatars: Annotated[int | None, Field(ge=0)] = None
    open_dubs: Annotated[int | None, Field(ge=0)] = None
    webhooks: Annotated[int | None, Field(ge=0)] = None
    sessions: Annotated[int | None, Field(ge=0, description="live, at once")] = None
    upload_bytes_per_day: Annotated[int | None, Field(ge=0)] = None
    rate_per_s: Annotated[float | None, Field(gt=0)] = None
    rate_burst: Annotated[int | None, Field(ge=1)] = None


class LimitsView(View):
    """What a tenant may have, and what of it is its own."""

    tenant: str
    avatars: int
    open_dubs: int
    webhooks: int
    sessions: int
    upload_bytes_per_day: int
    rate_per_s: float
    rate_burst: int
    overridden: list[str]


@router.get("/audit", responses=errors(403, 422), summary="The audit log")
async def get_audit(
    caller: KeyManagerDep,
    gateway: GatewayDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = MAX_LIMIT,
    after: Annotated[
        int, Query(ge=0, le=1 << 53, description="`next_after` of the page before")
    ] = 0,
    tenant: TenantQuery = "",
) -> AuditPage:
    """For admins. Each entry holds the digest of the one before: `avatar audit verify` checks."""
    found = await gateway.audit.page(tenant_of(caller, tenant), after, limit)
    following = found[-1].number if len(found) == limit else None
    return AuditPage(data=found, next_after=following)


@router.get("/receipts", responses=errors(422), summary="List receipts of erasures")
async def list_receipts(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Receipt]:
    """Newest first."""
    found, following = await gateway.tables.receipts.page(caller.tenant, limit, token)
    return Page(data=[_receipt(record) for record in found], next_token=following or None)


@router.get("/receipts/{resource_id}", responses=errors(404), summary="The receipt of an erasure")
async def get_receipt(resource_id: str, caller: CallerDep, gateway: GatewayDep) -> Receipt:
    """By the id of the avatar, dub or consent that was erased."""
    return _receipt(await gateway.tables.receipts.get(caller.tenant, resource_id))


@router.get(
    "/consents/{consent_id}/export", responses=errors(403, 404),
    summary="Export what is held about a person",
)  # fmt: skip
async def export_subject(
    consent_id: str, caller: KeyManagerDep, gateway: GatewayDep, tenant: TenantQuery = ""
) -> SubjectExport:
    """For admins: records, and signed URLs of every object, of all that stands on the consent."""
    owner = tenant_of(caller, tenant)
    consent = await gateway.tables.consents.get(owner, consent_id)
    await gateway.audit.note(owner, caller.key, "consent.export", f"consents/{consent_id}")
    avatars, dubs = await _stands_on(gateway, owner, consent_id)
    uploads = {*consent.uploads, *(avatar.video for avatar in avatars)}
    uploads |= {upload for dub in dubs for upload in dub.uploads}
    places = [f"tenants/{owner}/uploads/{upload}" for upload in sorted(uploads)]
    places += [f"tenants/{owner}/avatars/{avatar.id}" for avatar in avatars]
    places += [f"tenants/{owner}/dubs/{dub.id}" for dub in dubs]
    found = await list_objects(gateway, places)
    named = {f"consents/{consent_id}"}
    named |= {f"avatars/{avatar.id}" for avatar in avatars} | {f"dubs/{dub.id}" for dub in dubs}
    return SubjectExport(
        consent=consent_view(gateway, consent),
        avatars=[avatar.model_dump(mode="json") for avatar in avatars],
        dubs=[dub.model_dump(mode="json") for dub in dubs],
        objects=[
            HeldObject(key=one.key, size_bytes=one.size_bytes, url=signed_url(gateway, one.key))
            for one in found
        ],
        audit=[entry async for entry in _entries(gateway, owner) if entry.resource in named],
    )


@router.get(
    "/tenants/{tenant}/limits", responses=errors(403, 422), summary="What a tenant may have"
)
async def get_limits(tenant: str, caller: OperatorDep, gateway: GatewayDep) -> LimitsView:
    """For the operator's key only."""
    return await _limits_view(gateway, _checked(tenant))


@router.put("/tenants/{tenant}/limits", responses=errors(403, 422), summary="Set a tenant's limits")
async def put_limits(
    tenant: str, body: NewLimits, caller: OperatorDep, gateway: GatewayDep
) -> LimitsView:
    """For the operator's key only. What is null is as the installation's settings say."""
    said: dict[Any, Any] = body.model_dump(exclude_none=True)
    key = limits_key(_checked(tenant))
    await gateway.audit.note(
        tenant, caller.key, "limits.set", f"tenants/{tenant}",
        **{name: f"{value:g}" for name, value in said.items()},
    )  # fmt: skip
    async with gateway.redis.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        if said:
            pipe.hset(key, mapping=said)
        await cast(Any, pipe.execute())
    return await _limits_view(gateway, tenant)


async def _limits_view(gateway: Gateway, tenant: str) -> LimitsView:
    overrides = await cast(Any, gateway.redis.hgetall(limits_key(tenant)))
    limits: Limits = limits_of(gateway.settings, overrides)
    values = {name: getattr(limits, name) for name in NAMES}
    return LimitsView(tenant=tenant, overridden=sorted(overrides), **values)


def _checked(tenant: str) -> str:
    try:
        return check_name("tenant", tenant)
    except InputError as error:
        raise ParamError(
            "tenant", error.message, reason=error.reason, remedy=error.remedy
        ) from None


async def _stands_on(gateway: Gateway, tenant: str, consent_id: str) -> tuple[list[Any], list[Any]]:
    ids = [avatar async for avatar in avatars_of(gateway, tenant, consent_id)]
    spoken = [dub for avatar in ids async for dub in dubs_of(gateway, tenant, avatar)]
    spoken += [dub async for dub in dubs_under(gateway, tenant, consent_id)]
    spoken = list(dict.fromkeys(spoken))
    tables = gateway.tables
    return await tables.avatars.many(tenant, ids), await tables.dubs.many(tenant, spoken)


async def _entries(gateway: Gateway, tenant: str) -> Any:
    after = 0
    while found := await gateway.audit.page(tenant, after, 1000):
        for entry in found:
            yield entry
        after = found[-1].number


def _receipt(record: ReceiptRecord) -> Receipt:
    return Receipt(
        id=record.id, collection=record.collection, why=record.why,
        begun_at=moment(record.begun_s), done_at=moment(record.created_s),
        objects=record.inventory.objects, records=record.inventory.records, left=record.left,
        erased=record.erased, copies_gone_by=moment(record.created_s + GONE_WITHIN_S),
    )  # fmt: skip
