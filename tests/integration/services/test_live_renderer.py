"""RenderLive: the method's frames, one by one, wherever a session goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
from live_client import (
    CONTEXT,
    SPEECH,
    LiveCall,
    Rows,
    assert_shows,
    codes,
    decode,
    live_header,
    messages,
    speech_rows,
)
from suite import RPC, RunningService, Suite, wait_until
from tiny import TinySubject

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.local import LocalServers
from services.common.rpc import open_channel
from services.common.storage import ObjectStore
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.renderer.cache import Size
from services.renderer.lips import SegmentBlendshapes, SegmentFeatures
from services.renderer.loading import LoadedAvatar
from services.renderer.moments import FACE_DELAY, FeatureWindow, LiveFeatures
from services.renderer.segment import segment_frames
from synctalk.avatar import Avatar
from synctalk.backdrop import Backdrop, colour
from synctalk.errors import SyncTalkError
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.live import FootageCache, LiveView
from synctalk.media import Yuv420, read_audio

N_FRAMES = 80


@dataclass(frozen=True)
class Stage:
    """Two renderers, an avatar in the store, and the same avatar in this process."""

    suite: Suite
    renderers: tuple[RunningService, RunningService]
    bundle: ArtifactRef
    avatar: LoadedAvatar

    def header(
        self, before: list[types_pb2.DrivingFeatures] | None = None, **options: int
    ) -> pb.RenderLiveRequestHeader:
        return live_header(self.bundle, "talk-1", before, **options)

    @asynccontextmanager
    async def call(
        self, header: pb.RenderLiveRequestHeader | None = None, replica: int = 0
    ) -> AsyncIterator[LiveCall]:
        target = self.renderers[replica].target
        async with (
            open_channel(target, RPC) as channel,
            LiveCall(channel, header or self.header()) as call,
        ):
            yield call

    def metric(self, name: str) -> float:
        return self.renderers[0].metric(name)


@pytest.fixture(scope="module")
def stage(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tiny_subject: TinySubject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("live")
    suite = Suite(local_servers, folder)
    prefix = "tenants/acme/avatars/ann/bundles/live"
    bundle = upload_folder(object_store, tiny_subject.avatar, prefix)
    avatar = LoadedAvatar(Avatar.load(tiny_subject.avatar), tiny_subject.avatar, Size(), 0)
    settings = {"WORK_DIR": str(folder / "work"), "RENDERER_MAX_SESSIONS": "2"}
    settings["RENDERER_MAX_LATE_SHARE"] = "1"  # the machine that tests may be slow
    try:
        first = suite.start("services.renderer", **settings)
        second = suite.start("services.renderer", **settings)
        yield Stage(suite, (first, second), bundle, avatar)
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def rows() -> Rows:
    return speech_rows(N_FRAMES)


@pytest.fixture(scope="module")
def faces() -> Rows:
    """Blinks and brows, emphatic ones."""
    wav = read_audio(SPEECH, 16_000)
    return ProsodicExpression("emphatic", 30).generate(measure_prosody(wav, N_FRAMES))


@pytest.fixture(scope="module")
def pictures(stage: Stage, rows: Rows) -> list[Yuv420]:
    """What a segment of all frames shows."""
    none = rows[:0]
    return list(segment_frames(stage.avatar, SegmentFeatures(0, rows, none, none)))


def in_time(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(100):
            await work()

    asyncio.run(limited())


def rendered_live(
    stage: Stage, rows: Rows, first: int, faces: Rows | None = None, backdrop: bool = False
) -> list[Yuv420]:
    """Frames ``first`` on as a session renders them, in this process."""
    person = stage.avatar.avatar
    behind = Backdrop(person.bundle, colour("#00c800")) if backdrop else None
    view = LiveView(person, behind)
    features = [
        LiveFeatures(at, row, None if faces is None else faces[at]) for at, row in enumerate(rows)
    ]
    window = FeatureWindow(features[max(0, first - CONTEXT) : first])
    moments = [*map(window.push, features[first:]), window.finish()]
    walk = view.walk(FootageCache(1 << 20), first)
    return [
        view.frame(still, m.lip(person), m.expression(person, still.number))
        for m, still in zip(filter(None, moments), walk, strict=False)
    ]


def largest_difference(ours: Yuv420, theirs: Yuv420) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(ours, theirs, strict=True))


def test_frames_made_one_by_one_are_a_segments(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    for first in (0, 37):
        ours = rendered_live(stage, rows, first)
        assert len(ours) == N_FRAMES - first
        for mine, theirs in zip(ours, pictures[first:], strict=True):
            assert largest_difference(mine, theirs) <= 2  # sums of other lengths round otherwise


def test_so_they_are_with_an_expression_that_comes_two_frames_later(
    stage: Stage, rows: Rows, faces: Rows
) -> None:
    late = np.concatenate([faces[:1].repeat(FACE_DELAY, 0), faces[:-FACE_DELAY]])
    none, part = rows[:0], SegmentBlendshapes(late, faces[:0], faces[:0])
    whole = list(segment_frames(stage.avatar, SegmentFeatures(0, rows, none, none, part)))
    ours = rendered_live(stage, rows, 24, faces)
    # a segment's last frames do not see what comes after it
    for mine, theirs in list(zip(ours, whole[24:], strict=True))[:-FACE_DELAY]:
        assert largest_difference(mine, theirs) <= 2


def test_so_they_are_before_another_background(stage: Stage, rows: Rows) -> None:
    behind = Backdrop(stage.avatar.avatar.bundle, colour("#00c800"))
    none = rows[:0]
    segment = SegmentFeatures(0, rows[:12], none, none)
    whole = list(segment_frames(stage.avatar, segment, behind))
    ours = rendered_live(stage, rows[:12], 0, backdrop=True)
    assert max(map(largest_difference, ours, whole)) <= 2


def test_footage_is_walked_to_and_fro_within_bounded_memory(stage: Stage) -> None:
    person = stage.avatar.avatar
    cache, n = FootageCache(1), person.manifest.n_frames
    first = n - 60
    walk = cache.walk(person, first)
    steps = list(islice(walk, 130))  # forwards, the turn, backwards over several pieces
    expected = [i if i < n else 2 * (n - 1) - i for i in range(first, first + 130)]
    assert [still.number for still in steps] == expected
    again = {still.number: still for still in steps[:60]}
    for still in steps[60:]:
        if still.number in again:
            np.testing.assert_array_equal(still.source.y, again[still.number].source.y)
    assert cache.size_bytes <= 3 * 25 * steps[0].size_bytes
    walk.close()
    assert cache.size_bytes == 0


def test_a_session_is_a_segment_up_to_codec_noise(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    async def work() -> None:
        async with stage.call() as call:
            assert (call.answer.width_px, call.answer.height_px) == (512, 512)
            assert call.answer.codec == pb.VIDEO_CODEC_H264
            await call.send(messages(rows, 0))
            await call.end()
            summary = (await call.until("summary")).summary
            assert (summary.frame_count, summary.dropped_frame_count) == (N_FRAMES, 0)
            assert codes(call.frames) == list(range(N_FRAMES))
            assert_shows(call.frames, pictures)
            timing = call.frames[40].timing
            assert min(timing.render_us, timing.encode_us) > 0

    in_time(work)
    assert stage.metric("synctalk_render_live_frames_total") >= N_FRAMES
    assert stage.metric("synctalk_render_live_frame_seconds_count") >= N_FRAMES


def nal_types(frame: pb.EncodedFrame) -> list[int]:
    """What it consists of, without remarks (SEI)."""
    units = [frame.data[found.end()] & 31 for found in re.finditer(b"\0\0\1", frame.data)]
    return [unit for unit in units if unit != 6]


def test_key_frames_come_every_second_and_when_asked_for(stage: Stage, rows: Rows) -> None:
    async def work() -> None:
        async with stage.call(stage.header(height_px=256)) as call:
            assert (call.answer.width_px, call.answer.height_px) == (256, 256)
            await call.send(messages(rows[:41], 0))
            await call.take(40)
            await call.want_key_frame()
            await call.send(messages(rows[41:], 41))
            await call.end()
            await call.until("summary")
            keys = [frame.time_code.frame for frame in call.frames if frame.key_frame]
            assert keys == [0, 25, 40, 65]
            for frame in call.frames:
                assert nal_types(frame) == ([7, 8, 5] if frame.key_frame else [1])
            assert decode(call.frames[40:])[0].y.shape == (256, 256)
            levels = call.frames[0].data.partition(b"\0\0\1")[2][1:3]
            assert (levels[0], levels[1] & 0x40) == (66, 0x40)  # constrained baseline

    in_time(work)


def test_a_frame_comes_as_soon_as_its_successors_features(stage: Stage, rows: Rows) -> None:
    async def work() -> None:
        async with stage.call() as call:
            await call.send(messages(rows[:1], 0))
            for frame in range(1, 12):
                await call.send(messages(rows[frame : frame + 1], frame))
                assert codes(await call.take(1)) == [frame - 1]
            await call.end()
            assert codes(await call.take(1)) == [11]

    in_time(work)


def test_a_session_goes_on_at_another_replica_without_a_jump(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    async def work() -> None:
        async with stage.call() as call:
            await call.send(messages(rows[:50], 0))
            await call.take(30)
        before = messages(rows[30 - CONTEXT : 30], 30 - CONTEXT)
        async with stage.call(stage.header(before), replica=1) as other:
            await other.send(messages(rows[30:60], 30))
            await other.end()
            await other.until("summary")
            assert codes(other.frames) == list(range(30, 60))
            assert_shows(other.frames, pictures)

    in_time(work)


def test_an_interruption_drops_what_has_not_been_sent_and_goes_on(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    async def work() -> None:
        async with stage.call() as call:
            await call.send(messages(rows, 0))
            await call.take(20)
            await call.interrupt(20)
            answer = (await call.until("interrupted")).interrupted
            crossed = len(call.frames) - 20
            assert answer.resume_at.frame == 20
            assert answer.dropped_frame_count == N_FRAMES - 20 - crossed > 0
            silence = np.repeat(rows[:1], 30, 0)
            await call.send(messages(silence, 20))
            await call.end()
            summary = (await call.until("summary")).summary
            assert summary.dropped_frame_count == answer.dropped_frame_count
            resumed = call.frames[20 + crossed :]
            assert codes(resumed) == list(range(20, 50))
            assert resumed[0].key_frame
            mixed = np.concatenate([rows[:20], silence])
            expected = rendered_live(stage, mixed, 20)
            assert_shows(resumed, [*pictures[:20], *expected])

    in_time(work)
    assert stage.metric("synctalk_render_live_dropped_frames_total") > 0


def test_a_full_replica_refuses_before_anything_else_and_has_room_again(
    stage: Stage, rows: Rows
) -> None:
    async def work() -> None:
        async with stage.call() as call, stage.call():
            with pytest.raises(SyncTalkError) as caught:
                async with stage.call():
                    pass
            assert caught.value.reason == "RENDERER_FULL"
            assert "another replica" in caught.value.remedy
            await call.send(messages(rows[:8], 0))  # who is there does not notice
            await call.take(7)
        await wait_until(lambda: stage.metric("synctalk_render_live_sessions") == 0)
        async with stage.call() as call:
            assert call.answer.width_px == 512
        await wait_until(lambda: stage.metric("synctalk_render_live_footage_bytes") == 0)

    in_time(work)
    assert stage.renderers[0].metric("synctalk_render_live_refused_total", why="sessions") > 0


def test_who_does_not_read_stops_only_itself(stage: Stage, rows: Rows) -> None:
    """Its frames stay unsent, its requests unread, and the other session has all of its own."""
    blocks = [messages(np.repeat(rows, 20, 0), at) for at in range(0, 16_000, 1600)]

    async def flood(call: LiveCall) -> None:
        for block in blocks:
            await call.send(block)

    async def work() -> None:
        async with stage.call() as greedy, stage.call() as other:
            flooding = asyncio.create_task(flood(greedy))
            await other.send(messages(rows, 0))
            await other.end()
            await other.until("summary")
            assert len(other.frames) == N_FRAMES
            assert not flooding.done()
            flooding.cancel()

    in_time(work)


def test_a_replica_that_leaves_sends_its_sessions_away_and_no_frame_is_lost(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    settings = {"WORK_DIR": str(stage.suite.folder / "work"), "RPC__DRAIN_S": "60"}
    leaver = stage.suite.start("services.renderer", **settings)

    async def work() -> None:
        async with (
            open_channel(leaver.target, RPC) as channel,
            LiveCall(channel, stage.header()) as old,
        ):
            await old.send(messages(rows[:32], 0))
            await old.take(10)
            os.kill(leaver.process.pid, signal.SIGTERM)
            migration = (await old.until("migration")).migration
            assert 0 < migration.time_left.ToSeconds() <= 60
            before = messages(rows[32 - CONTEXT : 32], 32 - CONTEXT)
            async with stage.call(stage.header(before)) as new:
                await new.send(messages(rows[32:50], 32))
                await old.end()
                await old.until("summary")
                await new.end()
                await new.until("summary")
            assert codes(old.frames) + codes(new.frames) == list(range(50))
            assert new.frames[0].key_frame
            assert_shows([*old.frames, *new.frames], pictures)

    in_time(work)
    assert leaver.process.wait(30) == 0


# The mistake is the last message: grpc.aio calls a write that meets the end of its call INTERNAL,
# and forgets what the server said.
async def of_another_encoder(stage: Stage, rows: Rows) -> None:
    header = stage.header()
    header.encoder_version = "0" * 64
    async with stage.call(header):
        pass


async def before_nothing(stage: Stage, rows: Rows) -> None:
    header = stage.header(codec=pb.VIDEO_CODEC_VP9_ALPHA)
    header.video_options.background.transparent.SetInParent()
    async with stage.call(header):
        pass


async def with_a_gap(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send([*messages(rows[:3], 0), *messages(rows[4:5], 4)])
        await call.until("summary")


async def after_other_frames(stage: Stage, rows: Rows) -> None:
    async with stage.call(stage.header(messages(rows[:8], 0))) as call:
        await call.send(messages(rows[9:10], 9))
        await call.until("summary")


async def too_narrow(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send(messages(rows[:1, :-1], 0))
        await call.until("summary")


async def with_a_face_now_and_then(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send([*messages(rows[:2], 0), *messages(rows[2:3], 2, np.zeros((1, 52)))])
        await call.until("summary")


async def before_time(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.interrupt(-1)
        await call.until("summary")


async def without_an_end(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send(messages(rows[:3], 0))
        await call.done()
        await call.until("summary")


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        (of_another_encoder, "ENCODER_MISMATCH"),
        (before_nothing, "VIDEO_FORMAT"),
        (with_a_gap, "FEATURE_ORDER"),
        (after_other_frames, "FEATURE_ORDER"),
        (too_narrow, "FEATURE_SHAPE"),
        (with_a_face_now_and_then, "BLENDSHAPES"),
        (before_time, "FEATURE_ORDER"),
        (without_an_end, "CANCELLED"),
    ],
)
def test_what_cannot_be_rendered_ends_the_session_with_a_reason(
    stage: Stage, rows: Rows, mistake: Callable[[Stage, Rows], Awaitable[None]], reason: str
) -> None:
    with pytest.raises(SyncTalkError) as caught:
        in_time(lambda: mistake(stage, rows))
    assert caught.value.reason == reason
