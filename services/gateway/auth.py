"""Who calls, and what they may: API keys, tokens of people who signed in elsewhere, rate limits.

A key is ``avk_`` and 32 random bytes; only its SHA-256 is kept, which suffices for secrets of that
size. The operator's key comes from the settings and makes keys of tenants, nothing else. Who the
caller is, what its tenant's limits are and whether it may call now is one question to Redis.
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.common.errors import PermissionDenied, Unauthenticated, Unavailable
from services.gateway.core import Gateway, get_gateway
from services.gateway.errors import LimitReached
from services.gateway.limits import Limits, limits_of
from services.gateway.live.tokens import SESSION_TOKEN, digest_of, token_key
from services.gateway.model import KeyRecord, now_s
from services.gateway.records import script_of
from services.gateway.settings import GatewaySettings

Role = Literal["operator", "admin", "member", "reviewer", "viewer", "session"]
_BEARER = HTTPBearer(
    auto_error=False, scheme_name="API key",
    description="an API key `avk_…`, or a token of the identity provider",
)  # fmt: skip
_READS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """Whoever shows a valid key. The operator belongs to no tenant.

    Args:
        key: id of the key; of a live session's token the id of the session; ``oidc:…`` of a person.
        scopes: of what the key is good for; empty: for all that its role may.
        limits: of the tenant.
        expires_s: when the key ends, seconds since the epoch; None: it does not, or is no key.
    """

    tenant: str
    role: Role
    key: str
    scopes: tuple[str, ...] = ()
    limits: Limits | None = None
    expires_s: float | None = None

    def covers(self, scopes: tuple[str, ...], expires_s: float | None) -> bool:
        """Whether a key of these scopes, good until then, may do no more than this caller."""
        within = bool(scopes) and all(
            {scope, scope.removesuffix(":read")} & set(self.scopes) for scope in scopes
        )
        ends = expires_s is not None and expires_s <= (self.expires_s or 0.0)
        return (within or not self.scopes) and (ends or self.expires_s is None)


def new_key() -> str:
    """A fresh API key."""
    return f"avk_{secrets.token_urlsafe(32)}"


def lookup_key(digest: str) -> str:
    """Where Redis says whose key has this digest."""
    return f"gw:keyof:{digest}"


async def authenticate(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Caller:
    """The caller, who may do this, counted against its rate limit.

    Raises:
        Unauthenticated: no key, or one that is not, or no longer, known.
        PermissionDenied: its role or its scopes do not suffice.
        LimitReached: too many requests.
    """
    # Not one more dependency: FastAPI goes through all of them again for whoever depends on this.
    gateway = await get_gateway(request)
    secret = credentials.credentials if credentials else ""
    try:
        caller = await _caller(gateway, secret, request)
    except (Unauthenticated, Unavailable):  # it may be anybody whose token cannot be checked
        await _count_stranger(gateway, request)
        raise
    request.state.caller = caller
    _check_permission(request, caller)
    return caller


def _check_permission(request: Request, caller: Caller) -> None:
    """Everything but keys, limits and sessions' own routes, which look for themselves."""
    route = request.scope["route"]
    reads = request.method in _READS
    if caller.role == "viewer" and not reads:
        raise _role_insufficient("a role that may change things")
    if caller.role == "reviewer" and not reads and not route.path.endswith("/review"):
        raise _role_insufficient("a role that may make things")
    if caller.role == "member" and route.path.endswith("/review"):
        raise _role_insufficient("role reviewer or admin")
    tag = str(next(iter(route.tags), ""))
    if caller.scopes and route.path != "/v1/me":
        wanted = {tag, f"{tag}:read"} if reads else {tag}
        if not wanted & set(caller.scopes):
            raise PermissionDenied(
                f"this key is good for {', '.join(caller.scopes)}, not for {tag}",
                reason="SCOPE_INSUFFICIENT",
                remedy=f"Use a key whose scopes have {tag}.",
            )


def _role_insufficient(wanted: str) -> PermissionDenied:
    return PermissionDenied(
        f"this needs {wanted}", reason="ROLE_INSUFFICIENT", remedy="Ask an admin."
    )


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
        raise _role_insufficient("role admin")
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


async def _caller(gateway: Gateway, secret: str, request: Request) -> Caller:
    if _is_bootstrap(gateway.settings, secret):
        return Caller("", "operator", "bootstrap")
    if secret.startswith("avk_"):
        return await _key_caller(gateway, digest_of(secret), request)
    caller: Caller | None = None
    if secret.startswith(SESSION_TOKEN):
        caller = await session_of(gateway, secret)
    elif gateway.tokens is not None and secret.count(".") == 2:
        person = await gateway.tokens.check(secret)
        caller = Caller(person.tenant, person.role, person.subject)
    if caller is None:
        raise _unknown()
    answer = await _ask(gateway, "", caller.tenant)
    _take(request, gateway.settings, answer)
    return replace(caller, limits=answer.limits)


async def _key_caller(gateway: Gateway, digest: str, request: Request) -> Caller:
    answer = await _ask(gateway, digest, "")
    record = KeyRecord.model_validate_json(answer.record) if answer.record else None
    if record is None or not record.is_good(digest, now_s()):
        raise _unknown()
    _take(request, gateway.settings, answer)
    return Caller(
        record.tenant, record.role, record.id, record.scopes, answer.limits, record.expires_s
    )


@dataclass(frozen=True)
class _Answer:
    """What ``auth.lua`` says."""

    record: str
    limits: Limits
    taken: bool
    tokens: float


async def _ask(gateway: Gateway, digest: str, tenant: str) -> _Answer:
    settings = gateway.settings
    script = gateway.redis.register_script(script_of("auth.lua"))
    args: list[Any] = [digest, tenant, settings.rate_per_s, settings.rate_burst, int(time.time())]
    record, overrides, taken, tokens = await script(args=args)
    pairs = dict(zip(overrides[::2], overrides[1::2], strict=True))
    return _Answer(record, limits_of(settings, pairs), bool(taken), float(tokens))


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        "no valid API key came with the request",
        reason="INVALID_API_KEY",
        remedy="Send the header Authorization: Bearer avk_….",
    )


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


def _take(request: Request, settings: GatewaySettings, answer: _Answer) -> None:
    """Say how the bucket stands, and refuse where it was empty."""
    rate, burst = answer.limits.rate_per_s, answer.limits.rate_burst
    request.state.rate_headers = {
        "RateLimit-Limit": str(burst),
        "RateLimit-Remaining": str(math.floor(answer.tokens)),
        "RateLimit-Reset": str(math.ceil((burst - answer.tokens) / rate)),
    }
    if not answer.taken:
        raise LimitReached(
            f"more than {rate:g} requests a second",
            reason="RATE_LIMITED",
            remedy="Wait as long as Retry-After says; follow events instead of polling.",
            retry_after_s=(1 - answer.tokens) / rate,
        )


async def _count_stranger(gateway: Gateway, request: Request) -> None:
    """Calls without a valid key, by address; what the proxy says only where it is trusted."""
    settings = gateway.settings
    address = request.client.host if request.client else "unknown"
    script = gateway.redis.register_script(script_of("bucket.lua"))
    taken, tokens = await script(
        keys=[f"gw:strangers:{address}"],
        args=[settings.stranger_rate_per_s, settings.stranger_rate_burst],
    )
    if not taken:
        raise LimitReached(
            "too many calls without a valid key",
            reason="RATE_LIMITED",
            remedy="Wait as long as Retry-After says, and send a valid key.",
            retry_after_s=(1 - float(tokens)) / settings.stranger_rate_per_s,
        )


def today() -> str:
    """The day that daily quotas count, UTC."""
    return time.strftime("%Y%m%d", time.gmtime())
