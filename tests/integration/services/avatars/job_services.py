"""The services of preprocess and trainer and their workers, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import redis
from pydantic import SecretStr
from suite import child_processes

from services.common.jobs.connect import connect_worker
from services.common.local import LocalServers
from services.common.rpc import open_channel, remote_errors
from services.common.rpc.messages import object_ref_message
from services.common.settings import RpcSettings
from services.common.storage import ObjectRef, ObjectStore
from services.gen.avatar.v1 import preprocess_pb2
from services.gen.avatar.v1.preprocess_pb2_grpc import PreprocessServiceStub

ROOT = Path(__file__).parents[4]
TOKEN = "a token that all services share"
RPC = RpcSettings(token=SecretStr(TOKEN))
AVATAR = "tenants/acme/avatars/ann"
T = TypeVar("T")


def until(condition: Callable[[], object], what: str, timeout_s: float = 600.0) -> None:
    """Wait for a condition; fail with ``what`` when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.05)


@dataclass
class Running:
    """A process of ours."""

    process: subprocess.Popen[str]
    port: int | None

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def children(self) -> list[int]:
        """Those who work on a job."""
        return child_processes(self.process.pid)


@dataclass(frozen=True)
class Suite:
    """Starts processes on one pair of servers, and reads what they leave there."""

    servers: LocalServers
    store: ObjectStore
    folder: Path

    @contextmanager
    def run(
        self, service: str, role: str, machine: str = "a", **settings: str
    ) -> Iterator[Running]:
        """``machine`` names a disk: workers on different ones share nothing but the servers."""
        state = self.servers.state
        environment = os.environ | {
            "AVATAR_STORAGE__URL": state.s3_url,
            "AVATAR_STORAGE__ACCESS_KEY": state.access_key,
            "AVATAR_STORAGE__SECRET_KEY": state.secret_key,
            "AVATAR_REDIS_URL": state.redis_url,
            "AVATAR_RPC__TOKEN": TOKEN,
            "AVATAR_WORK_DIR": str(self.folder / machine),
            "AVATAR_JOBS__LEASE_S": "3",
            "AVATAR_JOBS__BACKOFF_BASE_S": "0.1",
            "AVATAR_JOBS__SWEEP_DELAY_S": "0",
            "AVATAR_TRAINER_CHECKPOINT_S": "2",
            "AVATAR_TRAINER_STEPS": "300",
        }
        log_path = self.folder / f"{service}-{role}.log"
        with log_path.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}", role],
                stdout=subprocess.PIPE, stderr=log, env=environment, cwd=ROOT, text=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log_path.read_text()
            yield Running(process, json.loads(line)["port"])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def redis(self) -> redis.Redis:
        """A client to look at what only the services see."""
        return connect_worker(self.servers.redis_url)

    def keys(self, prefix: str) -> list[str]:
        """What lies in the object store."""
        return [found.key for found in self.store.list(prefix)]

    def until_swept(self, queue: str) -> None:
        """Wait until the leavings of ended jobs are removed."""
        with self.redis() as client:
            until(lambda: not client.exists(f"jobs:{{{queue}}}:sweep"), "everything is swept")


def ask(server: Running, work: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Run ``work`` with a channel of ours, raising our errors."""

    async def session() -> T:
        async with open_channel(f"127.0.0.1:{server.port}", RPC) as channel:
            with remote_errors():
                return await work(channel)

    return asyncio.run(session())


def call(server: Running, stub: type, method: str, request: Any) -> Any:
    """One unary call."""

    async def work(channel: grpc.aio.Channel) -> Any:
        return await getattr(stub(channel), method)(request, timeout=30)

    return ask(server, work)


def watch(
    server: Running, stub: type, method: str, request: Any, see: Callable[[Any], None]
) -> Any:
    """Follow a job to its end, showing ``see`` every message; the last one."""

    async def work(channel: grpc.aio.Channel) -> Any:
        message = None
        async for message in getattr(stub(channel), method)(request, timeout=600):
            await asyncio.to_thread(see, message)
        return message

    return ask(server, work)


@dataclass
class PreprocessRun:
    """A preprocess job whose worker was killed halfway, as its watcher saw it."""

    seen: list[preprocess_pb2.PreprocessJob] = field(default_factory=list)
    killed_at: str = ""

    @property
    def job(self) -> preprocess_pb2.PreprocessJob:
        return self.seen[-1]


def create_preprocess(server: Running, source: ObjectRef, size_px: int) -> Any:
    """A job of tenant acme."""
    request = preprocess_pb2.CreatePreprocessJobRequest(
        parent="tenants/acme",
        preprocess_job=preprocess_pb2.PreprocessJob(
            avatar=AVATAR, source=object_ref_message(source), size_px=size_px
        ),
    )
    return call(server, PreprocessServiceStub, "CreatePreprocessJob", request).preprocess_job
