"""The session engine when renderers and the expression service come, go and are slow."""

from __future__ import annotations

import asyncio

import pytest
from live_doubles import SUBJECT, FakeExpression, FakeRenderer, FakeRenderers, run, tone
from live_stage import FRAME_S, SETTINGS, Seen, on_stage

from services.common.errors import ResourceExhausted, Unavailable
from services.gateway.live.clock import SystemClock
from services.gateway.live.session import EndedOut, LiveSession, VideoOut


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
    assert len(second.contexts[-1]) == 40
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
            assert stage.session.counters().skipped_frames == 0
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


def test_a_renderer_that_pauses_keeps_its_session_while_no_other_is_free() -> None:
    async def main() -> tuple[FakeRenderer, FakeRenderer, Seen, int]:
        slow, full = FakeRenderer("r1", places=1), FakeRenderer("r2", places=0)
        async with on_stage(slow, full) as stage:
            await stage.wait(1)
            slow.silent = True
            await stage.wait(20 * SETTINGS.stall_s)
            slow.silent = False
            await stage.wait(5)
            return slow, full, stage.seen, stage.session.counters().moves

    slow, full, seen, moves = run(main())
    assert (slow.opened, full.opened, moves) == (1, 0, 0)  # its place was never given up
    slots = [slot for _, slot, _ in seen.video]
    assert slots == sorted(set(slots))
    begin, last = seen.video[0][0], seen.video[-1]
    assert last[0] - (begin + FRAME_S * last[1]) < 3 * FRAME_S  # and it is in time again


def test_a_session_does_not_flutter_between_renderers_that_all_stall() -> None:
    async def main() -> int:
        first, second = FakeRenderer("r1"), FakeRenderer("r2")
        async with on_stage(first, second) as stage:
            await stage.wait(1)
            first.silent = second.silent = True
            await stage.wait(60 * SETTINGS.stall_s)
            return stage.session.counters().moves

    assert run(main()) <= 7  # after 1, 2, 4, 8, 16, 20, … times what one is given


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


def test_a_picture_that_stays_behind_leaves_frames_out_and_is_in_time_again() -> None:
    async def main() -> tuple[FakeRenderer, Seen]:
        renderer = FakeRenderer(latency_s=0.039)  # it only just keeps up
        async with on_stage(renderer) as stage:
            await stage.wait(2)
            stage.session.push_audio(tone(8))
            renderer.latency_s = 1.0
            await stage.wait(1)
            renderer.latency_s = 0.039
            await stage.wait(6)
            slots = [slot for _, slot, _ in stage.seen.video]
            assert slots == sorted(set(slots))
            skipped = stage.session.counters().skipped_frames
            assert skipped == slots[-1] - slots[0] + 1 - len(slots) > 0
            return renderer, stage.seen

    renderer, seen = run(main())
    assert 1 <= len(renderer.interruptions) <= 3  # while it was slow, and no more
    begin = seen.video[0][0]
    for at, slot, level in seen.video:
        if at > begin + 5:
            assert at - (begin + FRAME_S * slot) < 3 * FRAME_S
            assert level == 8000
    blocks = [block for _, block, _ in seen.audio]
    assert blocks == list(range(blocks[0], blocks[0] + len(blocks)))  # no sound is left out
