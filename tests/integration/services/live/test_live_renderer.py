"""RenderLive: the method's frames over the wire, wherever a session goes on."""

from __future__ import annotations

import asyncio
import os
import re
import signal

import numpy as np
import pytest
from live_client import (
    CONTEXT,
    LiveCall,
    Rows,
    assert_shows,
    codes,
    decode,
    messages,
)
from live_renderers import N_FRAMES, Stage, in_time, rendered_live
from suite import RPC, wait_until
from tiny import SIDE

from services.common.rpc import open_channel
from services.gen.avatar.v1 import renderer_pb2 as pb
from synctalk.errors import SyncTalkError
from synctalk.media import Yuv420


def test_a_session_is_a_segment_up_to_codec_noise(
    stage: Stage, rows: Rows, pictures: list[Yuv420]
) -> None:
    async def work() -> None:
        async with stage.call() as call:
            assert (call.answer.width_px, call.answer.height_px) == (SIDE, SIDE)
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
            assert call.answer.width_px == SIDE
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
