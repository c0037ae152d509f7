"""``Idempotency-Key``: a request that is sent twice is done once.

The first request with a key *claims* it, with a digest of what is asked and a nonce from which the
ids of what it makes are derived. One that comes while it runs, or after its process was killed,
finds the claim, derives the same ids and so makes nothing twice. Once answered, the answer is kept
and given again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from redis.asyncio import Redis

from services.common.errors import (
    Conflict,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from services.gateway.auth import Caller, authenticate
from services.gateway.core import get_gateway
from services.gateway.model import derived_id, new_id
from synctalk.errors import InputError

_KEEP_S = 86_400
# After these nothing was made. After others, such as a lost connection, something may have been.
_REFUSALS = (InputError, FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted)
_JSON = "application/json"


class _Claim(BaseModel):
    digest: str
    nonce: str
    answer: str = ""


class Once:
    """One creating request; :meth:`run` does what it asks for."""

    def __init__(self, redis: Redis, key: str, digest: str) -> None:
        self._redis = redis
        self._key = key
        self._digest = digest

    async def run(
        self, prefix: str, make: Callable[[str], Awaitable[BaseModel]], *, keep: bool = True
    ) -> Response:
        """201 with what ``make`` returns for a new id, or with what it returned the first time.

        ``make`` must do no harm when it is called twice for one id.

        Args:
            prefix: of the id.
            make: makes the thing.
            keep: whether the answer may be kept; not one that holds a secret.

        Raises:
            Conflict: the key came before with another request.
        """
        if not self._key:
            return _created((await make(new_id(prefix))).model_dump_json())
        claim = await self._claim()
        if claim.answer:
            return _created(claim.answer, replayed=True)
        try:
            answer = (await make(derived_id(prefix, claim.nonce))).model_dump_json()
        except _REFUSALS:
            await cast(Any, self._redis.delete(self._key))  # it may be corrected and sent again
            raise
        if keep:
            done = claim.model_copy(update={"answer": answer})
            await self._redis.set(self._key, done.model_dump_json(), ex=_KEEP_S)
        return _created(answer)

    async def _claim(self) -> _Claim:
        mine = _Claim(digest=self._digest, nonce=secrets.token_hex(16))
        if await self._redis.set(self._key, mine.model_dump_json(), nx=True, ex=_KEEP_S):
            return mine
        prior = await cast(Any, self._redis.get(self._key))
        if prior is None:  # just withdrawn, or too old
            return await self._claim()
        claim = _Claim.model_validate_json(prior)
        if claim.digest != self._digest:
            raise Conflict(
                "this Idempotency-Key came before with another request",
                reason="IDEMPOTENCY_CONFLICT",
                remedy="Use a new key for a new request.",
            )
        return claim


async def _once(
    request: Request,
    caller: Annotated[Caller, Depends(authenticate)],
    idempotency_key: Annotated[
        str | None,
        Header(max_length=255, description="repeat the request safely, for 24 hours"),
    ] = None,
) -> Once:
    gateway = await get_gateway(request)
    if not idempotency_key:
        return Once(gateway.redis, "", "")
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode())
    digest.update(await request.body())
    name = hashlib.sha256(idempotency_key.encode()).hexdigest()
    return Once(gateway.redis, f"gw:{caller.tenant}:idem:{name}", digest.hexdigest())


OnceDep = Annotated[Once, Depends(_once)]


def _created(content: str, *, replayed: bool = False) -> Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    return Response(content, 201, headers, _JSON)
