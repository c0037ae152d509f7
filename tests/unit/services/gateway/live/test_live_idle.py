"""A session in which nothing is said costs little, and nobody sees or hears the difference."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from live_doubles import run, tone
from live_stage import Seen, on_stage

from services.gateway.live.opus import OpusEncoder
from services.gateway.live.sound import BLOCK_BYTES, SILENCE, JitterBuffer
from services.gateway.live.timeline import Timeline


def assert_in_sync(seen: Seen, level: int) -> None:
    """Every frame shows the sound that it is shown with; some of it is of this level."""
    heard = {block: at_level for _, block, at_level in seen.audio}
    shown = {slot: at_level for _, slot, at_level in seen.video}
    assert level in shown.values()
    for slot, at_level in shown.items():
        if 2 * slot + 1 in heard:
            assert at_level == max(heard[2 * slot], heard[2 * slot + 1])


def test_in_lasting_silence_the_expression_service_hears_nothing() -> None:
    async def main() -> Seen:
        async with on_stage() as stage:
            await stage.wait(4)
            blocks = stage.expression.blocks
            assert blocks < 3 * 50
            await stage.wait(20.01)
            assert stage.expression.blocks == blocks
            for odd in (0.4, 0.42):  # speech may begin with either half of a frame
                stage.session.push_audio(tone(odd, 6000))
                stage.session.end_segment()
                await stage.wait(10.02)
            assert stage.session.counters().held_frames == 0
            assert stage.expression.blocks < blocks + 2 * 4 * 50
            return stage.seen

    seen = run(main())
    slots = [slot for _, slot, _ in seen.video]
    assert slots == list(range(len(slots)))
    assert_in_sync(seen, 6000)


def test_after_lasting_silence_a_session_may_be_interrupted_at_once() -> None:
    async def main() -> Seen:
        async with on_stage() as stage:
            await stage.wait(6)
            stage.session.push_audio(tone(1))
            stage.session.clear_buffer()
            await stage.wait(0.1)
            stage.session.push_audio(tone(1, 5000))
            await stage.wait(3)
            return stage.seen

    seen = run(main())
    assert all(level in (0, 5000) for *_, level in seen.audio)
    assert_in_sync(seen, 5000)


def test_a_stream_that_breaks_in_lasting_silence_is_taken_up_again() -> None:
    async def main() -> Seen:
        async with on_stage() as stage:
            await stage.wait(6)
            stage.expression.break_streams()
            await stage.wait(1)
            stage.session.push_audio(tone(1, 5000))  # says that the stream is broken
            await stage.wait(5)
            assert stage.expression.opened == 2
            return stage.seen

    assert_in_sync(run(main()), 5000)


def test_an_idle_session_wakes_once_a_frame_and_is_as_quick_to_speak() -> None:
    buffer = JitterBuffer(40, 10)
    timeline = Timeline(buffer, 0.0, 200)
    played = list[int]()
    wakes = 0
    while timeline.next_s < 10:
        played += [each.index for each in timeline.step(timeline.next_s).played]
        wakes += 1
    assert played == list(range(len(played)))
    assert wakes == pytest.approx(10 * 25, abs=15)
    pushed_s = timeline.next_s - 0.039
    buffer.push(tone(0.1), pushed_s)
    loud_s = list[float]()
    while not loud_s:
        at_s = timeline.next_s
        blocks = timeline.step(at_s).played
        loud_s += [at_s for each in blocks if each.block.segment]
    assert pushed_s + 0.2 <= loud_s[0] <= pushed_s + 0.22 + 1e-6


def test_silence_is_encoded_once_and_what_follows_sounds_the_same() -> None:
    block = tone(0.02)
    encoder, packets = OpusEncoder(), list[bytes]()
    for pcm in [block] * 20 + [SILENCE] * 200 + [block] * 20:
        packets.append(encoder.encode(pcm))
    assert len({*packets[60:220]}) == 1
    assert len(packets[219]) <= 3
    sound = decoded(packets).reshape(-1, BLOCK_BYTES // 2)
    assert np.abs(sound[60:219]).max() < 1e-3
    first, second = (np.abs(sound[at : at + 15]).mean() for at in (3, 223))
    assert second == pytest.approx(first, rel=0.05)


def decoded(packets: list[bytes]) -> np.ndarray:
    codec = av.CodecContext.create("libopus", "r")
    assert isinstance(codec, AudioCodecContext)
    codec.sample_rate, codec.layout = 48_000, "mono"
    codec.open()
    frames = [frame for data in packets for frame in codec.decode(av.Packet(data))]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(float)
