"""ExpressionService on the wire: messages to calls of :mod:`services.expression.generation`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch
from google.protobuf.duration_pb2 import Duration
from prometheus_client import Counter, Gauge

from services.common.errors import Unavailable
from services.expression.batching import BatchingEncoder
from services.expression.generation import Features, Generation, Output, Request
from services.expression.settings import ExpressionSettings
from services.expression.voice import VoiceChange
from services.gen.avatar.v1 import expression_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.gen.avatar.v1.expression_pb2_grpc import ExpressionServiceServicer
from synctalk.dataset import sha256_file
from synctalk.errors import Cancelled, InputError
from synctalk.expression import BLINKS_PER_MINUTE, ProsodicExpression, Style
from synctalk.face_sync.encoder import WEIGHTS
from synctalk.face_sync.speech import FPS

STREAMS = Gauge("synctalk_expression_streams", "Streams open")
FRAMES = Counter("synctalk_expression_frames_total", "Frames that got features")
CHUNK_BYTES = 64 << 10
_STYLES: dict[int, Style] = {
    pb.EXPRESSION_STYLE_UNSPECIFIED: "natural",
    pb.EXPRESSION_STYLE_NATURAL: "natural",
    pb.EXPRESSION_STYLE_NEUTRAL: "neutral",
    pb.EXPRESSION_STYLE_CALM: "calm",
    pb.EXPRESSION_STYLE_EMPHATIC: "emphatic",
}


class _Stream(Protocol):
    def __aiter__(self) -> AsyncIterator[pb.GenerateRequest]: ...


class ExpressionServicer(ExpressionServiceServicer):
    """Serves ``Generate``; one instance a process, it owns the encoder."""

    def __init__(self, settings: ExpressionSettings) -> None:
        self._settings = settings
        encoder = BatchingEncoder.pretrained()
        assert isinstance(encoder, BatchingEncoder)
        self._encoder = encoder
        self._version = sha256_file(WEIGHTS)
        self._open = 0
        # A thread for every stream: all of them may wait for the same batch.
        self._threads = ThreadPoolExecutor(
            settings.expression_max_streams, "stream", torch.set_num_threads, (1,)
        )

    async def Generate(  # noqa: N802 - gRPC's name
        self, requests: _Stream, context: Any
    ) -> AsyncIterator[pb.GenerateResponse]:
        """See expression.proto."""
        if self._open >= self._settings.expression_max_streams:
            raise Unavailable(
                f"{self._open} streams are open here already",
                reason="STREAMS_EXHAUSTED",
                remedy="Try again later or on another replica.",
            )
        self._open += 1
        STREAMS.set(self._open)
        try:
            async for response in self._serve(aiter(requests)):
                yield response
        finally:
            self._open -= 1
            STREAMS.set(self._open)

    async def _serve(
        self, requests: AsyncIterator[pb.GenerateRequest]
    ) -> AsyncIterator[pb.GenerateResponse]:
        request = _parse_header(await anext(requests, pb.GenerateRequest()))
        generation = Generation(
            self._encoder,
            request,
            self._settings.expression_max_audio_s,
            self._settings.expression_spool,
        )
        try:
            yield pb.GenerateResponse(header=self._header(request))
            async for message in requests:
                kind = message.WhichOneof("message")
                if kind == "end_of_audio":
                    break
                if kind != "audio" or len(message.audio.data) > CHUNK_BYTES:
                    raise _unexpected("an audio chunk of at most 64 KiB, or the end of the audio")
                made = generation.push(message.audio.data, message.audio.first_sample)
                async for response in self._responses(made):
                    yield response
            else:
                raise Cancelled("the stream was closed before the end of the audio")
            async for response in self._responses(generation.finish()):
                yield response
        finally:
            generation.close()
        FRAMES.inc(generation.frame_count)
        yield pb.GenerateResponse(
            summary=pb.GenerateSummary(
                frame_count=generation.frame_count, sample_count=generation.sample_count
            )
        )

    async def _responses(self, made: Iterator[Output]) -> AsyncIterator[pb.GenerateResponse]:
        """Messages of ``made``, computed in a thread and a little ahead of the writer."""
        loop = asyncio.get_running_loop()
        while batch := await loop.run_in_executor(self._threads, _take, made):
            for response in batch:
                yield response

    def _header(self, request: Request) -> pb.GenerateResponseHeader:
        encoder = self._encoder
        ahead_ms = encoder.causal_look_ahead_ms if request.causal else encoder.look_ahead_ms
        # The proto counts from a frame's end, the encoder from its centre.
        look_ahead = Duration()
        look_ahead.FromMicroseconds(round(1000 * (ahead_ms - 500 / FPS)))
        return pb.GenerateResponseHeader(
            lip_feature_dim=encoder.dim,
            encoder_version=self._version,
            frame_rate=types_pb2.FrameRate(numerator=FPS, denominator=1),
            look_ahead=look_ahead,
        )


_AT_ONCE = 100


def _take(made: Iterator[Output]) -> list[pb.GenerateResponse]:
    """The next messages; an empty list at the end."""
    batch = []
    for output in made:
        batch.append(_message(output))
        if len(batch) == _AT_ONCE:
            break
    return batch


def _message(output: Output) -> pb.GenerateResponse:
    if isinstance(output, VoiceChange):
        started = pb.SPEECH_EVENT_TYPE_STARTED if output.speaking else pb.SPEECH_EVENT_TYPE_STOPPED
        return pb.GenerateResponse(
            event=pb.SpeechEvent(type=started, time_code=_time_code(output.frame))
        )
    assert isinstance(output, Features)
    return pb.GenerateResponse(
        features=types_pb2.DrivingFeatures(
            time_code=_time_code(output.frame),
            lip_feature=output.row.tolist(),
            blendshapes=None if output.blendshapes is None else output.blendshapes.tolist(),
        )
    )


def _time_code(frame: int) -> types_pb2.TimeCode:
    return types_pb2.TimeCode(frame=frame, time_us=frame * 1_000_000 // FPS)


def _parse_header(message: pb.GenerateRequest) -> Request:
    if message.WhichOneof("message") != "header":
        raise _unexpected("a header first")
    header = message.header
    if header.mode == pb.GENERATE_MODE_UNSPECIFIED:
        raise _unexpected("header.mode")
    if header.audio_format.encoding != pb.AUDIO_ENCODING_PCM_S16LE:
        raise _unexpected("header.audio_format.encoding PCM_S16LE")
    return Request(
        causal=header.mode == pb.GENERATE_MODE_CAUSAL,
        sample_rate_hz=header.audio_format.sample_rate_hz,
        whole_recording=header.whole_recording,
        expression=_expression(header.expression) if header.want_blendshapes else None,
    )


def _expression(options: pb.ExpressionOptions) -> ProsodicExpression:
    if options.style not in _STYLES:
        raise _unexpected("a known header.expression.style")
    rate = BLINKS_PER_MINUTE
    if options.HasField("blinks_per_minute"):
        rate = options.blinks_per_minute
    return ProsodicExpression(_STYLES[options.style], rate)


def _unexpected(wanted: str) -> InputError:
    return InputError(
        f"the stream does not hold {wanted}",
        reason="UNEXPECTED_MESSAGE",
        remedy="Send a header, audio chunks, and the end of the audio.",
    )
