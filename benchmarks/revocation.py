"""The drill of a revocation: how long a person is still shown, and what is left afterwards.

    python benchmarks/revocation.py [AVATAR]

A tenant's avatar (default: the tests' small one, which takes a minute to make) on real services:
one dub is finished, one is being made, and somebody talks to the avatar live. Then its consent is
revoked, and everything is looked at twenty times a second, from the revocation on: when the
renderer refuses a segment, when the live session's socket is closed, when the running dub is
gone, when the consent says ``erased``. Before and after, the tenant's keys of Redis and objects of
the bucket are counted, and all keys and values searched for the ids of what is to be erased.
Writes benchmarks/results/revocation.json, or --out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from live_house import (
    CONSENT,
    PREFIX,
    RESULTS,
    House,
    RunningService,
    bearer,
    open_house,
    speak,
    speech,
    watching,
)

from harness import Tenant, until  # isort: skip
from live_client import live_header, messages, speech_rows  # isort: skip
from suite import RPC  # isort: skip
from tiny import consented, make_tiny_subject  # isort: skip

from services.cli.api import Api
from services.common.artifacts import ArtifactRef, upload_folder
from services.common.errors import FailedPrecondition
from services.common.jobs.connect import connect_worker
from services.common.rpc import open_channel, remote_errors
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from synctalk.evaluation.machine import describe_machine

TENANT, AVATAR = "bench", "av_bench"
LOOK_S = 0.05
PATIENCE_S = 300.0
DUB_S, LONG_S = 4.0, 120.0
Json = dict[str, Any]


class Revoked:
    """Seconds since the revocation until things were seen."""

    def __init__(self) -> None:
        self.began_s = time.monotonic()
        self.seen_s: dict[str, float] = {}

    async def until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        """Look until it is so."""
        while not await condition():
            assert time.monotonic() < self.began_s + PATIENCE_S, f"never: {what}"
            await asyncio.sleep(LOOK_S)
        self.seen_s[what] = round(time.monotonic() - self.began_s, 2)
        print(f"{what}: {self.seen_s[what]} s", flush=True)


def holdings(house: House, ids: Iterable[str]) -> Json:
    """What Redis and the bucket hold of the tenant, by kind, and what names one of ``ids``."""
    wanted = tuple(ids)
    keys: Counter[str] = Counter()
    naming: Counter[str] = Counter()
    with connect_worker(house.servers.state.redis_url) as redis:
        for key in map(str, redis.scan_iter(count=1000)):
            value = _text(redis, key)
            if TENANT in key.split(":"):
                keys[_kind(key)] += 1
            if any(each in key or each in value for each in wanted):
                naming[_kind(key)] += 1
    stored = [each.key for each in house.store.list(f"tenants/{TENANT}")]
    return {
        "redis_keys": dict(sorted(keys.items())),
        "redis_keys_that_name_it": dict(sorted(naming.items())),
        "objects": dict(sorted(Counter(key.split("/")[2] for key in stored).items())),
        "objects_that_name_it": sum(any(each in key for each in wanted) for key in stored),
    }


def _text(redis: Any, key: str) -> str:
    """All that lies under a key."""
    read = {
        "string": redis.get, "hash": redis.hgetall, "set": redis.smembers,
        "list": lambda name: redis.lrange(name, 0, -1),
        "zset": lambda name: redis.zrange(name, 0, -1), "stream": redis.xrange,
        "none": lambda name: "",  # it has expired meanwhile
    }  # fmt: skip
    return str(read[redis.type(key)](key))


def _kind(key: str) -> str:
    """A key without its ids and days."""
    return re.sub(r"[a-z]+_[0-9a-f]{24}|(av|con)_bench|[0-9a-f]{32,}|\d{4}-?\d\d-?\d\d", "*", key)


@dataclass(frozen=True)
class Scene:
    """What there is when the consent is revoked."""

    house: House
    tenant: Tenant
    renderer: RunningService
    bundle: ArtifactRef
    dubs: tuple[str, str]  # one finished, one under way
    uploads: tuple[str, str]

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all that is to be erased."""
        return AVATAR, *self.dubs, *self.uploads


def set_the_scene(house: House, folder: Path, avatar: Path) -> Scene:
    """Real services, an avatar, a finished dub and one under way."""
    work = str(folder / "work")
    expression = house.suite.start("services.expression")
    renderer = house.suite.start("services.renderer", WORK_DIR=work, RENDERER_MAX_LATE_SHARE="1")
    house.suite.start(
        "services.dubbing", EXPRESSION_TARGET=expression.target,
        RENDERER_TARGETS=[renderer.target], WORK_DIR=work,
    )  # fmt: skip
    house.start_gateway(expression, renderer)
    bundle = upload_folder(house.store, consented(avatar, CONSENT, folder), PREFIX)
    house.put_avatar(bundle)
    tenant = Tenant(TENANT, house.key, Api(house.url, house.key, 120.0))
    short, long = folder / "short.wav", folder / "long.wav"
    repeat(short, DUB_S)
    repeat(long, LONG_S)
    uploads = tenant.upload_audio(short), tenant.upload_audio(long)
    done = tenant.create_dub(AVATAR, uploads[0])["id"]
    assert tenant.wait(f"dubs/{done}")["state"] == "succeeded"
    running = tenant.create_dub(AVATAR, uploads[1])["id"]
    until(lambda: tenant.api.get(f"dubs/{running}")["stage"] == "render", "the dub is rendered")
    return Scene(house, tenant, renderer, bundle, (done, running), uploads)


def repeat(out: Path, seconds: float) -> None:
    """The sample speech, over and over, for that long."""
    pcm, rate_hz = speech()
    size = 2 * round(seconds * rate_hz)
    with wave.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((pcm * (size // len(pcm) + 1))[:size])


async def revoke(scene: Scene) -> Json:
    """Seconds from the revocation to what follows."""
    house, request = scene.house, segment(scene.bundle, scene.dubs[1])
    session = await house.open(avatar=AVATAR, sample_rate_hz=speech()[1])
    async with AsyncExitStack() as stack:
        watched = await stack.enter_async_context(watching(session))
        talking = asyncio.create_task(speak(watched.socket, *speech(), PATIENCE_S))
        talking.add_done_callback(lambda task: task.cancelled() or task.exception())  # is closed
        stack.callback(talking.cancel)
        web = await stack.enter_async_context(
            httpx.AsyncClient(base_url=house.url, headers=bearer(house.key), timeout=60)
        )
        channel = await stack.enter_async_context(
            open_channel(scene.renderer.target, RPC, retries=False)
        )
        while not watched.pictures_s:
            await asyncio.sleep(LOOK_S)
        assert not await refused(channel, request)
        revoked = Revoked()
        (await web.post("/v1/consents/con_bench/revoke")).raise_for_status()

        async def gone(path: str) -> bool:
            return (await web.get(path)).status_code == 404

        async def erased() -> bool:
            return bool((await web.get("/v1/consents/con_bench")).json()["erased"])

        async def closed() -> bool:
            return watched.socket.close_code is not None

        await asyncio.gather(
            revoked.until("renderer_refuses_s", lambda: refused(channel, request)),
            revoked.until("live_session_ended_s", closed),
            revoked.until("running_dub_gone_s", lambda: gone(f"/v1/dubs/{scene.dubs[1]}")),
            revoked.until("avatar_gone_s", lambda: gone(f"/v1/avatars/{AVATAR}")),
            revoked.until("erased_s", erased),
        )
        last = watched.pictures_s[-1] - revoked.began_s
        return {"last_live_picture_s": round(last, 2), **revoked.seen_s}


def segment(bundle: ArtifactRef, dub: str) -> pb.RenderSegmentRequest:
    """Four frames of the avatar, for the dub that is under way."""
    header = live_header(bundle, "none")
    return pb.RenderSegmentRequest(
        avatar_version=f"tenants/{TENANT}/avatars/{AVATAR}/versions/1", bundle=header.bundle,
        encoder_version=header.encoder_version, features=messages(speech_rows(4), 0),
        output_key=f"tenants/{TENANT}/dubs/{dub}/attempts/9/segment.ts",
    )  # fmt: skip


async def refused(channel: Any, request: pb.RenderSegmentRequest) -> bool:
    """Whether the renderer shows the person no more."""
    try:
        with remote_errors():
            await RendererServiceStub(channel).RenderSegment(request, timeout=60)
    except FailedPrecondition as error:
        if error.reason not in ("CONSENT_REVOKED", "AVATAR_ERASED"):
            raise
        return True
    return False


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, open_house(Path(temporary)) as house:
        folder = Path(temporary)
        avatar = arguments.avatar or make_tiny_subject(folder).avatar
        scene = set_the_scene(house, folder, avatar)
        before, load = holdings(house, scene.ids), os.getloadavg()[0]
        seconds = asyncio.run(revoke(scene))
        after = holdings(house, scene.ids)
        receipts = scene.tenant.api.get("receipts")["data"]
    result = {
        "seconds_after_the_revocation": seconds, "load_average_before": round(load, 2),
        "receipts": len(receipts),
        "left_by_receipts": sum(len(found) for each in receipts for found in each["left"].values()),
        "before": before, "after": after, "machine": asdict(describe_machine()),
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    print(text)
    assert result["left_by_receipts"] == 0
    assert not after["objects_that_name_it"], "objects are left"
    (arguments.out / "revocation.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
