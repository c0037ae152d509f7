"""The studio: the web page of the suite, static files under ``/studio``.

It is a client of ``/v1`` as any other: whoever opens it signs in with an API key. Its page may load
nothing but what lies here, and talk to nobody but this gateway and the object store.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from services.common.settings import StorageSettings
from services.gateway.settings import GatewaySettings

STATIC = Path(__file__).parent / "static"
_PATH = "/studio"


def add_studio(app: FastAPI, settings: GatewaySettings) -> None:
    """Serve the studio's files, and lead ``/`` there."""
    app.mount(_PATH, StudioFiles(page_headers(settings.storage)), name="studio")

    @app.get("/", include_in_schema=False)
    async def to_studio() -> RedirectResponse:
        return RedirectResponse(f"{_PATH}/", 307)


def page_headers(storage: StorageSettings) -> dict[str, str]:
    """What a browser is told about every file: whom the page may talk to, and who may frame it."""
    url = urlsplit(str(storage.public_url or storage.url))
    store = f"{url.scheme}://{url.netloc}"
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": f"'self' blob: {store}",
        "media-src": f"'self' blob: {store}",
        "connect-src": f"'self' {store}",
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
