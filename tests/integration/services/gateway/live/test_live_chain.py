"""A live session with everything real: gateway, encoder of speech, renderer, avatar."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from gateway_suite import House, Json, Tenant, client
from live_guests import missing
from numpy.typing import NDArray
from scipy.signal import correlate
from suite import RunningService
from tiny import SAMPLES, TinySubject, consented
from websockets.asyncio.client import connect

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.jobs import connect as connect_redis
from services.gateway.core import Tables
from services.gateway.model import AvatarRecord, now_s

pytestmark = pytest.mark.realtime
FloatArray = NDArray[np.float64]
SPEECH_S = 3.0


@dataclass
class Chain:
    house: House
    gateway: RunningService

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.ports['port']}"


@pytest.fixture(scope="module")
def chain(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    expression = house.suite.start("services.expression")
    work = tmp_path_factory.mktemp("live-chain")
    renderer = house.suite.start("services.renderer", WORK_DIR=str(work))
    # Machines that test are busy: frames may come late, and all of them are wanted.
    live = {"delay_ms": 1000, "stall_s": 120, "reconnect_s": 600, "idle_timeout_s": 3000}
    settings = {
        **house.settings, "EXPRESSION_TARGET": expression.target,
        "RENDERER_TARGETS": [renderer.target], "LIVE": live,
    }  # fmt: skip
    gateway = house.suite.start("services.gateway", **settings)
    yield Chain(house, gateway)
    for service in (gateway, renderer, expression):
        service.process.terminate()
        service.process.wait(30)


async def put_avatar(house: House, tenant: str, consent: str, bundle: ArtifactRef) -> str:
    """An avatar that is ready, without the way there, which other tests go."""
    async with connect_redis(house.suite.servers.state.redis_url) as redis:
        record = AvatarRecord(
            id="av_tiny", tenant=tenant, created_s=now_s(), updated_s=now_s(), name="tiny",
            video="up_none", consent=consent, preset="demo", size_px=256, phase="ready",
            version=1, bundle=bundle,
        )  # fmt: skip
        return (await Tables(redis).avatars.create(record)).id


def speech() -> tuple[bytes, int]:
    with wave.open(str(SAMPLES / "speech.wav")) as file:
        rate_hz = file.getframerate()
        return file.readframes(round(SPEECH_S * rate_hz)), rate_hz


async def listen(session: Json, pcm: bytes) -> tuple[bytes, list[Json]]:
    media, news = bytearray(), list[Json]()
    url = f"{session['websocket_url']}?token={session['token']}"
    async with asyncio.timeout(600), connect(url, max_size=None) as socket:

        async def until(kind: str) -> None:
            n = len(news)
            while not any(each["type"] == kind for each in news[n:]):
                message = await socket.recv()
                if isinstance(message, bytes):
                    media.extend(message)
                else:
                    news.append(json.loads(message))

        await until("stats")
        await socket.send(pcm)
        await socket.send(json.dumps({"type": "segment_end"}))
        await until("segment_end")
        await until("stats")
    return bytes(media), news


def test_an_avatar_says_what_it_is_sent(
    chain: Chain, tenant: Tenant, tiny_subject: TinySubject, tmp_path: Path
) -> None:
    consent = tenant.consent()
    folder = consented(tiny_subject.avatar, f"tenants/{tenant.name}/consents/{consent}", tmp_path)
    prefix = f"tenants/{tenant.name}/avatars/av_tiny/bundles/v1"
    bundle = upload_folder(chain.house.store, folder, prefix)
    avatar = asyncio.run(put_avatar(chain.house, tenant.name, consent, bundle))
    pcm, rate_hz = speech()
    with client(chain.url, tenant.http.headers["Authorization"].removeprefix("Bearer ")) as http:
        body = {"avatar": avatar, "sample_rate_hz": rate_hz, "height_px": 128}
        session = http.post("/v1/sessions", json=body, timeout=300).json()
        media, news = asyncio.run(listen(session, pcm))
        details = http.get(f"/v1/sessions/{session['id']}").json()
    assert details["counters"]["moves"] == 0
    ended = next(each for each in news if each["type"] == "segment_end")
    assert ended["played_ms"] == pytest.approx(1000 * SPEECH_S, abs=2)
    pictures, slots, sound, first_s = decoded(media)
    assert pictures.shape[1:] == (session["height_px"], session["width_px"])
    assert pictures.std() > 20  # a face in front of something, not a plain field
    begin_s, likeness = where(sound, pcm, rate_hz)
    assert likeness > 0.8  # Opus changes it a little
    begin = round(25 * (first_s + begin_s))
    spoken = range(begin, begin + round(25 * SPEECH_S))
    assert missing(slots) <= details["counters"]["skipped_frames"]  # else one for every 40 ms
    motion = dict(zip(slots[1:], mouth_motion(pictures), strict=True))
    silent = [motion[slot] for slot in slots[1:] if slot < begin - 2]
    assert np.mean([motion[slot] for slot in spoken if slot in motion]) > np.mean(silent)


def decoded(media: bytes) -> tuple[FloatArray, list[int], FloatArray, float]:
    """Luma [T, H, W] and the session's frames, sound at 48 kHz [n] and when it begins."""
    with av.open(io.BytesIO(media)) as container:
        frames = list(container.decode(video=0))
    with av.open(io.BytesIO(media)) as container:
        parts = list(container.decode(audio=0))
    luma = np.stack([frame.to_ndarray(format="gray") for frame in frames]).astype(np.float64)
    sound = np.concatenate([part.to_ndarray().reshape(-1) for part in parts])
    return luma, [round(frame.time * 25) for frame in frames], sound, float(parts[0].time)


def where(sound: FloatArray, pcm: bytes, rate_hz: int) -> tuple[float, float]:
    """When in ``sound`` the speech begins, s, and how alike they are there, to 1."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    times = np.arange(round(len(samples) * 48_000 / rate_hz)) / 48_000
    said = np.interp(times, np.arange(len(samples)) / rate_hz, samples)
    products = correlate(sound, said, "valid")
    at = int(products.argmax())
    heard = sound[at : at + len(said)]
    norm = float(np.linalg.norm(heard) * np.linalg.norm(said))
    return at / 48_000, float(products[at]) / norm


def mouth_motion(pictures: FloatArray) -> FloatArray:
    """[T - 1]: how much changes from frame to frame in the lower middle of the picture."""
    height, width = pictures.shape[1:]
    part = pictures[:, height // 2 : 4 * height // 5, width // 3 : 2 * width // 3]
    change: FloatArray = np.abs(np.diff(part, axis=0)).mean(axis=(1, 2))
    return change
