"""Which processes a suite has, and what each is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.local_server import HOST, Server, free_port, redis_server, s3_server
from services.suite.settings import SuiteSettings

_ROOT = Path(__file__).resolve().parents[2]
# Who answers requests goes before who renders, and both before who works off a queue.
_NICE = {"services.renderer": 5, "services.expression": 5}
_NICE_WORKER = 10


@dataclass(frozen=True)
class Plan:
    """Two tiers: the services are started when the servers below them answer."""

    servers: tuple[Server, ...]
    services: tuple[Server, ...]


@dataclass(frozen=True)
class _Spec:
    """A service: its name, ``python -m`` arguments and the port it is to serve on."""

    name: str
    arguments: tuple[str, ...]
    port: int | None = None

    @property
    def nice(self) -> int:
        """How far it stands back for the others."""
        if "-work-" in self.name:
            return _NICE_WORKER
        return _NICE.get(self.arguments[0], 0)

    @property
    def target(self) -> str:
        return f"{HOST}:{self.port}"


def make_plan(settings: SuiteSettings, lock_fd: int) -> Plan:
    """All processes, none started. Ports between them are chosen here and kept over restarts.

    Raises:
        ConfigurationError: a server program is missing.
    """
    folder = settings.folder
    logs = folder / "logs"
    servers = [redis_server(folder, logs / "redis.log", settings.redis, lock_fd)]
    if settings.s3 is not None:
        servers.append(s3_server(folder, logs / "objects.log", settings.s3, lock_fd))
    specs = _specs(settings)
    common = _common_environment(settings, specs)
    services = [_server(spec, folder, common, lock_fd) for spec in specs]
    return Plan(tuple(servers), tuple(services))


def answer_of(server: Server) -> Mapping[str, int | None]:
    """The ports that a service has named on its first line of output; empty before that."""
    if server.answer is None or not server.answer.is_file():
        return {}
    line, end, _ = server.answer.read_text().partition("\n")
    return dict(json.loads(line)) if end else {}


def _specs(settings: SuiteSettings) -> list[_Spec]:
    numbers = range(1, settings.workers + 1)
    ports = _ports()
    return [
        *(
            _Spec(name, ("services.gateway",), settings.api_port)
            for name in ("gateway", *(f"gateway-{n}" for n in range(2, settings.gateways + 1)))
        ),
        _Spec("preprocess", ("services.preprocess", "serve"), next(ports)),
        _Spec("trainer", ("services.trainer", "serve"), next(ports)),
        _Spec("expression", ("services.expression",), next(ports)),
        *_renderers(settings, ports),
        *(_Spec(f"preprocess-work-{n}", ("services.preprocess", "work")) for n in numbers),
        *(_Spec(f"trainer-work-{n}", ("services.trainer", "work")) for n in numbers),
        *(_Spec(f"dubbing-work-{n}", ("services.dubbing",)) for n in numbers),
    ]


def _renderers(settings: SuiteSettings, ports: Iterator[int]) -> list[_Spec]:
    if settings.renderers_on_serve:
        return [_Spec("renderer-serve", ("services.renderer", "--serve"), next(ports))]
    numbers = range(1, settings.renderers + 1)
    return [_Spec(f"renderer-{n}", ("services.renderer",), next(ports)) for n in numbers]


def _ports() -> Iterator[int]:
    """Free ones, each once."""
    given = set[int]()
    while True:
        if (port := free_port()) not in given:
            given.add(port)
            yield port


def _common_environment(settings: SuiteSettings, specs: list[_Spec]) -> dict[str, str]:
    by_name = {spec.name: spec for spec in specs}
    renderers = [spec.target for spec in specs if spec.name.startswith("renderer-")]
    targets = {
        "AVATAR_PREPROCESS_TARGET": by_name["preprocess"].target,
        "AVATAR_TRAINER_TARGET": by_name["trainer"].target,
        "AVATAR_EXPRESSION_TARGET": by_name["expression"].target,
        "AVATAR_RENDERER_TARGETS": json.dumps(renderers),
        "AVATAR_RENDERER_MAX_REPLICAS": str(settings.renderers),
        "AVATAR_WORK_DIR": str(settings.folder / "work"),
        "AVATAR_RPC__DRAIN_S": "5",
        "AVATAR_GATEWAY_SHARE_PORT": "true" if settings.gateways > 1 else "false",
    }
    given = {name: value for name, value in settings.variables.items() if _is_for_services(name)}
    python_path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return {**targets, **given, "PYTHONPATH": python_path}


def _is_for_services(name: str) -> bool:
    return name.startswith("AVATAR_") and name not in ("AVATAR_URL", "AVATAR_KEY")


def _server(spec: _Spec, folder: Path, common: Mapping[str, str], lock_fd: int) -> Server:
    answer = folder / "run" / f"{spec.name}.json"
    port = {} if spec.port is None else {_port_variable(spec): str(spec.port)}
    server = Server(
        spec.name,
        [sys.executable, "-m", *spec.arguments],
        folder / "logs" / f"{spec.name}.log",
        lambda: bool(answer_of(server)),
        {**common, **port},
        lock_fd,
        spec.port,
        answer,
        spec.nice,
    )
    return server


def _port_variable(spec: _Spec) -> str:
    return "AVATAR_GATEWAY_PORT" if "services.gateway" in spec.arguments else "AVATAR_RPC__PORT"
