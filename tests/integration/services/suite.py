"""Services as processes of their own, for the tests that need several of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
import urllib3
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from services.common.errors import Unavailable
from services.common.local import LocalServers
from services.common.rpc import open_channel, remote_errors
from services.common.settings import RpcSettings

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
TOKEN = "a token that all services share"
RPC = RpcSettings(token=SecretStr(TOKEN))


def child_processes(pid: int) -> list[int]:
    """Processes that this one has started, and that run."""
    running: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended since
            running += map(int, (thread / "children").read_text().split())
    return running


@dataclass
class RunningService:
    """A process that has said it is ready."""

    module: str
    process: subprocess.Popen[str]
    ports: dict[str, int]
    log_path: Path

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.ports['port']}"

    def families(self) -> list[Metric]:
        """What it serves at /metrics."""
        url = f"http://127.0.0.1:{self.ports['metrics_port']}/metrics"
        return list(text_string_to_metric_families(urllib3.request("GET", url).data.decode()))

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of this name; 0 before there are any."""
        return sum(
            sample.value
            for family in self.families()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def children(self) -> list[int]:
        """Processes that it has started, and that run."""
        return child_processes(self.process.pid)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return self.log_path.read_text()


@dataclass
class Suite:
    """Starts services that share servers; :meth:`stop` ends all of them."""

    servers: LocalServers
    folder: Path
    running: list[RunningService] = field(default_factory=list)

    def start(self, module: str, **settings: object) -> RunningService:
        """``module`` with its arguments, if it takes any."""
        state = self.servers.state
        environment = {
            **os.environ,
            "AVATAR_STORAGE__URL": state.s3_url,
            "AVATAR_STORAGE__ACCESS_KEY": state.access_key,
            "AVATAR_STORAGE__SECRET_KEY": state.secret_key,
            "AVATAR_REDIS_URL": state.redis_url,
            "AVATAR_RPC__TOKEN": TOKEN,
            "PYTHONPATH": str(ROOT),
            # Frames are compared with the library's, which bear no marks.
            "AVATAR_PROVENANCE__WATERMARK": "false",
            "AVATAR_PROVENANCE__LABEL_LIVE": "false",
            "AVATAR_PROVENANCE__FOLDER": str(self.folder / "provenance"),
            **{
                f"AVATAR_{name}": value if isinstance(value, str) else json.dumps(value)
                for name, value in settings.items()
            },
        }
        log_path = self.folder / f"{module}.{len(self.running)}.log"
        with log_path.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *module.split()],
                stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
            )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log_path.read_text()
        service = RunningService(module, process, json.loads(line), log_path)
        self.running.append(service)
        return service

    def stop(self) -> None:
        for service in self.running:
            service.process.terminate()
        for service in self.running:
            try:
                service.process.wait(20)
            except subprocess.TimeoutExpired:
                service.kill()


async def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll ``condition``, which may block, in a thread."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.02)


async def on(target: str, work: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Run ``work`` with a channel, raising our errors; again where gRPC lost what was said."""
    async with open_channel(target, RPC) as channel:
        for _ in range(5):
            try:
                with remote_errors():
                    return await work(channel)
            except Unavailable as error:
                if error.reason != "RPC_STATUS_LOST":
                    raise
        raise AssertionError("gRPC lost the status five times")
