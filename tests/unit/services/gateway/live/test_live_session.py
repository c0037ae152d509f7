"""The session engine on virtual time: sync, interruption, renderers that come and go."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from live_doubles import SUBJECT, FakeExpression, FakeRenderer, FakeRenderers, loudness, run, tone

from services.common.errors import ResourceExhausted, Unavailable
from services.gateway.live.clock import SystemClock
from services.gateway.live.session import (
    AudioOut,
    EndedOut,
    InterruptedOut,
    LiveSession,
    Out,
    VideoOut,
)
from services.gateway.live.settings import LiveSettings
from services.gateway.live.sound import JitterBuffer
from services.gateway.live.timeline import SegmentEnd, Timeline

SETTINGS = LiveSettings()
FRAME_S = 0.04


@dataclass
class Seen:
    """What came out, and when."""

    items: list[tuple[float, Out]] = field(default_factory=list)

    @property
    def video(self) -> list[tuple[float, int, int]]:
        """(time, slot, loudness) of every frame."""
        return [
            (at, item.frame.slot, int(item.frame.data.split()[2]))
            for at, item in self.items
            if isinstance(item, VideoOut)
        ]

    @property
    def audio(self) -> list[tuple[float, int, int]]:
        """(time, block, loudness) of every block."""
        return [
            (at, item.index, loudness(item.pcm))
            for at, item in self.items
            if isinstance(item, AudioOut)
        ]

    def all_of(self, kind: type[Out]) -> list[Out]:
        return [item for _, item in self.items if isinstance(item, kind)]


@dataclass
class Stage:
    """A session with somebody who looks."""

    session: LiveSession
    expression: FakeExpression
    renderers: FakeRenderers
    seen: Seen

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def on_stage(
    *renderers: FakeRenderer, settings: LiveSettings = SETTINGS, rate_hz: int = 48_000
) -> AsyncIterator[Stage]:
    expression, seen = FakeExpression(), Seen()
    replicas = FakeRenderers(*(renderers or (FakeRenderer(),)))
    clock = SystemClock()
    session = LiveSession(SUBJECT, expression, replicas, settings, clock, rate_hz=rate_hz)
    await session.open()

    async def look() -> None:
        with session.subscribed() as subscription:
            async for item in subscription:
                seen.items.append((clock.now_s(), item))

    looking = asyncio.create_task(look())
    try:
        yield Stage(session, expression, replicas, seen)
    finally:
        await session.end("TEST", "over")
        await looking
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


def test_an_idle_session_shows_every_frame_once_and_in_time() -> None:
    async def main() -> Seen:
        async with on_stage() as stage:
            await stage.wait(4)
            assert stage.session.counters().held_frames == 0
            return stage.seen

    seen = run(main())
    slots = [slot for _, slot, _ in seen.video]
    assert slots == list(range(len(slots)))
    assert len(slots) >= 94
    begin = seen.video[0][0]
    for at, slot, _ in seen.video:
        assert at == pytest.approx(begin + FRAME_S * slot, abs=1e-6)


def test_a_frame_is_shown_with_the_sound_that_it_was_made_of() -> None:
    async def main() -> Seen:
        async with on_stage(rate_hz=24_000) as stage:
            await stage.wait(1)
            for level in (3000, 9000, 0, 6000):
                stage.session.push_audio(tone(0.4, level, 24_000))
            stage.session.end_segment()
            await stage.wait(3)
            return stage.seen

    seen = run(main())
    heard = {block: (at, level) for at, block, level in seen.audio}
    shown = {slot: (at, level) for at, slot, level in seen.video}
    assert max(level for _, level in shown.values()) > 8000
    for slot, (at, level) in shown.items():
        if 2 * slot + 1 in heard:
            assert heard[2 * slot][0] == pytest.approx(at)
            assert level == max(heard[2 * slot][1], heard[2 * slot + 1][1])


def test_audio_is_heard_after_jitter_and_delay() -> None:
    async def main() -> tuple[float, Seen]:
        async with on_stage() as stage:
            await stage.wait(1.003)
            pushed_s = SystemClock().now_s()
            stage.session.push_audio(tone(0.5))
            await stage.wait(1.5)
            total = stage.session.trace.times()[-1]
            assert total.stage == "total"
            assert 180 <= total.p50_ms <= 700
            return pushed_s, stage.seen

    pushed_s, seen = run(main())
    first_s = next(at for at, _, level in seen.audio if level)
    assert pushed_s + 0.2 <= first_s <= pushed_s + 0.2 + 0.02 + 1e-6


def test_a_segment_ends_when_its_last_sample_was_played() -> None:
    async def main() -> Seen:
        async with on_stage() as stage:
            await stage.wait(0.5)
            for seconds in (0.31, 0.5):
                stage.session.push_audio(tone(seconds))
                stage.session.end_segment()
            await stage.wait(2)
            return stage.seen

    seen = run(main())
    assert seen.all_of(SegmentEnd) == [SegmentEnd(1, 310, False), SegmentEnd(2, 500, False)]
    first_end_s = next(at for at, item in seen.items if isinstance(item, SegmentEnd))
    begin_s = next(at for at, _, level in seen.audio if level)
    assert first_end_s == pytest.approx(begin_s + 0.3)


def test_an_interruption_empties_everything_within_200_ms() -> None:
    async def main() -> tuple[float, int, Seen]:
        async with on_stage() as stage:
            await stage.wait(0.5)
            stage.session.push_audio(tone(10))
            await stage.wait(2.013)
            at_s = SystemClock().now_s()
            frame = stage.session.clear_buffer()
            await stage.wait(2)
            assert not stage.session.speaking
            return at_s, frame, stage.seen

    at_s, frame, seen = run(main())
    assert seen.all_of(InterruptedOut) == [InterruptedOut(frame)]
    (end,) = seen.all_of(SegmentEnd)
    assert isinstance(end, SegmentEnd)
    assert end.interrupted
    assert 1700 <= end.played_ms <= 1900
    assert all(level == 0 for at, _, level in seen.audio if at > at_s + 0.02)
    after = [(at, slot, level) for at, slot, level in seen.video if at > at_s]
    assert all(level == 0 for _, _, level in after)
    resumed_s, first, _ = after[0]
    assert first == frame
    assert resumed_s - at_s <= 0.2
    # From there on no frame is missing, and each comes with its time code: the head does not jump.
    assert [slot for _, slot, _ in after] == list(range(frame, frame + len(after)))
    assert resumed_s == pytest.approx(seen.video[0][0] + FRAME_S * frame)


def test_speech_after_an_interruption_is_in_sync_again() -> None:
    async def main() -> Seen:
        async with on_stage() as stage:
            await stage.wait(0.5)
            stage.session.push_audio(tone(5, 4000))
            await stage.wait(1.01)
            stage.session.clear_buffer()
            stage.session.push_audio(tone(1, 9000))
            stage.session.end_segment()
            await stage.wait(3)
            return stage.seen

    seen = run(main())
    heard = {block: level for _, block, level in seen.audio}
    assert 9000 in heard.values()
    for _, slot, level in seen.video:
        if 2 * slot + 1 in heard and level > 4000:
            assert level == max(heard[2 * slot], heard[2 * slot + 1])
    assert seen.all_of(SegmentEnd)[-1] == SegmentEnd(2, 1000, False)


def test_an_interruption_of_nothing_disturbs_nothing() -> None:
    async def main() -> None:
        renderer = FakeRenderer()
        async with on_stage(renderer) as stage:
            await stage.wait(1)
            stage.session.clear_buffer()
            await stage.wait(1)
            assert renderer.interruptions == []
            slots = [slot for _, slot, _ in stage.seen.video]
            assert slots == list(range(len(slots)))

    run(main())


def test_audio_that_comes_too_late_is_counted_and_none_is_lost() -> None:
    async def main() -> tuple[int, Seen]:
        async with on_stage() as stage:
            await stage.wait(0.5)
            for _ in range(5):
                stage.session.push_audio(tone(0.1))
                await stage.wait(0.2)
            stage.session.end_segment()
            await stage.wait(1)
            return stage.session.counters().inserted_silence_ms, stage.seen

    inserted_ms, seen = run(main())
    assert 4 * 100 <= inserted_ms <= 4 * 140
    assert sum(level for *_, level in seen.audio) == pytest.approx(25 * 8000, rel=0.01)


def test_a_killed_renderer_is_replaced_within_two_seconds_and_no_sound_is_lost() -> None:
    async def main() -> tuple[FakeRenderer, Seen, float]:
        first, second = FakeRenderer("r1"), FakeRenderer("r2", load_s=0.1)
        async with on_stage(first, second) as stage:
            await stage.wait(1)
            stage.session.push_audio(tone(3))
            await stage.wait(1)
            killed_s = SystemClock().now_s()
            first.kill()
            await stage.wait(3)
            assert stage.session.counters().moves == 1
            return second, stage.seen, killed_s

    second, seen, killed_s = run(main())
    assert second.opened >= 1
    assert len(second.contexts[-1]) == 16
    after = [
        at for at, item in seen.items if isinstance(item, VideoOut) and b"r2" in item.frame.data
    ]
    assert after[0] - killed_s < 0.5
    resumed = [slot for _, slot, _ in seen.video]
    assert resumed == sorted(set(resumed))
    assert resumed[-1] - len(resumed) < 10  # at most some frames were not worth making any more
    blocks = [block for _, block, _ in seen.audio]
    assert blocks == list(range(blocks[0], blocks[0] + len(blocks)))


def test_a_slow_replica_that_must_load_first_is_joined_at_the_present() -> None:
    async def main() -> None:
        first, second = FakeRenderer("r1"), FakeRenderer("r2", load_s=1.5)
        async with on_stage(first, second) as stage:
            await stage.wait(1)
            first.kill()

            async def loaded() -> None:
                await asyncio.sleep(1.0)
                second.load_s = 0.0

            task = asyncio.create_task(loaded())
            await stage.wait(4)
            await task
            assert second.opened == 2
            assert stage.session.counters().moves == 1
            at, slot, _ = stage.seen.video[-1]
            begin = stage.seen.video[0][0]
            assert at == pytest.approx(begin + FRAME_S * slot)

    run(main())


def test_a_session_moves_from_a_leaving_replica_without_losing_a_frame() -> None:
    async def main() -> tuple[Seen, FakeRenderer]:
        first, second = FakeRenderer("r1"), FakeRenderer("r2", load_s=0.05)
        async with on_stage(first, second) as stage:
            await stage.wait(1)
            first.leave()
            await stage.wait(2)
            assert stage.session.counters().held_frames == 0
            assert stage.session.counters().moves == 1
            assert first.open == 0
            return stage.seen, second

    seen, second = run(main())
    slots = [slot for _, slot, _ in seen.video]
    assert slots == list(range(len(slots)))
    assert second.opened == 1


def test_a_renderer_that_says_nothing_is_left() -> None:
    async def main() -> None:
        first, second = FakeRenderer("r1"), FakeRenderer("r2")
        async with on_stage(first, second) as stage:
            await stage.wait(1)
            first.silent = True
            await stage.wait(SETTINGS.stall_s + 1)
            assert stage.session.counters().moves == 1
            assert b"r2" in stage.seen.all_of(VideoOut)[-1].frame.data

    run(main())


def test_a_session_without_any_renderer_left_ends() -> None:
    async def main() -> EndedOut | None:
        renderer = FakeRenderer()
        async with on_stage(renderer) as stage:
            await stage.wait(1)
            renderer.kill()
            await stage.wait(40)
            return stage.session.ended

    ended = run(main())
    assert ended is not None
    assert ended.code == "RPC_UNAVAILABLE"


def test_full_replicas_are_passed_over_and_all_full_refuse() -> None:
    async def main() -> None:
        full, free = FakeRenderer("full", places=0), FakeRenderer("free")
        async with on_stage(full, free):
            assert (full.opened, free.opened) == (0, 1)
        session = LiveSession(
            SUBJECT, FakeExpression(), FakeRenderers(full), SETTINGS, SystemClock()
        )
        with pytest.raises(ResourceExhausted) as refused:
            await session.open()
        assert refused.value.reason == "RENDERER_FULL"

    run(main())


def test_an_expression_service_that_is_away_refuses_the_session() -> None:
    async def main() -> None:
        session = LiveSession(
            SUBJECT, FakeExpression(away=True), FakeRenderers(FakeRenderer()), SETTINGS,
            SystemClock(),
        )  # fmt: skip
        with pytest.raises(Unavailable):
            await session.open()

    run(main())


def test_a_broken_expression_stream_is_taken_up_again() -> None:
    async def main() -> tuple[int, Seen]:
        async with on_stage() as stage:
            await stage.wait(1)
            stage.session.push_audio(tone(3))
            await stage.wait(1)
            stage.expression.break_streams()
            await stage.wait(3)
            assert stage.expression.opened == 2
            return stage.session.counters().held_frames, stage.seen

    held, seen = run(main())
    slots = [slot for _, slot, _ in seen.video]
    assert slots == list(range(len(slots)))
    assert held < 12
    heard = {block: level for _, block, level in seen.audio}
    for _, slot, level in seen.video:
        if 2 * slot + 1 in heard:
            assert level == max(heard[2 * slot], heard[2 * slot + 1])


def test_lasting_lateness_makes_pictures_smaller_and_calm_makes_them_larger_again() -> None:
    async def main() -> None:
        renderer = FakeRenderer(latency_s=0.0, slow_per_px=0.048 / 512)
        async with on_stage(renderer) as stage:
            await stage.wait(12)
            assert renderer.sizes[0] == (512, 512)
            assert renderer.sizes[-1] == (384, 384)
            frame = stage.seen.all_of(VideoOut)[-1].frame
            assert (frame.width_px, frame.height_px) == (384, 384)
            held = stage.session.counters().held_frames
            await stage.wait(5)
            assert stage.session.counters().held_frames == held
            blocks = [block for _, block, _ in stage.seen.audio]
            assert blocks == list(range(blocks[0], blocks[0] + len(blocks)))
            renderer.slow_per_px = 0.0
            await stage.wait(60)
            assert renderer.sizes[-1] == (512, 512)
            assert stage.session.counters().size_changes == 2

    run(main())


def test_a_newcomer_begins_with_a_key_frame() -> None:
    async def main() -> None:
        async with on_stage() as stage:
            await stage.wait(1.3)
            with stage.session.subscribed() as newcomer:
                item = await anext(aiter(newcomer))
                while not isinstance(item, VideoOut):
                    item = await anext(aiter(newcomer))
                assert item.frame.key
                assert item.frame.slot < 45  # it was asked for: the next regular one is later

    run(main())


def test_a_connection_that_is_too_slow_is_ended_and_nobody_waits_for_it() -> None:
    async def main() -> None:
        async with on_stage() as stage:
            with stage.session.subscribed() as slow:
                await stage.wait(10)
                items = [item async for item in slow]
            assert items[-1] == EndedOut("TOO_SLOW", "the connection cannot carry the session")
            assert stage.session.ended is None

    run(main())


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"max_duration_s": 3}, "MAX_DURATION"),
        ({"idle_timeout_s": 3}, "IDLE"),
        ({"reconnect_s": 3}, "DISCONNECTED"),
    ],
)
def test_a_session_ends_by_itself(settings: dict[str, float], code: str) -> None:
    async def main() -> EndedOut | None:
        session = LiveSession(
            SUBJECT, FakeExpression(), FakeRenderers(FakeRenderer()),
            SETTINGS.model_copy(update=settings), SystemClock(),
        )  # fmt: skip
        await session.open()
        if code != "DISCONNECTED":
            with session.subscribed():
                await asyncio.sleep(3.5)
        else:
            await asyncio.sleep(3.5)
        return session.ended

    ended = run(main())
    assert ended is not None
    assert ended.code == code


def test_a_session_waits_for_a_connection_that_comes_back() -> None:
    async def main() -> None:
        async with on_stage(settings=replace_settings(reconnect_s=2)) as stage:
            await stage.wait(5)
            assert stage.session.ended is None

    run(main())


def test_two_hundred_sessions_leave_nothing_behind() -> None:
    async def main() -> None:
        gone: list[weakref.ref[LiveSession]] = []
        renderer = FakeRenderer()
        for _ in range(200):
            async with on_stage(renderer) as stage:
                gone.append(weakref.ref(stage.session))
                stage.session.push_audio(tone(1))
                await stage.wait(0.3)
                if len(gone) % 2:
                    stage.session.clear_buffer()
            del stage
        gc.collect()
        assert [ref for ref in gone if ref() is not None] == []
        assert renderer.open == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_process_that_was_held_up_goes_on_from_now() -> None:
    timeline = Timeline(JitterBuffer(40, 10), 0.0, 200)
    timeline.step(1.0)
    last = timeline.next_played
    assert timeline.slip(1.3) == 0
    assert timeline.slip(31.0) == pytest.approx(29.98)
    step = timeline.step(31.0)
    assert [played.index for played in step.played] == [last]


def test_picture_and_sound_stay_together_for_eight_hours() -> None:
    rng = random.Random(5)
    timeline = Timeline(JitterBuffer(40, 10), 0.0, 200)
    seconds, now_s, worst_s = 8 * 3600, 0.0, 0.0
    while now_s < seconds:
        now_s = max(now_s, timeline.next_s) + rng.random() ** 2 * 0.4  # a loop that is often late
        for played in timeline.step(now_s).played:
            due_s = 0.2 + played.index * 0.02
            worst_s = max(worst_s, now_s - due_s)

    assert timeline.next_played == pytest.approx((seconds - 0.2) / 0.02, abs=25)
    assert worst_s < 0.4


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_microphones_clock_may_drift(ppm: int) -> None:
    """It speaks half of the time; what its clock is ahead is left out where it says nothing."""
    buffer = JitterBuffer(40, 10)
    loud, quiet = tone(0.02), bytes(1920)
    sent = heard = 0
    deepest_s = 0.0
    for block in range(3600 * 50):
        now_s = block * 0.02
        while sent * 0.02 <= now_s * (1 + ppm / 1e6):
            speaks = sent // 100 % 2 == 0
            buffer.push(loud if speaks else quiet, now_s, live=True)
            sent += 1
        heard += buffer.pop(now_s).pcm == loud
        deepest_s = max(deepest_s, buffer.buffered_s)
    assert deepest_s < 2.3  # at most what came while it spoke
    assert heard == pytest.approx(sent / 2, abs=110)
    assert (buffer.left_out_blocks > 0) == (ppm > 0)


def test_more_audio_than_may_wait_is_refused() -> None:
    async def main() -> None:
        async with on_stage(settings=replace_settings(buffer_s=1)) as stage:
            stage.session.push_audio(tone(0.9))
            with pytest.raises(ResourceExhausted):
                stage.session.push_audio(tone(0.2))

    run(main())


def replace_settings(**changes: float) -> LiveSettings:
    return SETTINGS.model_copy(update=changes)
