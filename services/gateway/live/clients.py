"""Expression service and renderers as live sessions call them, over gRPC."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from services.common.errors import Unavailable
from services.common.resolve import resolve
from services.common.rpc import open_channel, remote_errors
from services.common.rpc.messages import artifact_ref_message
from services.common.settings import RpcSettings
from services.gateway.live.ports import (
    Accepted,
    Features,
    FromRenderer,
    HeardFeatures,
    Interrupt,
    Interrupted,
    KeyFrame,
    Leaving,
    Rendered,
    Renderer,
    Subject,
    ToRenderer,
)
from services.gateway.live.sound import RATE_HZ
from services.gen.avatar.v1 import expression_pb2, renderer_pb2, types_pb2
from services.gen.avatar.v1.expression_pb2_grpc import ExpressionServiceStub
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub

_RenderLive: TypeAlias = "grpc.aio.StreamStreamMultiCallable[renderer_pb2.RenderLiveRequest, renderer_pb2.RenderLiveResponse]"  # noqa: E501
_RESOLVE_S = 5.0
_REST_S = 5.0
_SKEW_S = 60.0  # a deadline a little longer than what a server takes would be refused
_FRAME_US = 40_000


class LiveServices:
    """Channels to the expression service and to every renderer; an async context manager."""

    def __init__(
        self, expression_target: str, renderer_targets: Sequence[str], settings: RpcSettings
    ) -> None:
        self._targets = renderer_targets
        self._expression_target = expression_target
        self._settings = settings
        self._timeout_s = max(settings.max_deadline_s / 2, settings.max_deadline_s - _SKEW_S)
        self._stack = AsyncExitStack()
        self._replicas: dict[str, _GrpcRenderer] = {}
        self._resolved_s = float("-inf")

    async def __aenter__(self) -> LiveServices:
        channel = await self._stack.enter_async_context(
            open_channel(self._expression_target, self._settings, retries=False)
        )
        self._expression = ExpressionServiceStub(channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def listen(
        self, tenant: str, blocks: AsyncIterator[bytes]
    ) -> AsyncIterator[tuple[str, AsyncIterator[HeardFeatures]]]:
        """See :class:`.ports.Expression`."""
        call = self._expression.Generate(_speech(tenant, blocks), timeout=self._timeout_s)
        try:
            with remote_errors():
                first = await call.read()
            if not isinstance(first, expression_pb2.GenerateResponse):
                raise Unavailable("no answer", reason="FEATURES_INCOMPLETE", remedy="Try again.")
            yield first.header.encoder_version, _heard(call)
        finally:
            call.cancel()

    async def candidates(self, subject: Subject) -> list[Renderer]:
        """See :class:`.ports.Renderers`: those with the fewest sessions of ours come first."""
        await self._refresh()
        now_s = time.monotonic()
        found = sorted(
            self._replicas.values(),
            key=lambda each: (
                each.rests_until_s > now_s, each.sessions, _rank(subject.session, each.target)
            ),
        )  # fmt: skip
        return list(found)

    def failed(self, renderer: Renderer) -> None:
        """See :class:`.ports.Renderers`."""
        if (replica := self._replicas.get(renderer.target)) is not None:
            replica.rests_until_s = time.monotonic() + _REST_S

    async def _refresh(self) -> None:
        if time.monotonic() - self._resolved_s < _RESOLVE_S and self._replicas:
            return
        found = [address for target in self._targets for address in await resolve(target)]
        self._resolved_s = time.monotonic()
        for target in found:
            if target not in self._replicas:
                channel = open_channel(target, self._settings, retries=False)
                await self._stack.enter_async_context(channel)
                live = RendererServiceStub(channel).RenderLive
                self._replicas[target] = _GrpcRenderer(target, live, self._timeout_s)
        for gone in self._replicas.keys() - set(found):
            del self._replicas[gone]  # its channel is closed at the end: sessions may use it
        if not self._replicas:
            raise Unavailable(
                f"none of {', '.join(self._targets)} has an address",
                reason="NO_RENDERER",
                remedy="Start a renderer, or correct AVATAR_RENDERER_TARGETS.",
            )


@dataclass(eq=False)
class _GrpcRenderer:
    """One replica."""

    target: str
    live: _RenderLive
    timeout_s: float
    sessions: int = 0
    rests_until_s: float = 0.0

    @asynccontextmanager
    async def render(
        self,
        subject: Subject,
        encoder_version: str,
        size_px: tuple[int, int],
        context: Sequence[Features],
        features: AsyncIterator[ToRenderer],
    ) -> AsyncIterator[AsyncIterator[FromRenderer]]:
        """See :class:`.ports.Renderer`."""
        header = renderer_pb2.RenderLiveRequestHeader(
            avatar_version=subject.avatar_version,
            bundle=artifact_ref_message(subject.bundle),
            encoder_version=encoder_version,
            video_options=_options(subject.colour, size_px),
            session_id=subject.session,
            context_before=[_features(each) for each in context],
        )
        # The metadata leads all streams of a session to the same replica behind a router.
        call = self.live(
            _requests(header, features),
            timeout=self.timeout_s,
            metadata=(("session_id", subject.session),),
        )
        self.sessions += 1
        try:
            yield _answers(call)
        finally:
            self.sessions -= 1
            call.cancel()


def _options(colour: str, size_px: tuple[int, int]) -> renderer_pb2.VideoOptions:
    behind = renderer_pb2.Background()
    if colour:
        red, green, blue = bytes.fromhex(colour[1:])
        behind.colour.CopyFrom(renderer_pb2.RgbColour(red=red, green=green, blue=blue))
    else:
        behind.source.SetInParent()
    return renderer_pb2.VideoOptions(
        codec=renderer_pb2.VIDEO_CODEC_H264,
        width_px=size_px[0],
        height_px=size_px[1],
        background=behind,
    )


async def _requests(
    header: renderer_pb2.RenderLiveRequestHeader, features: AsyncIterator[ToRenderer]
) -> AsyncIterator[renderer_pb2.RenderLiveRequest]:
    yield renderer_pb2.RenderLiveRequest(header=header)
    async for message in features:
        if isinstance(message, Features):
            yield renderer_pb2.RenderLiveRequest(features=_features(message))
        elif isinstance(message, Interrupt):
            yield renderer_pb2.RenderLiveRequest(
                interruption=renderer_pb2.Interruption(resume_at=_time_code(message.resume))
            )
        elif isinstance(message, KeyFrame):
            yield renderer_pb2.RenderLiveRequest(key_frame_request=renderer_pb2.KeyFrameRequest())
    yield renderer_pb2.RenderLiveRequest(end_of_features=renderer_pb2.EndOfFeatures())


async def _answers(
    call: grpc.aio.StreamStreamCall[
        renderer_pb2.RenderLiveRequest, renderer_pb2.RenderLiveResponse
    ],
) -> AsyncIterator[FromRenderer]:
    with remote_errors():
        async for answer in call:
            kind = answer.WhichOneof("message")
            if kind == "frame":
                frame = answer.frame
                yield Rendered(frame.time_code.frame, frame.data, frame.key_frame)
            elif kind == "header":
                yield Accepted(answer.header.width_px, answer.header.height_px)
            elif kind == "interrupted":
                yield Interrupted()
            elif kind == "migration":
                yield Leaving()


async def _speech(
    tenant: str, blocks: AsyncIterator[bytes]
) -> AsyncIterator[expression_pb2.GenerateRequest]:
    yield expression_pb2.GenerateRequest(
        header=expression_pb2.GenerateRequestHeader(
            parent=f"tenants/{tenant}",
            mode=expression_pb2.GENERATE_MODE_CAUSAL,
            audio_format=expression_pb2.AudioFormat(
                encoding=expression_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ
            ),
        )
    )
    first = 0
    async for pcm in blocks:
        yield expression_pb2.GenerateRequest(
            audio=expression_pb2.AudioChunk(data=pcm, first_sample=first)
        )
        first += len(pcm) // 2


async def _heard(
    call: grpc.aio.StreamStreamCall[
        expression_pb2.GenerateRequest, expression_pb2.GenerateResponse
    ],
) -> AsyncIterator[HeardFeatures]:
    with remote_errors():
        async for answer in call:
            if answer.WhichOneof("message") == "features":
                features = answer.features
                yield HeardFeatures(features.time_code.frame, features.lip_feature)


def _features(features: Features) -> types_pb2.DrivingFeatures:
    return types_pb2.DrivingFeatures(time_code=_time_code(features.slot), lip_feature=features.row)


def _time_code(slot: int) -> types_pb2.TimeCode:
    return types_pb2.TimeCode(frame=slot, time_us=slot * _FRAME_US)


def _rank(session: str, target: str) -> bytes:
    return hashlib.sha256(f"{session}\n{target}".encode()).digest()
