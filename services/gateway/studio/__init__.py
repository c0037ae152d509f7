"""The studio: the web page of the suite, static files under ``/studio``.

It is a client of ``/v1`` as any other: whoever opens it signs in with an API key, or at the
identity provider where the settings name the studio as a client of it. Its page may load nothing
but what lies here, and talk to nobody but this gateway, its replicas where each has an address for
live sessions, the object store, and the provider's token endpoint.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from services.gateway.oidc import OidcSettings
from services.gateway.settings import GatewaySettings

STATIC = Path(__file__).parent / "static"
_PATH = "/studio"


def add_studio(app: FastAPI, settings: GatewaySettings) -> None:
    """Serve the studio's files, and lead ``/`` there."""
    headers = page_headers(settings)

    @app.get(f"{_PATH}/sign-in.json", include_in_schema=False)
    async def sign_in() -> JSONResponse:
        return JSONResponse({"oidc": _provider(settings.oidc)}, headers=headers)

    app.mount(_PATH, StudioFiles(headers), name="studio")

    @app.get("/", include_in_schema=False)
    async def to_studio() -> RedirectResponse:
        return RedirectResponse(f"{_PATH}/", 307)


def page_headers(settings: GatewaySettings) -> dict[str, str]:
    """What a browser is told about every file: whom the page may talk to, and who may frame it."""
    store = settings.storage.public_url or settings.storage.url
    client = settings.oidc.studio if settings.oidc else None
    tokens = [_origin(client.token_url)] if client else []
    partners = " ".join(["'self'", store, *_replicas(settings.live.url), *tokens])
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": f"'self' blob: {store}",
        "media-src": f"'self' blob: {store}",
        "connect-src": partners,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
        "Cross-Origin-Opener-Policy": "same-origin",
        # Asked again each time, by ETag: a page of one release never meets a script of another.
        "Cache-Control": "no-cache",
    }


def _provider(oidc: OidcSettings | None) -> dict[str, str] | None:
    """What the page needs to have people sign in there; no secret among it."""
    if oidc is None or oidc.studio is None:
        return None
    return {"issuer": oidc.issuer, "audience": oidc.audience, **oidc.studio.model_dump()}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _replicas(live_url: str) -> tuple[str, ...]:
    """Where any replica is reached: they differ in the first label of their names."""
    url = urlsplit(live_url)
    _, _, domain = url.netloc.partition(".")
    if not domain:
        return ()
    return f"{url.scheme}://*.{domain}", f"{url.scheme.replace('http', 'ws')}://*.{domain}"


class StudioFiles(StaticFiles):
    """Static files with the studio's headers."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(directory=STATIC, html=True)
        self._headers = headers

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As its base, with our headers."""
        response = await super().get_response(path, scope)
        response.headers.update(self._headers)
        return response
