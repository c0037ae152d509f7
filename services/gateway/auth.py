"""Who calls: API keys, and how often a tenant may call.

A key is ``avk_`` and 32 random bytes; only its SHA-256 is kept, which suffices for secrets of that
size. The operator's key comes from the settings and makes keys of tenants, nothing else.
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.common.errors import PermissionDenied, Unauthenticated
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import LimitReached
from services.gateway.live.tokens import SESSION_TOKEN, digest_of, token_key
from services.gateway.model import KeyRecord
from services.gateway.settings import GatewaySettings

Role = Literal["operator", "admin", "member", "session"]
_BEARER = HTTPBearer(auto_error=False, description="an API key: `avk_…`", scheme_name="API key")

# A bucket of ARGV[2] tokens that fills by ARGV[1] a second. Reply: {taken, tokens left as text}
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local since = now - (tonumber(kept[2]) or now)
local tokens = math.min(burst, (tonumber(kept[1]) or burst) + rate * since)
local taken = 0
if tokens >= 1 then tokens, taken = tokens - 1, 1 end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
return {taken, tostring(tokens)}
"""


@dataclass(frozen=True)
class Caller:
    """Whoever shows a valid key. The operator belongs to no tenant.

    Args:
        key: id of the key; of a live session's token the id of the session.
    """

    tenant: str
    role: Role
    key: str


def new_key() -> str:
    """A fresh API key."""
    return f"avk_{secrets.token_urlsafe(32)}"


def lookup_key(digest: str) -> str:
    """Where Redis says whose key has this digest."""
    return f"gw:keyof:{digest}"


async def authenticate(
    request: Request,
    gateway: GatewayDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Caller:
    """The caller, counted against its rate limit.

    Raises:
        Unauthenticated: no key, or one that is not, or no longer, known.
        LimitReached: too many requests.
    """
    caller = await _caller(gateway, credentials.credentials if credentials else "")
    request.state.caller = caller
    if caller.role != "operator":
        await _take_token(request, gateway, caller)
    return caller


async def of_tenant(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """A caller who belongs to a tenant. Raises :class:`PermissionDenied` for the operator."""
    if caller.role == "operator":
        raise PermissionDenied(
            "the operator's key has no tenant",
            reason="TENANT_KEY_REQUIRED",
            remedy="Make a key of a tenant by POST /v1/keys and use that.",
        )
    if caller.role == "session":
        raise _only_its_session()
    return caller


async def of_session(session_id: str, caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """Who may use this live session: its token, or any key of a tenant.

    Raises:
        PermissionDenied: the token of another one, or the operator.
    """
    if caller.role != "session":
        return await of_tenant(caller)
    if caller.key != session_id:
        raise _only_its_session()
    return caller


def _only_its_session() -> PermissionDenied:
    return PermissionDenied(
        "the token of a live session is good for that session only",
        reason="SESSION_TOKEN",
        remedy="Use an API key for everything else.",
    )


async def may_manage_keys(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """An admin or the operator."""
    if caller.role not in ("admin", "operator"):
        raise PermissionDenied(
            "this needs a key of role admin", reason="ROLE_INSUFFICIENT", remedy="Ask an admin."
        )
    return caller


async def operates(caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """The operator, who looks over all tenants."""
    if caller.role != "operator":
        raise PermissionDenied(
            "this needs the operator's key",
            reason="ROLE_INSUFFICIENT",
            remedy="Sign in with the key that AVATAR_BOOTSTRAP_KEY names.",
        )
    return caller


CallerDep = Annotated[Caller, Depends(of_tenant)]
SessionCallerDep = Annotated[Caller, Depends(of_session)]
KeyManagerDep = Annotated[Caller, Depends(may_manage_keys)]
OperatorDep = Annotated[Caller, Depends(operates)]


async def _caller(gateway: Gateway, key: str) -> Caller:
    if _is_bootstrap(gateway.settings, key):
        return Caller("", "operator", "bootstrap")
    if key.startswith(SESSION_TOKEN) and (owner := await session_of(gateway, key)) is not None:
        return owner
    record = await _record(gateway, key) if key.startswith("avk_") else None
    if record is None:
        raise Unauthenticated(
            "no valid API key came with the request",
            reason="INVALID_API_KEY",
            remedy="Send the header Authorization: Bearer avk_….",
        )
    return Caller(record.tenant, record.role, record.id)


async def session_of(gateway: Gateway, token: str) -> Caller | None:
    """Whose session this token opens, if it still does."""
    owner = await cast(Any, gateway.redis.get(token_key(digest_of(token))))
    if not owner:
        return None
    tenant, _, session_id = owner.partition("/")
    return Caller(tenant, "session", session_id)


def _is_bootstrap(settings: GatewaySettings, key: str) -> bool:
    secret = settings.bootstrap_key
    return secret is not None and hmac.compare_digest(
        secret.get_secret_value().encode(), key.encode()
    )


async def _record(gateway: Gateway, key: str) -> KeyRecord | None:
    digest = digest_of(key)
    owner = await cast(Any, gateway.redis.get(lookup_key(digest)))
    if not owner:
        return None
    tenant, _, key_id = owner.partition("/")
    found = await gateway.tables.keys.find(tenant, key_id)
    return found if found is not None and found.digest == digest else None


async def _take_token(request: Request, gateway: Gateway, caller: Caller) -> None:
    settings = gateway.settings
    script = gateway.redis.register_script(_TAKE)
    taken, left = await script(
        keys=[f"gw:{caller.tenant}:rate"], args=[settings.rate_per_s, settings.rate_burst]
    )
    tokens = float(left)
    full_s = (settings.rate_burst - tokens) / settings.rate_per_s
    request.state.rate_headers = {
        "RateLimit-Limit": str(settings.rate_burst),
        "RateLimit-Remaining": str(math.floor(tokens)),
        "RateLimit-Reset": str(math.ceil(full_s)),
    }
    if not taken:
        raise LimitReached(
            f"more than {settings.rate_per_s:g} requests a second",
            reason="RATE_LIMITED",
            remedy="Wait as long as Retry-After says; follow events instead of polling.",
            retry_after_s=(1 - tokens) / settings.rate_per_s,
        )


def today() -> str:
    """The day that daily quotas count, UTC."""
    return time.strftime("%Y%m%d", time.gmtime())
