"""Whether a person's consent stands: asked for wherever an avatar is trained or shown.

The record is the gateway's, which alone writes it; :class:`Consent` is what others may know of it.
Trainers and renderers read it themselves, so that no caller, however it came to call them, makes
or shows a face without one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from services.common.errors import FailedPrecondition, PermissionDenied, ServiceError, Unavailable
from services.common.names import parse_name

_AWAY_S = 0.5
_PATIENCE_S = 20.0  # as long as a store or a queue may be away before an attempt is given up

Standing = Literal["draft", "in_review", "refused", "active", "revoked", "expired"]


class Scope(StrEnum):
    """What a consent may be for."""

    AVATAR = "avatar"  # making one
    DUB = "dub"
    LIVE = "live"


class Consent(BaseModel):
    """What of a consent's record decides. Times are seconds since the epoch.

    Args:
        scope: what it is for.
        phase: how far it has come; records of before there was evidence are approved.
    """

    model_config = ConfigDict(frozen=True)

    scope: tuple[Scope, ...] = tuple(Scope)
    phase: Literal["draft", "in_review", "approved", "refused"] = "approved"
    expires_s: float | None = None
    revoked_s: float | None = None

    def standing(self, now_s: float) -> Standing:
        """Where it stands at that moment."""
        if self.revoked_s is not None:
            return "revoked"
        if self.phase != "approved":
            return self.phase
        if self.expires_s is not None and self.expires_s <= now_s:
            return "expired"
        return "active"


def consent_key(tenant: str, consent_id: str) -> str:
    """Where Redis has the record, as :mod:`services.gateway.records` writes it."""
    return f"gw:{tenant}:consent:{consent_id}"


def erasure_keys(tenant: str, avatar: str) -> tuple[str, str]:
    """Where Redis says that an avatar is being erased, and that it was: for good."""
    return f"gw:{tenant}:erasure:{avatar}", f"gw:{tenant}:receipt:{avatar}"


def check_consent(name: str, consent: Consent | None, scope: Scope | None, now_s: float) -> None:
    """Refuse what the consent does not cover.

    Args:
        name: of it, for the message.
        consent: None where there is no record.
        scope: None: whatever it is for.

    Raises:
        FailedPrecondition: there is none, it does not stand (any more), or not for this.
    """
    standing = "not_found" if consent is None else consent.standing(now_s)
    if standing != "active":
        raise FailedPrecondition(
            f"consent {name} is {standing.replace('_', ' ')}",
            reason=f"CONSENT_{standing.upper()}",
            remedy=_REMEDIES.get(standing, "Ask the person, and record a new consent."),
        )
    assert consent is not None
    if scope is not None and scope not in consent.scope:
        raise FailedPrecondition(
            f"consent {name} is for {', '.join(consent.scope)}, not for {scope}",
            reason="CONSENT_OUT_OF_SCOPE",
            remedy=f"Ask the person, and record a new consent whose scope has {scope}.",
        )


_REMEDIES = {
    "draft": "Upload the evidence by POST /v1/consents/{id}/evidence.",
    "in_review": "Wait for a reviewer: POST /v1/consents/{id}/review.",
}


def consent_of(tenant: str, name: str | None) -> str:
    """The key of the consent that a bundle or a job names.

    Raises:
        PermissionDenied: it names none, or another tenant's.
    """
    owner, consent_id = parse_name("consent", name, "tenants", "consents") if name else ("", "")
    if owner != tenant:
        raise PermissionDenied(
            "the avatar names no consent of its tenant",
            reason="CONSENT_REQUIRED",
            remedy="Make the avatar by POST /v1/avatars, under the consent of the person it shows.",
        )
    return consent_key(tenant, consent_id)


def parse_consent(name: str | None, text: str | None) -> Consent | None:
    """From the record; None where there is none.

    Raises:
        Unavailable: it cannot be read here, as one of a later release may be: nothing is made or
            shown under it by this process, and others may be of that release.
    """
    try:
        return Consent.model_validate_json(text) if text else None
    except ValidationError as error:
        raise Unavailable(
            f"the record of consent {name} cannot be read by this release",
            reason="CONSENT_UNREADABLE",
            remedy="Update trainers and renderers to the release of the gateway.",
        ) from error


def require_consent(
    redis: Redis, tenant: str, name: str | None, scope: Scope, check: Callable[[], None]
) -> None:
    """For workers, at the start of every attempt.

    Args:
        name: ``tenants/{tenant}/consents/{id}``.
        check: called while Redis is away; raises when the work is to stop.

    Raises:
        FailedPrecondition, PermissionDenied: see :func:`check_consent` and :func:`consent_of`.
        Unavailable: see :func:`parse_consent`.
    """
    key = consent_of(tenant, name)
    while True:
        try:
            found = parse_consent(name, cast(Any, redis.get(key)))
        except RedisError:
            check()
            time.sleep(_AWAY_S)
            continue
        check_consent(str(name), found, scope, time.time())
        return


@dataclass(frozen=True)
class Shown:
    """A person about to be shown.

    Args:
        avatar: id of the avatar.
        consent: as the avatar's bundle names it.
    """

    tenant: str
    avatar: str
    consent: str | None


class ConsentReader:
    """For services that show people: asks Redis, and waits a while where it is away."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis

    async def require(self, shown: Shown, scope: Scope | None) -> None:
        """Raise unless this may be shown now.

        Raises:
            FailedPrecondition, PermissionDenied: see :func:`check_consent` and :func:`consent_of`;
                or the avatar was erased.
            Unavailable: Redis is away for longer than ``_PATIENCE_S``: nothing is shown unasked; or
                see :func:`parse_consent`.
        """
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                refusal = (await self.refusals({shown: scope})).get(shown)
            except RedisError as error:
                if time.monotonic() > deadline_s:
                    raise Unavailable(
                        "whether the consent stands cannot be looked up",
                        reason="CONSENTS_UNAVAILABLE",
                        remedy="Try again; if it stays so, check AVATAR_REDIS_URL and the server.",
                    ) from error
                await asyncio.sleep(_AWAY_S)
                continue
            if refusal is not None:
                raise refusal
            return

    async def refusals(self, wanted: Mapping[Shown, Scope | None]) -> dict[Shown, ServiceError]:
        """Those that may not be shown, and why, by one question.

        Raises:
            RedisError: it is away.
        """
        refused: dict[Shown, ServiceError] = {}
        keys: list[str] = []
        asked: list[Shown] = []
        for shown in wanted:
            try:
                key = consent_of(shown.tenant, shown.consent)
            except PermissionDenied as error:
                refused[shown] = error
                continue
            asked.append(shown)
            keys += (key, *erasure_keys(shown.tenant, shown.avatar))
        texts = await cast(Any, self._redis.mget(keys)) if keys else []
        for shown, text, *erased in zip(asked, *(texts[n::3] for n in range(3)), strict=True):
            try:
                if any(erased):
                    raise _erased(shown)
                consent = parse_consent(shown.consent, text)
                check_consent(str(shown.consent), consent, wanted[shown], time.time())
            except (FailedPrecondition, Unavailable) as error:
                refused[shown] = error
        return refused


def _erased(shown: Shown) -> FailedPrecondition:
    return FailedPrecondition(
        f"avatar {shown.avatar} was erased", reason="AVATAR_ERASED", remedy="Make a new avatar."
    )
