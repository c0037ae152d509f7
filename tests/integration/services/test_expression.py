"""ExpressionService as a process: the offline encoder's rows, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from suite import RunningService, Suite, on

from services.common.errors import FailedPrecondition
from services.common.local import LocalServers
from services.gen.avatar.v1 import expression_pb2 as pb
from services.gen.avatar.v1.expression_pb2_grpc import ExpressionServiceStub
from synctalk.errors import Cancelled, InputError
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.face_sync import AudioVisualEncoder
from synctalk.media import read_audio, write_wav

SPEECH = Path(__file__).parents[3] / "samples" / "speech.wav"
CAUSAL, AHEAD = pb.GENERATE_MODE_CAUSAL, pb.GENERATE_MODE_LOOK_AHEAD
Responses = list[pb.GenerateResponse]


@pytest.fixture(scope="module")
def expression(
    local_servers: LocalServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    suite = Suite(local_servers, tmp_path_factory.mktemp("expression"))
    try:
        yield suite.start("services.expression")
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    return read_audio(SPEECH, 16_000)[: 16_000 * 6]


def header(
    mode: pb.GenerateMode,
    *,
    rate: int = 16_000,
    whole: bool = False,
    expression: pb.ExpressionOptions | None = None,
) -> pb.GenerateRequest:
    return pb.GenerateRequest(
        header=pb.GenerateRequestHeader(
            parent="tenants/acme",
            mode=mode,
            audio_format=pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=rate),
            whole_recording=whole,
            want_blendshapes=expression is not None,
            expression=expression,
        )
    )


def chunks(wav: NDArray[np.float32], n: int) -> Iterator[pb.GenerateRequest]:
    samples = np.rint(wav * 32768).astype("<i2")
    for first in range(0, len(samples), n):
        data = samples[first : first + n].tobytes()
        yield pb.GenerateRequest(audio=pb.AudioChunk(data=data, first_sample=first))


END = pb.GenerateRequest(end_of_audio=pb.EndOfAudio())


def generate(service: RunningService, *requests: pb.GenerateRequest) -> Responses:
    return asyncio.run(stream(service, list(requests)))


async def stream(service: RunningService, requests: list[pb.GenerateRequest]) -> Responses:
    async def work(channel: grpc.aio.Channel) -> Responses:
        call = ExpressionServiceStub(channel).Generate(iter(requests), timeout=60)
        return [response async for response in call]

    return await on(service.target, work)


def rows(responses: Responses) -> torch.Tensor:
    found = [r.features for r in responses if r.WhichOneof("message") == "features"]
    assert [f.time_code.frame for f in found] == list(range(len(found)))
    assert all(f.time_code.time_us == f.time_code.frame * 40_000 for f in found)
    return torch.tensor([list(f.lip_feature) for f in found])


@pytest.mark.parametrize("mode", [CAUSAL, AHEAD])
@pytest.mark.parametrize("whole", [True, False])
def test_streamed_rows_equal_the_offline_encoders(
    expression: RunningService, speech: NDArray[np.float32], mode: pb.GenerateMode, whole: bool
) -> None:
    responses = generate(expression, header(mode, whole=whole), *chunks(speech, 1111), END)
    encoder = AudioVisualEncoder.pretrained()
    n_frames = -(-len(speech) * 25 // 16_000)
    offline = encoder.encode(
        torch.from_numpy(speech), n_frames,
        causal=mode == CAUSAL, stats=None if whole else encoder.prior_stats,
    )  # fmt: skip
    torch.testing.assert_close(rows(responses), offline, atol=1e-3, rtol=0)
    first, last = responses[0].header, responses[-1].summary
    assert first.lip_feature_dim == encoder.dim
    assert (last.frame_count, last.sample_count) == (n_frames, len(speech))
    assert first.look_ahead.ToMilliseconds() == (23 if mode == CAUSAL else 11_967)


def test_sound_of_another_rate_gives_the_rows_of_its_resampled_file(
    expression: RunningService, speech: NDArray[np.float32], tmp_path: Path
) -> None:
    path = tmp_path / "speech48.wav"
    fine = np.interp(np.arange(len(speech) * 3) / 3, np.arange(len(speech)), speech)
    write_wav(path, fine.astype(np.float32), 48_000)
    sound = read_audio(path, 48_000)
    answered = rows(
        generate(expression, header(AHEAD, rate=48_000, whole=True), *chunks(sound, 4800), END)
    )
    heard = torch.from_numpy(read_audio(path, 16_000))
    offline = AudioVisualEncoder.pretrained().encode(heard, len(answered))
    torch.testing.assert_close(answered, offline, atol=1e-3, rtol=0)


def test_live_frames_leave_before_the_audio_ends(
    expression: RunningService, speech: NDArray[np.float32]
) -> None:
    async def work(channel: grpc.aio.Channel) -> int:
        enough = asyncio.Event()

        async def requests() -> AsyncIterator[pb.GenerateRequest]:
            yield header(CAUSAL)
            for chunk in chunks(speech[:16_000], 640):
                yield chunk
            await enough.wait()  # forever, if frames waited for the end
            yield END

        seen = 0
        async for response in ExpressionServiceStub(channel).Generate(requests(), timeout=60):
            seen += response.WhichOneof("message") == "features"
            if seen == 24:  # the last one of the second waits for 7.5 ms more
                enough.set()
        return seen

    assert asyncio.run(on(expression.target, work)) == 25


def test_streams_at_once_are_computed_together_and_do_not_mix(
    expression: RunningService, speech: NDArray[np.float32]
) -> None:
    def requests(n: int) -> list[pb.GenerateRequest]:
        return [header(CAUSAL), *chunks(speech[n * 8_000 :][:32_000], 640), END]

    async def many() -> list[Responses]:
        return await asyncio.gather(*(stream(expression, requests(n)) for n in range(8)))

    batches = "synctalk_expression_batch_size_count"
    streams = "synctalk_expression_batch_size_sum"
    before = expression.metric(batches), expression.metric(streams)
    together = asyncio.run(many())
    assert expression.metric(streams) - before[1] > expression.metric(batches) - before[0]
    alone = generate(expression, *requests(5))
    torch.testing.assert_close(rows(together[5]), rows(alone), atol=1e-3, rtol=0)


def test_events_say_where_a_voice_is_heard(
    expression: RunningService, speech: NDArray[np.float32]
) -> None:
    silence = np.zeros(16_000, np.float32)
    sound = np.concatenate([silence, speech[16_000:48_000], silence])
    responses = generate(expression, header(AHEAD, whole=True), *chunks(sound, 16_000), END)
    events = [r.event for r in responses if r.WhichOneof("message") == "event"]
    assert [e.type for e in events[::2]] == [pb.SPEECH_EVENT_TYPE_STARTED] * len(events[::2])
    assert [e.type for e in events[1::2]] == [pb.SPEECH_EVENT_TYPE_STOPPED] * len(events[1::2])
    assert 23 <= events[0].time_code.frame <= 30
    assert 70 <= events[-1].time_code.frame <= 80


def test_audio_that_ends_without_saying_so_is_cancelled(
    expression: RunningService, speech: NDArray[np.float32]
) -> None:
    with pytest.raises(Cancelled):
        generate(expression, header(CAUSAL), *chunks(speech, 16_000))


def gap(speech: NDArray[np.float32]) -> list[pb.GenerateRequest]:
    first, _, third, *_ = chunks(speech, 1600)
    return [header(CAUSAL), first, third]


def wanting(**options: object) -> list[pb.GenerateRequest]:
    facts = pb.ExpressionOptions(**options)  # type: ignore[arg-type]
    return [header(AHEAD, whole=True, expression=facts)]


def test_blendshapes_are_those_of_the_library(
    expression: RunningService, speech: NDArray[np.float32]
) -> None:
    options = pb.ExpressionOptions(style=pb.EXPRESSION_STYLE_EMPHATIC, blinks_per_minute=25)
    responses = generate(
        expression, header(AHEAD, whole=True, expression=options), *chunks(speech, 4321), END
    )
    found = [list(r.features.blendshapes) for r in responses if r.HasField("features")]
    heard = (np.rint(speech * 32768) / 32768).astype(np.float32)
    expected = ProsodicExpression("emphatic", 25).generate(measure_prosody(heard, 150))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(found, axis=0).max() > 0.5


def test_without_being_asked_for_there_are_no_blendshapes(
    expression: RunningService, speech: NDArray[np.float32]
) -> None:
    responses = generate(expression, header(AHEAD, whole=True), *chunks(speech, 16_000), END)
    assert not any(r.features.blendshapes for r in responses if r.HasField("features"))


def of_a_live_stream(speech: NDArray[np.float32]) -> list[pb.GenerateRequest]:
    return [header(CAUSAL, expression=pb.ExpressionOptions())]


@pytest.mark.parametrize(
    ("requests", "kind", "reason"),
    [
        (gap, InputError, "AUDIO_GAP"),
        (lambda speech: [END], InputError, "UNEXPECTED_MESSAGE"),
        (lambda speech: [header(CAUSAL, rate=100), END], InputError, "SAMPLE_RATE"),
        (of_a_live_stream, FailedPrecondition, "BLENDSHAPES_NEED_RECORDING"),
        (lambda speech: wanting(blinks_per_minute=61), InputError, "BLINK_RATE"),
        (lambda speech: wanting(style=99), InputError, "UNEXPECTED_MESSAGE"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_reason(
    expression: RunningService,
    speech: NDArray[np.float32],
    requests: Callable[[NDArray[np.float32]], list[pb.GenerateRequest]],
    kind: type[Exception],
    reason: str,
) -> None:
    with pytest.raises(kind) as caught:
        generate(expression, *requests(speech))
    assert caught.value.reason == reason  # type: ignore[attr-defined]
