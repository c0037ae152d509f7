"""Who uses live sessions in tests: a tenant with an avatar, and what comes over a WebSocket."""

from __future__ import annotations

import asyncio
import io
import json
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import av
import httpx
from gateway_suite import House, Json, Tenant, client
from suite import RunningService
from websockets.asyncio.client import ClientConnection, connect

RATE_HZ = 16_000
# Machines that test are busy: what stands still for long is not broken.
LIVE = {
    "quota_sessions": 20, "reconnect_s": 600, "stall_s": 60, "idle_timeout_s": 3000
}  # fmt: skip


def tone(seconds: float, rate_hz: int = RATE_HZ, level: int = 8000) -> bytes:
    half = rate_hz // 500
    n = round(seconds * rate_hz)
    return array("h", [level if i // half % 2 else -level for i in range(n)]).tobytes()


@dataclass
class Stage:
    """A gateway with two renderers, and a tenant with an avatar that is ready."""

    house: House
    gateway: RunningService
    renderers: list[RunningService]
    settings: dict[str, object]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.ports['port']}"

    def http(self, tenant: Tenant) -> httpx.Client:
        return client(self.url, tenant.http.headers["Authorization"].removeprefix("Bearer "))


def start_renderer(house: House, redness: int, places: int = 100) -> RunningService:
    module = "tests.integration.services.gateway.live_services"
    return house.suite.start(module, REDNESS=str(redness), PLACES=str(places))


@dataclass
class Guest:
    """A tenant's client of the stage's gateway."""

    stage: Stage
    tenant: Tenant
    avatar: Json
    http: httpx.Client

    def open(self, **wishes: object) -> Json:
        body = {"avatar": self.avatar["id"], "sample_rate_hz": RATE_HZ, **wishes}
        answer = self.http.post("/v1/sessions", json=body)
        assert answer.status_code == 201, answer.text
        session: Json = answer.json()
        return session

    def look(self, session: Json) -> Json:
        answer = self.http.get(f"/v1/sessions/{session['id']}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def skipped(self, session: Json) -> int:
        """Frames that its session says it never showed."""
        return int(self.look(session)["counters"]["skipped_frames"])


def missing(slots: Sequence[int]) -> int:
    """Frames that did not come between those that did, in order and each once.

    A machine that is busy skips frames, and its session tells how many.
    """
    steps = [after - before for before, after in pairwise(slots)]
    assert all(step > 0 for step in steps)
    return sum(steps) - len(steps)


@dataclass
class Picture:
    slot: int
    loudness: float
    hue: int
    redness: int


@dataclass
class Stream:
    """What came over one WebSocket."""

    socket: ClientConnection
    media: bytearray = field(default_factory=bytearray)
    news: list[Json] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                message = await self.socket.recv()
                if isinstance(message, bytes):
                    self.media += message
                else:
                    self.news.append(json.loads(message))

    async def further(self, n: int = 1) -> None:
        """Until so many more news have come; sessions tell how they are every second."""
        wanted = len(self.news) + n
        await self.until(lambda: len(self.news) >= wanted)

    def has(self, kind: str) -> bool:
        return any(each["type"] == kind for each in self.news)

    def pictures(self) -> list[Picture]:
        with av.open(io.BytesIO(self.media)) as container:
            return [picture_of(frame) for frame in container.decode(video=0)]

    def loud_s(self) -> list[float]:
        """Times of the session at which something is heard."""
        with av.open(io.BytesIO(self.media)) as container:
            return [
                float(part.time)
                for part in container.decode(audio=0)
                if max(map(abs, array("f", bytes(part.planes[0])))) > 0.1
            ]


def picture_of(frame: av.VideoFrame) -> Picture:
    luma, blue, red = (bytes(plane)[0] for plane in frame.planes)
    slot = round(25 * float(frame.time))
    return Picture(slot, (luma - 40) / 160, round((blue - 28) / 4), red)


@asynccontextmanager
async def streaming(session: Json, media: str = "fmp4") -> AsyncIterator[Stream]:
    url = f"{session['websocket_url']}?token={session['token']}&media={media}"
    async with connect(url, max_size=None) as socket:
        yield Stream(socket)
