"""The renderer on a real Ray Serve of two replicas: segments, sessions, a replica that dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from live_client import (
    CONTEXT,
    VERSION,
    LiveCall,
    Rows,
    assert_shows,
    live_header,
    messages,
    speech_rows,
)
from pydantic import SecretStr
from suite import RPC, RunningService, Suite, on, wait_until
from tiny import SIDE, TinySubject

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.errors import ServiceError, Unauthenticated
from services.common.local import LocalServers
from services.common.rpc import open_channel
from services.common.storage import ObjectStore
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from services.renderer.cache import Size
from services.renderer.lips import SegmentFeatures
from services.renderer.loading import LoadedAvatar
from services.renderer.segment import Look, render_segment, segment_frames
from synctalk.avatar import Avatar
from synctalk.dataset import sha256_file
from synctalk.errors import InputError, SyncTalkError

N_FRAMES = 60


@dataclass(frozen=True)
class Served:
    """Ray Serve in a process of its own, and the avatar that it serves."""

    service: RunningService
    folder: Path
    bundle: ArtifactRef
    avatar: LoadedAvatar

    def replica_of(self, session: str) -> int:
        """Process id of the replica that says it has opened the session."""
        logs = self.folder.glob("ray-*/session_latest/logs/worker-*.err")
        (found,) = [log for log in logs if f'"session": "{session}"' in log.read_text()]
        return int(found.stem.rpartition("-")[2])


@pytest.fixture(scope="module")
def rows() -> Rows:
    return speech_rows(N_FRAMES)


@pytest.fixture(scope="module")
def served(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tiny_subject: TinySubject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    prefix = "tenants/acme/avatars/ann/bundles/served"
    bundle = upload_folder(object_store, tiny_subject.avatar, prefix)
    avatar = LoadedAvatar(Avatar.load(tiny_subject.avatar), tiny_subject.avatar, Size(), 0)
    folder = Path(tempfile.mkdtemp(prefix="serve-", dir="/tmp"))  # short: Ray has sockets there
    suite = Suite(local_servers, tmp_path_factory.mktemp("served"))
    os.environ["TMPDIR"] = str(folder)
    try:
        service = suite.start(
            "services.renderer --serve",
            WORK_DIR=str(folder / "work"),
            RENDERER_MIN_REPLICAS="2",
            RENDERER_MAX_LATE_SHARE="1",
            RPC__DRAIN_S="20",
        )
        yield Served(service, folder, bundle, avatar)
    finally:
        del os.environ["TMPDIR"]
        suite.stop()
        shutil.rmtree(folder, ignore_errors=True)


def in_time(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 150))


def test_a_segment_comes_through_it(served: Served, rows: Rows, tmp_path: Path) -> None:
    header = live_header(served.bundle, "none")
    asked = pb.RenderSegmentRequest(
        avatar_version=VERSION,
        bundle=header.bundle,
        encoder_version=header.encoder_version,
        features=messages(rows[:12], 0),
        output_key="tenants/acme/dubs/serve/segment.ts",
    )

    async def work(channel: grpc.aio.Channel) -> pb.RenderSegmentResponse:
        return await RendererServiceStub(channel).RenderSegment(asked, timeout=120)

    done = asyncio.run(on(served.service.target, work))
    own = tmp_path / "own.ts"
    segment = SegmentFeatures(0, rows[:12], rows[:0], rows[:0])
    render_segment(served.avatar, segment, Look(SIDE, SIDE), own, lambda: False)
    assert done.segment.sha256 == sha256_file(own)


@asynccontextmanager
async def session(
    served: Served, name: str, before: list[types_pb2.DrivingFeatures] | None = None
) -> AsyncIterator[LiveCall]:
    header = live_header(served.bundle, name, before)
    async with open_channel(served.service.target, RPC) as channel, LiveCall(channel, header) as c:
        yield c


def test_a_session_whose_replica_is_killed_goes_on_at_the_other(served: Served, rows: Rows) -> None:
    """Held as a gateway does: what has not come back is sent again, with the context before it."""
    segment = SegmentFeatures(0, rows, rows[:0], rows[:0])
    pictures = list(segment_frames(served.avatar, segment))

    async def work() -> None:
        async with session(served, "killed") as first:
            await first.send(messages(rows[:20], 0))
            await first.take(19)
            os.kill(served.replica_of("killed"), signal.SIGKILL)
            with pytest.raises(SyncTalkError):
                await first.until("summary")
        before = messages(rows[19 - CONTEXT : 19], 19 - CONTEXT)
        async with AsyncExitStack() as stack:
            second = await reopened(stack, served, before)
            await second.send(messages(rows[19:], 19))
            await second.end()
            await second.until("summary")
            assert_shows([*first.frames, *second.frames], pictures)
            assert len(second.frames) == N_FRAMES - 19

    in_time(work)


async def reopened(
    stack: AsyncExitStack, served: Served, before: list[types_pb2.DrivingFeatures]
) -> LiveCall:
    """The router may send a call to the dead replica once more before it has heard of it."""
    while True:
        with suppress(ServiceError):  # Unavailable and the like, but no InputError
            return await stack.enter_async_context(session(served, "killed", before))


def test_a_stranger_is_refused_and_so_is_nonsense(served: Served, rows: Rows) -> None:
    rpc = RPC.model_copy(update={"token": SecretStr("not the token")})

    async def strange() -> None:
        header = live_header(served.bundle, "stranger")
        async with open_channel(served.service.target, rpc) as channel, LiveCall(channel, header):
            pass

    async def nonsense() -> None:
        async with session(served, "nonsense") as call:
            await call.send(messages(rows[:1, 1:], 0))
            await call.until("summary")

    with pytest.raises(Unauthenticated, match="INVALID_TOKEN"):
        in_time(strange)
    with pytest.raises(InputError, match="FEATURE_SHAPE"):
        in_time(nonsense)


def family(pid: int) -> set[int]:
    """A process and all that come from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return set()
    return {pid}.union(*(family(int(child)) for child in children))


def alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_when_it_stops_sessions_are_told_and_no_process_is_left(served: Served, rows: Rows) -> None:
    processes = family(served.service.process.pid)
    assert len(processes) > 5

    async def work() -> None:
        async with session(served, "last") as call:
            await call.send(messages(rows[:10], 0))
            await call.take(5)
            served.service.process.terminate()
            await call.until("migration")
            await call.end()
            await call.until("summary")
            assert len(call.frames) == 10

    in_time(work)
    assert served.service.process.wait(60) == 0
    asyncio.run(wait_until(lambda: not any(map(alive, processes))))
