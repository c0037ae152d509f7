"""People who sign in elsewhere: tokens (JWT) of one issuer, checked by its published keys.

Issuer, audience and algorithms are the installation's, never the token's: a token of another
issuer, for another audience, unsigned, or signed by a secret in place of a key is refused.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jwt
from jwt import PyJWK, PyJWKClient
from pydantic import BaseModel, ConfigDict, Field

from services.common import logs
from services.common.errors import PermissionDenied, Unauthenticated, Unavailable
from services.common.jobs.model import check_name
from services.gateway.model import Role
from synctalk.errors import InputError

log = logs.logger(__name__)
_TIMEOUT_S = 5
_ASK_S = 10.0
# Never a shared secret (HS…): whoever knows the public key could sign with it.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


class StudioClient(BaseModel):
    """The studio as a public client of the identity provider: authorization code with PKCE.

    The provider must let it redirect to ``{address}/studio/`` and let that page ask for tokens
    (CORS).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    client_id: str = Field(min_length=1, description="the studio's at the provider")
    authorization_url: str = Field(
        pattern=r"^https?://", description="where people sign in (`authorization_endpoint`)"
    )
    token_url: str = Field(
        pattern=r"^https?://", description="where the page gets its token (`token_endpoint`)"
    )
    scope: str = Field("openid", description="what it asks for")


class OidcSettings(BaseModel):
    """Who signs people in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(description="`iss` of its tokens, exactly")
    audience: str = Field(description="`aud` of tokens for this installation")
    jwks_url: str = Field(
        pattern=r"^https?://", description="where its keys are published (`jwks_uri`)"
    )
    algorithms: tuple[Algorithm, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="signatures that are taken"
    )
    tenant_claim: str = Field("tenant", description="claim with the person's tenant")
    role_claim: str = Field(
        "role",
        description="claim with the person's role: admin, member, reviewer or viewer; or a list",
    )
    leeway_s: float = Field(30, ge=0, le=300, description="how far clocks may be apart")
    keys_kept_s: float = Field(3600, gt=0, description="how long its keys are kept")
    studio: StudioClient | None = Field(
        None, description="how people sign in in the studio; absent: with API keys only"
    )


@dataclass(frozen=True)
class Person:
    """Who a token is about."""

    tenant: str
    role: Role
    subject: str


class TokenChecker:
    """Checks tokens; fetches the issuer's keys when it meets one that it does not know."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._issuer = PyJWKClient(settings.jwks_url, cache_jwk_set=False, timeout=_TIMEOUT_S)
        self._keys: list[PyJWK] = []
        self._keys_until_s = self._asked_s = -math.inf
        self._away = False
        self._asking = asyncio.Lock()

    async def check(self, token: str) -> Person:
        """Who signed in.

        Raises:
            Unauthenticated: the token is not one of this issuer for this audience, or is over.
            PermissionDenied: it names no tenant or no role.
            Unavailable: the issuer's keys cannot be had.
        """
        try:
            key = await self._key(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self._settings.algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError:
            raise Unavailable(
                "whether the token is good cannot be checked now",
                reason="ISSUER_UNAVAILABLE",
                remedy="Try again; if it stays so, check AVATAR_OIDC__JWKS_URL.",
            ) from None
        except jwt.PyJWTError as error:
            raise Unauthenticated(
                f"the token cannot be used: {error}",
                reason="INVALID_TOKEN",
                remedy="Sign in again.",
            ) from None
        return _person(claims, self._settings)

    async def _key(self, token: str) -> PyJWK:
        """The key that the token says it is signed by. Raises :class:`jwt.PyJWTError`."""
        kid = str(jwt.get_unverified_header(token).get("kid") or "")
        found = self._known(kid)
        if found is None:
            async with self._asking:  # one asks, and the others hear what came of it
                found = self._known(kid)
                if found is None and self._may_ask():
                    await self._ask()
                    found = self._known(kid)
        if found is None and self._away:
            raise jwt.PyJWKClientConnectionError("the issuer was away when it was last asked")
        if found is None:
            raise jwt.InvalidTokenError("it is signed by no key of the issuer")
        return found

    def _known(self, kid: str) -> PyJWK | None:
        fresh = time.monotonic() < self._keys_until_s
        return self._issuer.match_kid(self._keys, kid) if fresh else None

    def _may_ask(self) -> bool:
        """Keys expire and are rotated; but strangers' tokens are not to have us ask all the time,
        nor wait for an issuer that was away a moment ago.
        """
        now = time.monotonic()
        expired = now >= self._keys_until_s and not self._away
        return expired or now - self._asked_s > _ASK_S

    async def _ask(self) -> None:
        try:
            self._keys = await asyncio.to_thread(self._issuer.get_signing_keys)
            self._keys_until_s = time.monotonic() + self._settings.keys_kept_s
            self._away = False
        except (jwt.PyJWTError, ValueError) as error:  # no answer, or not one that holds keys
            log.warning("the issuer's keys cannot be had", error=str(error))
            self._away = True
        finally:
            self._asked_s = time.monotonic()


def _person(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    given = claims.get(settings.role_claim)
    named = [given] if isinstance(given, str) else given if isinstance(given, list) else []
    role = next((role for role in get_args(Role) if role in named), None)  # the most of several
    try:
        tenant = check_name("tenant", str(claims.get(settings.tenant_claim) or ""))
    except InputError:
        tenant = ""
    if not tenant or role is None:
        raise PermissionDenied(
            f"the token names no tenant ({settings.tenant_claim}) or no role here "
            f"({settings.role_claim})",
            reason="TOKEN_WITHOUT_TENANT",
            remedy="Have the identity provider add both claims.",
        )
    return Person(tenant, role, f"oidc:{claims['sub']}")
