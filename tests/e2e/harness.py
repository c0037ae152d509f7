"""A suite of real processes, tenants who use it through its public API, and a way to hurt it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.cli.api import FOREVER_S, Api, Resource
from services.cli.transfer import upload
from services.suite import control
from services.suite.settings import SuiteSettings
from services.suite.state import Phase, ProcessState, SuiteState

STATEMENT = "I am an invented person and agree to anything."
ENDED = ("succeeded", "ready", "failed", "cancelled", "dead")


def until(condition: Callable[[], object], what: object, timeout_s: float = 240.0) -> None:
    """Wait until ``condition`` holds; the failure says ``what`` never came, as it is by then."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.25)


@dataclass(frozen=True)
class Suite:
    """A running suite."""

    settings: SuiteSettings

    @property
    def folder(self) -> Path:
        return self.settings.folder

    def state(self) -> SuiteState:
        state = control.look(self.folder)
        assert state is not None, "the supervisor is gone"
        return state

    def process(self, name: str) -> ProcessState:
        return next(p for p in self.state().processes if p.name == name)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until the supervisor has a new one ready."""
        before = self.process(name)
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        until(
            lambda: (now := self.process(name)).phase is Phase.READY and now.pid != before.pid,
            f"{name} is back",
        )

    def tenant(self, name: str) -> Tenant:
        """A tenant with a key of its own."""
        operator = Api(self.settings.url, self.settings.bootstrap_key, FOREVER_S)
        made = operator.post("keys", {"tenant": name, "name": "tests", "role": "admin"})
        operator.close()
        return Tenant(name, made["key"], Api(self.settings.url, made["key"], 120.0))


@dataclass(frozen=True)
class Tenant:
    """Who uses the suite."""

    name: str
    key: str
    api: Api

    def create_avatar(self, video: Path, name: str = "ann") -> Resource:
        consent = self.api.post(
            "consents", {"subject_name": name, "granted_by": name, "statement": STATEMENT}
        )
        body = {
            "name": name,
            "video": upload(self.api, video, "video", ignore),
            "consent": consent["id"],
            "preset": "demo",
            "size_px": 256,
        }
        return self.api.post("avatars", body)

    def create_dub(self, avatar: str, audio: str, **more: object) -> Resource:
        return self.api.post("dubs", {"avatar": avatar, "audio": audio, **more})

    def upload_audio(self, audio: Path) -> str:
        return upload(self.api, audio, "audio", ignore)

    def wait(self, path: str, timeout_s: float = 600.0) -> Resource:
        """The resource when it has ended."""
        found: Resource = {"waited for": path}

        def ended() -> bool:
            found.update(self.api.get(path))
            return found["state"] in ENDED

        until(ended, found, timeout_s)
        return found

    def fetch(self, url: str, out: Path) -> Path:
        """What a signed URL names; no key is shown to the store."""
        answer = httpx.get(url, timeout=60)
        answer.raise_for_status()
        out.write_bytes(answer.content)
        return out


@dataclass(frozen=True)
class Made:
    """What a tenant has had made, as the API shows it."""

    tenant: Tenant
    avatar: Resource
    dub: Resource


@contextmanager
def running_suite(folder: Path, changes: Mapping[str, str]) -> Iterator[Suite]:
    """Start all services on ``folder`` and leave no process behind."""
    settings = control.prepare(folder, changes)
    supervisor = control.launch(folder, attached=True)
    try:
        control.wait_ready(folder, supervisor, ignore)
        yield Suite(settings)
    finally:
        control.stop(folder)
        supervisor.wait(60)


def cut_sound(source: Path, out: Path, seconds: float) -> Path:
    """The first seconds of a speech file."""
    import soundfile

    rate = soundfile.info(str(source)).samplerate
    samples, _ = soundfile.read(str(source), frames=int(seconds * rate))
    soundfile.write(str(out), samples, rate)
    return out


def ignore(*_: object) -> None:
    """Nobody looks on."""


def cpu_and_rss(pid: int) -> tuple[float, int]:
    """Seconds of CPU time and bytes of resident memory of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
