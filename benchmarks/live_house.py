"""Servers, services and viewers of the benchmarks of live sessions."""

from __future__ import annotations

import asyncio
import sys
import time
import wave
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from redis.asyncio import Redis
from websockets.asyncio.client import connect

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
sys.path[:0] = [
    str(ROOT), str(TESTS), str(TESTS / "e2e"), str(TESTS / "integration" / "services"),
    str(TESTS / "unit" / "services" / "gateway" / "live"),
]  # fmt: skip

from suite import RunningService, Suite  # noqa: E402

from services.common.artifacts import ArtifactRef  # noqa: E402
from services.common.jobs import connect as connect_redis  # noqa: E402
from services.common.local import LocalServers  # noqa: E402
from services.common.settings import StorageSettings  # noqa: E402
from services.common.storage import ObjectStore  # noqa: E402
from services.gateway.core import Tables  # noqa: E402
from services.gateway.model import AvatarRecord, ConsentRecord, now_s  # noqa: E402

PREFIX = "tenants/bench/avatars/av_bench/bundles/v1"
CONSENT = "tenants/bench/consents/con_bench"
RESULTS = ROOT / "benchmarks" / "results"
SPEECH = ROOT / "samples" / "speech.wav"
OPERATOR = "the operator's key of this benchmark"
CHUNK_S = 0.04
# How a fragment of video is told from one of sound: the header of its track.
_VIDEO = b"tfhd\x00\x02\x00\x00\x00\x00\x00\x01"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@dataclass
class House:
    """Servers, and services that are started on them."""

    servers: LocalServers
    suite: Suite
    store: ObjectStore
    key: str = ""
    url: str = ""

    def start_gateway(
        self, expression: RunningService, renderer: RunningService, module: str = "services.gateway"
    ) -> RunningService:
        nobody = "127.0.0.1:9"
        gateway = self.suite.start(
            module, BOOTSTRAP_KEY=OPERATOR, PREPROCESS_TARGET=nobody,
            TRAINER_TARGET=nobody, EXPRESSION_TARGET=expression.target,
            RENDERER_TARGETS=[renderer.target], RATE_PER_S=10_000, RATE_BURST=10_000,
            LIVE={"quota_sessions": 100, "max_sessions": 100, "reconnect_s": 600},
        )  # fmt: skip
        self.url = f"http://127.0.0.1:{gateway.ports['port']}"
        body = {"tenant": "bench", "name": "bench", "role": "admin"}
        answer = httpx.post(f"{self.url}/v1/keys", json=body, headers=bearer(OPERATOR))
        self.key = answer.json()["key"]
        return gateway

    def put_avatar(self, bundle: ArtifactRef) -> str:
        """An avatar that is ready, without the way there."""
        asyncio.run(self._put_avatar(bundle))
        return "av_bench"

    async def _put_avatar(self, bundle: ArtifactRef) -> None:
        async with connect_redis(self.servers.state.redis_url) as redis:
            assert isinstance(redis, Redis)
            tables, now = Tables(redis), now_s()
            consent = ConsentRecord(
                id="con_bench", tenant="bench", created_s=now, subject_name="nobody",
                statement="", granted_by="nobody", expires_s=None,
            )  # fmt: skip
            await tables.consents.create(consent)
            avatar = AvatarRecord(
                id="av_bench", tenant="bench", created_s=now, updated_s=now, name="bench",
                video="up_none", consent=consent.id, preset="standard", size_px=512,
                phase="ready", version=1, bundle=bundle,
            )  # fmt: skip
            await tables.avatars.create(avatar)

    async def open(self, **wishes: object) -> dict[str, Any]:
        async with httpx.AsyncClient(headers=bearer(self.key), timeout=120) as http:
            answer = await http.post(f"{self.url}/v1/sessions", json=wishes)
            assert answer.is_success, answer.text
            session: dict[str, Any] = answer.json()
            return session

    async def look(self, session: dict[str, Any]) -> dict[str, Any]:
        async with httpx.AsyncClient(headers=bearer(self.key), timeout=30) as http:
            found: dict[str, Any] = (await http.get(session["url"])).json()
            return found

    async def end(self, session: dict[str, Any]) -> None:
        async with httpx.AsyncClient(headers=bearer(self.key), timeout=30) as http:
            await http.delete(session["url"])


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    with LocalServers.start(folder / "servers") as servers:
        state = servers.state
        store = ObjectStore(
            StorageSettings(
                url=state.s3_url,
                access_key=SecretStr(state.access_key),
                secret_key=SecretStr(state.secret_key),
            )
        )
        store.ensure_bucket()
        (folder / "logs").mkdir()
        suite = Suite(servers, folder / "logs")
        try:
            yield House(servers, suite, store)
        finally:
            suite.stop()


@dataclass
class Watched:
    """What came over one WebSocket, and when."""

    socket: Any
    keep: bool = False
    heard: list[tuple[float, bytes]] = field(default_factory=list)
    pictures_s: list[float] = field(default_factory=list)

    async def read(self) -> None:
        async for message in self.socket:
            if isinstance(message, bytes):
                now_s = time.monotonic()
                self.pictures_s += message.count(_VIDEO) * [now_s]
                if self.keep:
                    self.heard.append((now_s, message))

    def longest_gap_s(self) -> float:
        """Between two pictures."""
        return max((b - a for a, b in pairwise(self.pictures_s)), default=0.0)


@asynccontextmanager
async def watching(session: dict[str, Any], *, keep: bool = False) -> AsyncIterator[Watched]:
    """Somebody who looks; the media are kept if wanted."""
    url = f"{session['websocket_url']}?token={session['token']}"
    async with connect(url, max_size=None, compression=None) as socket:
        watched = Watched(socket, keep)
        reading = asyncio.create_task(watched.read())
        try:
            yield watched
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def speak(socket: Any, pcm: bytes, rate_hz: int, seconds: float) -> None:
    """Send speech as a voice comes, over and over."""
    step = 2 * round(rate_hz * CHUNK_S)
    begin_s, sent = time.monotonic(), 0
    while sent * CHUNK_S < seconds:
        at = sent * step % (len(pcm) - step)
        await socket.send(pcm[at : at + step])
        sent += 1
        await asyncio.sleep(max(0.0, begin_s + sent * CHUNK_S - time.monotonic()))


def speech() -> tuple[bytes, int]:
    """Samples and rate of the sample speech."""
    with wave.open(str(SPEECH)) as file:
        return file.readframes(file.getnframes()), file.getframerate()
