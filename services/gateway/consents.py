"""Consents: an avatar stands on the consent of the person it shows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, Field

from services.common.errors import FailedPrecondition, NotFound
from services.gateway.auth import CallerDep
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import ParamError
from services.gateway.idempotency import OnceDep
from services.gateway.model import ConsentRecord, now_s
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

router = APIRouter(prefix="/v1/consents", tags=["consents"])


class NewConsent(Body):
    """What the person agreed to, and who says so."""

    subject_name: Annotated[str, Field(min_length=1, max_length=200, examples=["Ann Example"])]
    statement: Annotated[str, Field(max_length=10_000)] = ""
    granted_by: Annotated[
        str, Field(min_length=1, max_length=200, description="who gave it: the person, or who may")
    ]
    expires_at: AwareDatetime | None = None


class Consent(View):
    """A consent. New work with avatars that stand on it needs it to be active."""

    id: str
    state: Literal["active", "revoked", "expired"]
    subject_name: str
    statement: str
    granted_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


@router.post(
    "", status_code=201, response_model=Consent, responses=errors(409, 422),
    summary="Record a person's consent",
)  # fmt: skip
async def create_consent(
    body: NewConsent, caller: CallerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """No avatar is made without one."""
    if body.expires_at is not None and body.expires_at.timestamp() <= now_s():
        raise ParamError(
            "expires_at", "expires_at is in the past", reason="CONSENT_EXPIRED",
            remedy="Give a time to come, or none.",
        )  # fmt: skip

    async def make(consent_id: str) -> Consent:
        record = ConsentRecord(
            id=consent_id,
            tenant=caller.tenant,
            created_s=now_s(),
            subject_name=body.subject_name,
            statement=body.statement,
            granted_by=body.granted_by,
            expires_s=body.expires_at.timestamp() if body.expires_at else None,
        )
        return _view(await gateway.tables.consents.create(record))

    return await once.run("con", make)


@router.get("", responses=errors(422), summary="List consents")
async def list_consents(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Consent]:
    """Newest first."""
    found, following = await gateway.tables.consents.page(caller.tenant, limit, token)
    return Page(data=[_view(record) for record in found], next_token=following or None)


@router.get("/{consent_id}", responses=errors(404), summary="One consent")
async def get_consent(consent_id: str, caller: CallerDep, gateway: GatewayDep) -> Consent:
    """As it stands now."""
    return _view(await gateway.tables.consents.get(caller.tenant, consent_id))


@router.post("/{consent_id}/revoke", responses=errors(404), summary="Revoke a consent")
async def revoke_consent(consent_id: str, caller: CallerDep, gateway: GatewayDep) -> Consent:
    """Blocks new work with avatars that stand on it; DELETE /v1/avatars/… erases them."""
    record = await gateway.tables.consents.update(
        caller.tenant,
        consent_id,
        lambda old: old if old.revoked_s else old.model_copy(update={"revoked_s": now_s()}),
    )
    return _view(record)


async def require_active(gateway: Gateway, tenant: str, consent_id: str, param: str = "") -> None:
    """Raises :class:`FailedPrecondition`, or :class:`ParamError` where there is no such consent."""
    try:
        record = await gateway.tables.consents.get(tenant, consent_id)
    except NotFound:
        raise ParamError(
            param or "consent", f"no consent {consent_id}", reason="CONSENT_NOT_FOUND",
            remedy="Record the person's consent by POST /v1/consents.",
        ) from None  # fmt: skip
    state = _state(record)
    if state != "active":
        raise FailedPrecondition(
            f"consent {consent_id} is {state}",
            reason=f"CONSENT_{state.upper()}",
            remedy="Ask the person, and record a new consent.",
        )


def _state(record: ConsentRecord) -> Literal["active", "revoked", "expired"]:
    if record.revoked_s is not None:
        return "revoked"
    if record.expires_s is not None and record.expires_s <= now_s():
        return "expired"
    return "active"


def _view(record: ConsentRecord) -> Consent:
    return Consent(
        id=record.id,
        state=_state(record),
        subject_name=record.subject_name,
        statement=record.statement,
        granted_by=record.granted_by,
        expires_at=maybe_moment(record.expires_s),
        revoked_at=maybe_moment(record.revoked_s),
        created_at=moment(record.created_s),
    )
