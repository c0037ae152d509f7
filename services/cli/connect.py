"""Which suite a command speaks to: options, then the environment, then the one of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.errors import ConfigurationError
from services.suite import settings as suite_settings

if TYPE_CHECKING:
    from services.cli.api import Api
    from services.cli.screen import Screen


@dataclass(frozen=True)
class Target:
    """What was said on the command line or in the environment; empty where nothing was."""

    url: str = ""
    key: str = field(default="", repr=False)

    @contextmanager
    def connect(self, screen: Screen, *, patient: bool = False) -> Iterator[Api]:
        """A client; a patient one waits for a suite that is away until it is back.

        Raises:
            ConfigurationError: no URL or no key is known.
        """
        from services.cli.api import FOREVER_S, PATIENCE_S, Api

        url, key = self._resolve()
        api = Api(url, key, FOREVER_S if patient else PATIENCE_S, screen.note)
        try:
            yield api
        finally:
            api.close()

    def _resolve(self) -> tuple[str, str]:
        folder = suite_settings.default_folder()
        local = suite_settings.read(folder)
        url = self.url or (local.url if local else "")
        key = self.key or (local.key if local and url.rstrip("/") == local.url else "")
        if not url:
            raise ConfigurationError(
                f"No suite is known: none was ever started on {folder}.",
                reason="NO_SUITE",
                remedy="Start one with avatar up, or name one with AVATAR_URL and AVATAR_KEY.",
            )
        if not key:
            raise ConfigurationError(
                f"No API key for {url} is known.",
                reason="NO_KEY",
                remedy="Set AVATAR_KEY to one; avatar up makes one for a suite on this machine.",
            )
        return url, key
