"""The one settings file of a suite: made at the first start, kept, readable by its owner only.

It holds ``NAME=value`` lines. Every process gets its ``AVATAR_…`` variables, so whatever a service
can be told may be written there; what is not there comes from the environment of ``avatar up``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from services.common.errors import ConfigurationError
from services.common.local_server import (
    HOST,
    RedisAccess,
    S3Access,
    free_port,
    port_is_free,
    write_private,
)

FILE = "settings.env"
HOME = "AVATAR_HOME"
API_PORT = 8080
_LOCAL, _GIVEN = "local", "given"
_PLAIN, _SERVE = "plain", "serve"
_HEAD = """\
# Settings of this suite; holds secrets. Made by `avatar up`, which keeps what you change here.
# Every process gets the AVATAR_ variables: add any that `docs` names, and start again.
"""


@dataclass(frozen=True)
class SuiteSettings:
    """The content of the file.

    Args:
        folder: of the suite: settings, data, logs.
        variables: the lines of the file, by name.
    """

    folder: Path
    variables: Mapping[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        """Of the API."""
        return self._get("AVATAR_URL")

    @property
    def api_port(self) -> int:
        """Port of the API."""
        return self._port("AVATAR_URL")

    @property
    def key(self) -> str:
        """The API key that the command line uses; empty until one is made."""
        return self.variables.get("AVATAR_KEY", "")

    @property
    def bootstrap_key(self) -> str:
        """The operator's key, which makes the keys of tenants."""
        return self._get("AVATAR_BOOTSTRAP_KEY")

    @property
    def workers(self) -> int:
        """Workers of each kind of job."""
        return self._count("SUITE_WORKERS")

    @property
    def gateways(self) -> int:
        """Processes that serve the API, on one port."""
        return self._count("SUITE_GATEWAYS") if "SUITE_GATEWAYS" in self.variables else 1

    @property
    def renderers(self) -> int:
        """Replicas of the renderer; on Ray Serve, at most."""
        return self._count("SUITE_RENDERERS")

    @property
    def renderers_on_serve(self) -> bool:
        """Whether Ray Serve runs them, and as many as there is work for."""
        value = self.variables.get("SUITE_RENDERER", _PLAIN)
        if value not in (_PLAIN, _SERVE):
            raise self._wrong(f"wants {_PLAIN} or {_SERVE} as SUITE_RENDERER")
        return value == _SERVE

    @property
    def redis(self) -> RedisAccess:
        """Of the Redis server that the suite runs."""
        password = urlsplit(self._get("AVATAR_REDIS_URL")).password or ""
        return RedisAccess(self._port("AVATAR_REDIS_URL"), password)

    @property
    def s3(self) -> S3Access | None:
        """Of the S3 server that the suite runs; None when another one was given."""
        if self._get("SUITE_STORAGE") == _GIVEN:
            return None
        return S3Access(
            self._port("AVATAR_STORAGE__URL"),
            self._get("AVATAR_STORAGE__ACCESS_KEY"),
            self._get("AVATAR_STORAGE__SECRET_KEY"),
        )

    def check(self) -> None:
        """Read every line that the suite itself needs. Raises :class:`ConfigurationError`."""
        _ = (self.api_port, self.redis, self.s3, self.workers, self.bootstrap_key)
        _ = (self.gateways, self.renderers, self.renderers_on_serve)

    def with_changes(self, changes: Mapping[str, str]) -> SuiteSettings:
        """The same with some lines changed; not saved."""
        return replace(self, variables={**self.variables, **changes})

    def with_free_ports(self) -> SuiteSettings:
        """The same, with other ports for those of our servers that somebody took meanwhile."""
        changes = {}
        if not port_is_free(self.redis.port):
            changes["AVATAR_REDIS_URL"] = replace(self.redis, port=free_port()).url
        if self.s3 is not None and not port_is_free(self.s3.port):
            changes["AVATAR_STORAGE__URL"] = replace(self.s3, port=free_port()).url
        return self.with_changes(changes)

    def save(self) -> None:
        """Write the file; lines that it has and this does not change, comments too, stay."""
        path = self.folder / FILE
        old = path.read_text().splitlines() if path.exists() else _HEAD.splitlines()
        left = dict(self.variables)
        lines = []
        for line in old:
            name = line.partition("=")[0].strip()
            lines.append(f"{name}={left.pop(name)}" if name in left else line)
        lines += [f"{name}={value}" for name, value in left.items()]
        write_private(path, "\n".join(lines) + "\n")

    def _get(self, name: str) -> str:
        if value := self.variables.get(name):
            return value
        raise self._wrong(f"has no {name}")

    def _port(self, name: str) -> int:
        try:
            if port := urlsplit(self._get(name)).port:
                return port
        except ValueError:
            pass
        raise self._wrong(f"names no port in {name}")

    def _count(self, name: str) -> int:
        value = self._get(name)
        if value.isdecimal() and 1 <= int(value) <= 64:
            return int(value)
        raise self._wrong(f"wants a number from 1 to 64 as {name}")

    def _wrong(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.folder / FILE} {what}.",
            reason="INVALID_SETTINGS",
            remedy="Correct the line, or remove the file: its secrets are then made anew.",
        )


def default_folder() -> Path:
    """``AVATAR_HOME``, else ``~/.avatar``."""
    return Path(os.environ.get(HOME) or Path.home() / ".avatar")


def read(folder: Path) -> SuiteSettings | None:
    """The settings of the suite on ``folder``; None when there never was one."""
    path = folder / FILE
    if not path.is_file():
        return None
    values = dotenv_values(path, interpolate=False)
    return SuiteSettings(folder, {name: value or "" for name, value in values.items()})


def make(folder: Path) -> SuiteSettings:
    """New settings with new secrets; not saved.

    An S3 server named by ``AVATAR_STORAGE__URL`` and its keys in the environment is used;
    otherwise the suite runs one.

    Raises:
        ConfigurationError: a server is named and its keys are not.
    """
    renderers = workers = max(1, (os.cpu_count() or 1) // 4)
    port = API_PORT if port_is_free(API_PORT) else free_port()
    return SuiteSettings(
        folder,
        {
            "AVATAR_URL": f"http://{HOST}:{port}",
            "AVATAR_KEY": "",
            "AVATAR_REDIS_URL": RedisAccess.new().url,
            **_storage(),
            "AVATAR_RPC__TOKEN": secrets.token_urlsafe(32),
            "AVATAR_BOOTSTRAP_KEY": "avk_" + secrets.token_urlsafe(32),
            "AVATAR_PROVENANCE__KEY": secrets.token_urlsafe(32),
            "AVATAR_PROVENANCE__FOLDER": str(folder / "provenance"),
            "AVATAR_WEBHOOK_ALLOW_PRIVATE": "true",  # who runs a suite here may reach what is here
            "SUITE_WORKERS": str(workers),
            "SUITE_RENDERER": _PLAIN,
            "SUITE_RENDERERS": str(renderers),
        },
    )


def _storage() -> dict[str, str]:
    names = ("AVATAR_STORAGE__URL", "AVATAR_STORAGE__ACCESS_KEY", "AVATAR_STORAGE__SECRET_KEY")
    if os.environ.get(names[0]):
        missing = [name for name in names if not os.environ.get(name)]
        if missing:
            raise ConfigurationError(
                f"{names[0]} names an S3 server, and {' and '.join(missing)} are not set.",
                reason="INVALID_SETTINGS",
                remedy=f"Set them, or unset {names[0]} to have one run here.",
            )
        return {"SUITE_STORAGE": _GIVEN, **{name: os.environ[name] for name in names}}
    made = S3Access.new()
    return {"SUITE_STORAGE": _LOCAL} | dict(
        zip(names, (made.url, made.access_key, made.secret_key), strict=True)
    )
