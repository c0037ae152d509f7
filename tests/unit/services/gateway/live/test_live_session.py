"""The session engine on virtual time: sync, interruption, how it ends."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from live_doubles import SUBJECT, FakeExpression, FakeRenderer, FakeRenderers, run, tone
from live_stage import FRAME_S, SETTINGS, Seen, on_stage, replace_settings

from services.common.errors import ResourceExhausted
from services.gateway.live.clock import SystemClock
from services.gateway.live.session import EndedOut, InterruptedOut, LiveSession, VideoOut
from services.gateway.live.timeline import SegmentEnd


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


def test_more_audio_than_may_wait_is_refused() -> None:
    async def main() -> None:
        async with on_stage(settings=replace_settings(buffer_s=1)) as stage:
            stage.session.push_audio(tone(0.9))
            with pytest.raises(ResourceExhausted):
                stage.session.push_audio(tone(0.2))

    run(main())
