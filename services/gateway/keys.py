"""API keys, and who the caller is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.common.errors import Conflict
from services.common.jobs.model import check_name
from services.gateway.auth import (
    Caller,
    CallerDep,
    KeyManagerDep,
    lookup_key,
    new_key,
)
from services.gateway.core import GatewayDep
from services.gateway.errors import ParamError
from services.gateway.idempotency import OnceDep
from services.gateway.live.tokens import digest_of
from services.gateway.model import KeyRecord, now_s
from services.gateway.uploads import bytes_key
from services.gateway.views import Body, LimitQuery, Page, TokenQuery, View, errors, moment
from synctalk.errors import InputError

router = APIRouter(prefix="/v1", tags=["keys"])

TenantQuery = Annotated[str, Query(description="whose; only for the operator's key")]


class NewKey(Body):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["build server"])]
    role: Literal["admin", "member"] = "member"
    tenant: Annotated[
        str | None, Field(description="whose; only for the operator's key", examples=["acme"])
    ] = None


class Key(View):
    """A key, without the key."""

    id: str
    name: str
    role: Literal["admin", "member"]
    tenant: str
    created_at: datetime


class KeyWithSecret(Key):
    """A new one: the key is not shown again."""

    key: str = Field(examples=["avk_…"])


class Quotas(View):
    """What a tenant may have."""

    avatars: int
    open_dubs: int
    upload_bytes_per_day: int
    running_jobs_per_queue: int
    requests_per_s: float


class Use(View):
    """What a tenant has."""

    avatars: int
    open_dubs: int
    upload_bytes_today: int


class Me(View):
    """Who the caller is."""

    tenant: str
    role: Literal["operator", "admin", "member"]
    key: str
    quotas: Quotas
    use: Use


@router.post(
    "/keys", status_code=201, response_model=KeyWithSecret, responses=errors(403, 409, 422),
    summary="Make an API key",
)  # fmt: skip
async def create_key(
    body: NewKey, caller: KeyManagerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """It is shown this once. A repetition of the request is told that the key was made."""
    tenant = _tenant(caller, body.tenant or "")

    async def make(key_id: str) -> KeyWithSecret:
        key = new_key()
        record = KeyRecord(
            id=key_id,
            tenant=tenant,
            created_s=now_s(),
            name=body.name,
            role=body.role,
            digest=digest_of(key),
        )
        kept = await gateway.tables.keys.create(record)
        if kept.digest != record.digest:
            raise Conflict(
                f"this request has made key {key_id}, which is not shown again",
                reason="KEY_ALREADY_MADE",
                remedy="Delete it if it was lost, and make another under a new Idempotency-Key.",
            )
        await gateway.redis.set(lookup_key(record.digest), f"{tenant}/{key_id}")
        return KeyWithSecret(**_view(record).model_dump(), key=key)

    return await once.run("key", make, keep=False)


@router.get("/keys", responses=errors(403, 422), summary="List API keys")
async def list_keys(
    caller: KeyManagerDep,
    gateway: GatewayDep,
    limit: LimitQuery = 50,
    token: TokenQuery = "",
    tenant: TenantQuery = "",
) -> Page[Key]:
    """Newest first."""
    found, following = await gateway.tables.keys.page(_tenant(caller, tenant), limit, token)
    return Page(data=[_view(record) for record in found], next_token=following or None)


@router.delete(
    "/keys/{key_id}", status_code=204, responses=errors(403, 404), summary="Delete a key"
)
async def delete_key(
    key_id: str, caller: KeyManagerDep, gateway: GatewayDep, tenant: TenantQuery = ""
) -> Response:
    """It is refused from now on."""
    record = await gateway.tables.keys.get(_tenant(caller, tenant), key_id)
    await gateway.redis.delete(lookup_key(record.digest))
    await gateway.tables.keys.delete(record.tenant, key_id)
    return Response(status_code=204)


@router.get("/me", responses=errors(403), summary="Tenant, role, quotas and use")
async def me(caller: CallerDep, gateway: GatewayDep) -> Me:
    """Of the key that was shown."""
    settings, tables = gateway.settings, gateway.tables
    uploaded = await cast(Any, gateway.redis.get(bytes_key(caller.tenant)))
    return Me(
        tenant=caller.tenant,
        role=caller.role,
        key=caller.key,
        quotas=Quotas(
            avatars=settings.quota_avatars,
            open_dubs=settings.quota_open_dubs,
            upload_bytes_per_day=settings.quota_upload_bytes_day,
            running_jobs_per_queue=settings.jobs.tenant_limit,
            requests_per_s=settings.rate_per_s,
        ),
        use=Use(
            avatars=await tables.avatars.count(caller.tenant),
            open_dubs=await tables.dubs.count(caller.tenant, only_open=True),
            upload_bytes_today=int(uploaded or 0),
        ),
    )


def _tenant(caller: Caller, named: str) -> str:
    """Whose keys are meant."""
    if caller.role != "operator":
        if named not in ("", caller.tenant):
            raise ParamError(
                "tenant", "tenant is not yours to name", reason="TENANT_REFUSED",
                remedy="Leave it out.",
            )  # fmt: skip
        return caller.tenant
    try:
        return check_name("tenant", named)
    except InputError as error:
        raise ParamError(
            "tenant", error.message, reason=error.reason, remedy=error.remedy
        ) from None


def _view(record: KeyRecord) -> Key:
    return Key(
        id=record.id,
        name=record.name,
        role=record.role,
        tenant=record.tenant,
        created_at=moment(record.created_s),
    )
