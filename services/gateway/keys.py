"""API keys, and who the caller is."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, Field

from services.common.errors import Conflict, PermissionDenied
from services.common.jobs.model import check_name
from services.gateway.auth import (
    Caller,
    CallerDep,
    KeyManagerDep,
    lookup_key,
    new_key,
)
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import ParamError
from services.gateway.idempotency import OnceDep
from services.gateway.live.tokens import digest_of
from services.gateway.model import KeyRecord, Role, now_s
from services.gateway.uploads import bytes_key
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
from synctalk.errors import InputError

router = APIRouter(prefix="/v1", tags=["keys"])

Scopes = Literal[
    "uploads", "consents", "avatars", "dubs", "sessions", "jobs", "webhooks", "keys", "trust",
    "uploads:read", "consents:read", "avatars:read", "dubs:read", "sessions:read", "jobs:read",
    "webhooks:read", "keys:read", "trust:read",
]  # fmt: skip
TenantQuery = Annotated[str, Query(description="whose; only for the operator's key")]


class NewKey(Body):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["build server"])]
    role: Annotated[
        Role,
        Field(
            description="`admin`: everything; `member`: makes things; `reviewer`: looks, and "
            "decides on evidence of consent; `viewer`: looks"
        ),
    ] = "member"
    scopes: Annotated[
        tuple[Scopes, ...],
        Field(
            description="of what it is good for within its role, as the tags of /docs; none: all"
        ),
    ] = ()
    expires_at: AwareDatetime | None = None
    tenant: Annotated[
        str | None, Field(description="whose; only for the operator's key", examples=["acme"])
    ] = None


class Rotation(Body):
    """A key is to be replaced."""

    grace_s: Annotated[
        float, Field(ge=0, description="how long the old one stays good beside the new one")
    ] = 86_400.0


class Key(View):
    """A key, without the key."""

    id: str
    name: str
    role: Role
    scopes: tuple[str, ...]
    tenant: str
    created_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute; null: never")


class KeyWithSecret(Key):
    """A new one: the key is not shown again."""

    key: str = Field(examples=["avk_…"])


class Quotas(View):
    """What a tenant may have."""

    avatars: int
    open_dubs: int
    webhooks: int
    sessions: int
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
    role: Literal["operator", "admin", "member", "reviewer", "viewer"]
    key: str
    scopes: tuple[str, ...]
    quotas: Quotas
    use: Use


@router.post(
    "/keys", status_code=201, response_model=KeyWithSecret, responses=errors(403, 409, 422),
    summary="Make an API key",
)  # fmt: skip
async def create_key(
    body: NewKey, caller: KeyManagerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """It is shown this once. A repetition of the request is told that the key was made. It may do
    no more than the key that makes it, and for no longer.
    """
    tenant = tenant_of(caller, body.tenant or "")
    expires_s = body.expires_at.timestamp() if body.expires_at else None
    _check_covered(caller, body.scopes, expires_s)

    async def make(key_id: str) -> KeyWithSecret:
        key = new_key()
        record = KeyRecord(
            id=key_id,
            tenant=tenant,
            created_s=now_s(),
            name=body.name,
            role=body.role,
            digest=digest_of(key),
            scopes=tuple(sorted(set(body.scopes))),
            expires_s=expires_s,
        )
        await gateway.audit.note(
            tenant, caller.key, "key.create", f"keys/{key_id}", role=body.role,
            scopes=" ".join(record.scopes),
        )  # fmt: skip
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
    found, following = await gateway.tables.keys.page(tenant_of(caller, tenant), limit, token)
    used = await _last_used(gateway, tenant_of(caller, tenant))
    data = [_view(record, used.get(record.id)) for record in found]
    return Page(data=data, next_token=following or None)


@router.post(
    "/keys/{key_id}/rotate", response_model=KeyWithSecret, responses=errors(403, 404, 422),
    summary="Replace a key",
)  # fmt: skip
async def rotate_key(
    key_id: str,
    body: Rotation,
    caller: KeyManagerDep,
    gateway: GatewayDep,
    tenant: TenantQuery = "",
) -> KeyWithSecret:
    """The new one is shown this once. The old one stays good for `grace_s`, and one before it not
    at all. Send it once: every call makes another key. A key that may do more than yours is not
    yours to replace.
    """
    owner = tenant_of(caller, tenant)
    if body.grace_s > gateway.settings.key_grace_max_s:
        raise ParamError(
            "grace_s", f"grace_s is {body.grace_s:g}", reason="GRACE_TOO_LONG",
            remedy=f"Give at most {gateway.settings.key_grace_max_s:g} seconds.",
        )  # fmt: skip
    current = await gateway.tables.keys.get(owner, key_id)
    _check_covered(caller, current.scopes, current.expires_s)
    await gateway.audit.note(
        owner, caller.key, "key.rotate", f"keys/{key_id}", grace_s=f"{body.grace_s:g}"
    )
    key, before = new_key(), list[KeyRecord]()

    def rotate(old: KeyRecord) -> KeyRecord:
        before[:] = [old]
        return old.model_copy(
            update={
                "digest": digest_of(key), "previous_digest": old.digest, "rotated_s": now_s(),
                "previous_until_s": now_s() + body.grace_s,
            }
        )  # fmt: skip

    await gateway.redis.set(lookup_key(digest_of(key)), f"{owner}/{key_id}")
    record = await gateway.tables.keys.update(owner, key_id, rotate)
    (old,) = before
    if old.previous_digest:
        await gateway.redis.delete(lookup_key(old.previous_digest))
    # The record decides; this only tidies up.
    await gateway.redis.expire(lookup_key(old.digest), math.ceil(body.grace_s) + 1)
    return KeyWithSecret(**_view(record).model_dump(), key=key)


@router.delete(
    "/keys/{key_id}", status_code=204, responses=errors(403, 404), summary="Delete a key"
)
async def delete_key(
    key_id: str, caller: KeyManagerDep, gateway: GatewayDep, tenant: TenantQuery = ""
) -> Response:
    """It is refused from now on."""
    record = await gateway.tables.keys.get(tenant_of(caller, tenant), key_id)
    await gateway.audit.note(record.tenant, caller.key, "key.delete", f"keys/{key_id}")
    digests = filter(None, (record.digest, record.previous_digest))
    await gateway.redis.delete(*(lookup_key(digest) for digest in digests))
    await gateway.tables.keys.delete(record.tenant, key_id)
    return Response(status_code=204)


@router.get("/me", responses=errors(403), summary="Tenant, role, quotas and use")
async def me(caller: CallerDep, gateway: GatewayDep) -> Me:
    """Of the key that was shown."""
    tables, limits = gateway.tables, caller.limits
    assert limits is not None
    uploaded = await cast(Any, gateway.redis.get(bytes_key(caller.tenant)))
    return Me(
        tenant=caller.tenant,
        role=caller.role,
        key=caller.key,
        scopes=caller.scopes,
        quotas=Quotas(
            avatars=limits.avatars,
            open_dubs=limits.open_dubs,
            webhooks=limits.webhooks,
            sessions=limits.sessions,
            upload_bytes_per_day=limits.upload_bytes_per_day,
            running_jobs_per_queue=gateway.settings.jobs.tenant_limit,
            requests_per_s=limits.rate_per_s,
        ),
        use=Use(
            avatars=await tables.avatars.count(caller.tenant),
            open_dubs=await tables.dubs.count(caller.tenant, only_open=True),
            upload_bytes_today=int(uploaded or 0),
        ),
    )


def tenant_of(caller: Caller, named: str) -> str:
    """Whose things are meant: the caller's, or those that the operator names."""
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


def _check_covered(caller: Caller, scopes: tuple[str, ...], expires_s: float | None) -> None:
    """Nobody is handed a key that may do more than the one that was shown: of roles, whoever
    manages keys has the highest.
    """
    if not caller.covers(scopes, expires_s):
        raise PermissionDenied(
            "the key would be good for more, or for longer, than the one that asks for it",
            reason="KEY_EXCEEDS_CALLER",
            remedy="Give it scopes and an end within those of your key, or ask an admin whose key "
            "has neither.",
        )


async def _last_used(gateway: Gateway, tenant: str) -> dict[str, float]:
    """Of each key of the tenant that was ever used, when it was last."""
    found = await cast(Any, gateway.redis.hgetall(f"gw:{tenant}:key_used"))
    return {key_id: float(at_s) for key_id, at_s in found.items()}


def _view(record: KeyRecord, used_s: float | None = None) -> Key:
    return Key(
        id=record.id,
        name=record.name,
        role=record.role,
        scopes=record.scopes,
        tenant=record.tenant,
        created_at=moment(record.created_s),
        expires_at=maybe_moment(record.expires_s),
        rotated_at=maybe_moment(record.rotated_s),
        last_used_at=maybe_moment(used_s),
    )
