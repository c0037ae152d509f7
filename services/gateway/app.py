"""The application: routes, documentation, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from redis.exceptions import RedisError
from starlette.middleware.cors import CORSMiddleware

from services.common import logs
from services.gateway import (
    avatars,
    consents,
    dubs,
    errors,
    events,
    jobs,
    keys,
    system,
    trust,
    uploads,
    verify,
    webhooks,
)
from services.gateway.core import GatewayDep, open_gateway
from services.gateway.http import RequestScope
from services.gateway.live import routes as live_routes
from services.gateway.live import websocket as live_websocket
from services.gateway.reconcile import reconciling
from services.gateway.settings import GatewaySettings
from services.gateway.studio import add_studio
from synctalk.errors import SyncTalkError

log = logs.logger(__name__)

_READY_S = 3.0
_ABOUT = """
A portrait video in, a talking avatar out.

1. `POST /v1/uploads`, then PUT the video to the URL that comes back.
2. `POST /v1/consents`: no avatar without the person's consent.
3. `POST /v1/avatars`, and follow `GET /v1/avatars/{id}/events` until it is ready.
4. Upload any speech and `POST /v1/dubs`; `video_url` is the result.

Every answer carries `X-Request-Id`. What is no success has the body
`{"error": {"code", "message", "param", "remedy", "request_id"}}`; `code` is stable. Requests that
create take an `Idempotency-Key`. Lists are newest first and go on with `?token=`.
"""
_TAGS = [
    {"name": "uploads", "description": "Files on their way in."},
    {"name": "consents", "description": "Whose likeness, by whose leave."},
    {"name": "avatars", "description": "Talking avatars, from video to bundle."},
    {"name": "dubs", "description": "Avatars saying an audio."},
    {"name": "sessions", "description": "Avatars live: audio in, a talking face out."},
    {"name": "jobs", "description": "The work behind avatars and dubs."},
    {"name": "webhooks", "description": "Being told instead of asking."},
    {"name": "keys", "description": "Who may call."},
    {"name": "trust", "description": "What was done, what was erased, what is held of a person."},
    {"name": "system", "description": "The installation, for its operator."},
    {"name": "health", "description": "For orchestrators; no key is needed."},
]


def make_app(settings: GatewaySettings) -> FastAPI:
    """The ASGI application; it connects when it is started."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_gateway(settings) as gateway:
            app.state.gateway = gateway
            async with reconciling(gateway):
                yield

    # Swagger's page needs no other server: its files are served from here.
    app = FastAPIOffline(
        title="Avatar",
        version=version("synctalk"),
        description=_ABOUT,
        openapi_tags=_TAGS,
        redoc_url=None,
        lifespan=lifespan,
    )
    if origins := settings.live.allow_origins:
        # Pages elsewhere hold sessions by the session's token, never by a cookie.
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"]
        )
    app.add_middleware(RequestScope)
    errors.install(app)
    for part in (
        uploads,
        consents,
        avatars,
        dubs,
        jobs,
        webhooks,
        events,
        keys,
        trust,
        verify,
        system,
    ):
        app.include_router(part.router)
    app.include_router(live_routes.router)
    app.include_router(live_websocket.router)
    _add_health(app)
    add_studio(app, settings)
    return app


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["health"], summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz", tags=["health"], summary="Whether requests can be served",
        responses={503: {"description": "what cannot be reached"}},
    )  # fmt: skip
    async def readyz(gateway: GatewayDep) -> JSONResponse:
        away = []
        try:
            async with asyncio.timeout(_READY_S):
                await cast(Any, gateway.redis.ping())
        except (RedisError, TimeoutError):
            away.append("redis")
        try:
            async with asyncio.timeout(_READY_S):
                await asyncio.to_thread(gateway.store.ensure_bucket)
        except (SyncTalkError, TimeoutError):
            away.append("object store")
        if gateway.stopping.is_set():
            away.append("stopping")
        return JSONResponse(
            {"status": "away" if away else "ok", "away": away}, 503 if away else 200
        )


async def ensure_bucket(app: FastAPI) -> None:
    """Make the bucket where there is none; goes on trying while the store is away."""
    while True:
        with contextlib.suppress(SyncTalkError):
            await asyncio.to_thread(app.state.gateway.store.ensure_bucket)
            return
        log.warning("the object store is away")
        await asyncio.sleep(1)
