"""RendererService on the wire: checks what is asked, leases the avatar, translates."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from services.common import logs
from services.common.artifacts import ArtifactRef
from services.common.consents import Scope, Shown
from services.common.errors import Unavailable
from services.common.jobs.connect import connect
from services.common.names import check_owned, parse_name
from services.common.rpc.messages import object_ref_message
from services.common.storage import ObjectRef, ObjectStore
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceServicer
from services.renderer import wire
from services.renderer.admission import Admission
from services.renderer.avatars import Avatars, key_of
from services.renderer.consents import ConsentGuard, Hold
from services.renderer.heap import Heap
from services.renderer.lips import SegmentFeatures
from services.renderer.live import LiveSession
from services.renderer.live_encoding import LiveEncoder
from services.renderer.loading import LoadedAvatar
from services.renderer.marking import Marking
from services.renderer.moments import FeatureWindow
from services.renderer.segment import Look, RenderedSegment, output_size, render_segment
from services.renderer.settings import RendererSettings
from services.renderer.threads import Threads
from synctalk.dataset import sha256_file
from synctalk.errors import InputError
from synctalk.face_sync.encoder import LAYOUT, WEIGHTS
from synctalk.live import FootageCache, LiveView

T = TypeVar("T")
_SILENCE = np.zeros((1, LAYOUT.dim), np.float32)
_MIMES = {"webm": "video/webm", "mov": "video/quicktime"}

_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
FRAMES = Counter("synctalk_render_frames_total", "Frames rendered and encoded")
SEGMENT_S = Histogram(
    "synctalk_render_segment_seconds", "A segment from request to stored", buckets=_BUCKETS
)
ENCODE_S = Histogram("synctalk_render_encode_seconds", "Encoding of a segment", buckets=_BUCKETS)
FPS = Histogram(
    "synctalk_render_fps", "Frames per second of a segment, encoding included",
    buckets=(5, 10, 25, 50, 75, 100, 150, 200, 400, 800),
)  # fmt: skip
WAITING = Gauge("synctalk_render_segments_waiting", "Segments that wait for their turn")
FOOTAGE_BYTES = Gauge("synctalk_render_live_footage_bytes", "Memory that decoded footage takes")

log = logs.logger(__name__)


class _Stream(Protocol):
    def __aiter__(self) -> AsyncIterator[pb.RenderLiveRequest]: ...


class RendererServicer(RendererServiceServicer):
    """Serves avatars from its cache, which lies in ``folder``."""

    def __init__(self, settings: RendererSettings, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._avatars = Avatars(settings, store, folder)
        self._consents = ConsentGuard(
            connect(settings.redis_url.get_secret_value()),
            self._avatars.cached,
            self._avatars.drop,
        )
        redis = connect(settings.redis_url.get_secret_value())
        self._marking = Marking(settings.provenance, redis)
        self._encoder_version = sha256_file(WEIGHTS)
        self._slots = asyncio.Semaphore(settings.renderer_max_segments)
        self._heap = Heap()
        self._threads = Threads(max(2, os.cpu_count() or 1))
        self._footage = FootageCache(settings.renderer_footage_bytes)
        FOOTAGE_BYTES.set_function(lambda: self._footage.size_bytes)
        self.admission = Admission(settings.renderer_max_sessions, settings.renderer_max_late_share)
        self._sessions = set[LiveSession]()
        self._leave_by_s: float | None = None

    async def RenderSegment(  # noqa: N802 - gRPC's name
        self, request: pb.RenderSegmentRequest, context: Any
    ) -> pb.RenderSegmentResponse:
        """See renderer.proto."""
        began_s = time.monotonic()
        tenant, bundle = wire.named(request.avatar_version, request.bundle)
        check_owned("output_key", request.output_key, tenant)
        self._check_encoder(request.encoder_version)
        wire.check_options(request.video_options, tenant)
        features = wire.segment_features(request)
        with WAITING.track_inprogress():
            await self._slots.acquire()
        try:
            async with (
                self._held(request.avatar_version, bundle, Scope.DUB) as hold,
                self._avatars.lease(bundle) as avatar,
            ):
                response = await self._render(request, avatar, features, hold)
        finally:
            self._slots.release()
        SEGMENT_S.observe(time.monotonic() - began_s)
        return response

    async def RenderLive(  # noqa: N802 - gRPC's name
        self, requests: _Stream, context: Any
    ) -> AsyncGenerator[pb.RenderLiveResponse, None]:
        """See renderer.proto."""
        messages = aiter(requests)
        header = wire.live_header(await anext(messages, pb.RenderLiveRequest()))
        tenant, bundle = wire.named(header.avatar_version, header.bundle)
        self._check_encoder(header.encoder_version)
        if wire.check_options(header.video_options, tenant) is not None:
            raise InputError(
                "a live session before no background",
                reason="VIDEO_FORMAT",
                remedy="Live video is H264: choose a colour or an image.",
            )
        window = FeatureWindow([wire.live_features(each) for each in header.context_before])
        with self.admission.session():
            async with (
                self._held(header.avatar_version, bundle, Scope.LIVE) as hold,
                self._avatars.lease(bundle) as avatar,
            ):
                served = self._serve(header, avatar, window, hold.guard(messages))
                async with aclosing(served) as responses:
                    async for response in responses:
                        yield response

    async def GetAvatar(  # noqa: N802 - gRPC's name
        self, request: pb.GetAvatarRequest, context: Any
    ) -> pb.GetAvatarResponse:
        """See renderer.proto."""
        _, bundle = wire.named(request.avatar_version, request.bundle)
        manifest, loaded = await self._avatars.manifest(bundle), self._avatars.peek(bundle)
        avatar = wire.avatar_message(request, manifest, loaded, self._encoder_version)
        return pb.GetAvatarResponse(avatar=avatar)

    async def WarmAvatar(  # noqa: N802 - gRPC's name
        self, request: pb.WarmAvatarRequest, context: Any
    ) -> pb.WarmAvatarResponse:
        """See renderer.proto."""
        _, bundle = wire.named(request.avatar_version, request.bundle)
        async with (
            self._held(request.avatar_version, bundle, None),
            self._avatars.lease(bundle) as loaded,
        ):
            manifest = loaded.avatar.manifest
            avatar = wire.avatar_message(request, manifest, loaded, self._encoder_version)
        return pb.WarmAvatarResponse(avatar=avatar)

    @asynccontextmanager
    async def _held(
        self, avatar_version: str, bundle: ArtifactRef, scope: Scope | None
    ) -> AsyncGenerator[Hold, None]:
        """Every way to a face passes here: open while the consent stands that its bundle names."""
        names = parse_name("avatar_version", avatar_version, "tenants", "avatars", "versions")
        manifest = await self._avatars.manifest(bundle)
        shown = Shown(names[0], names[1], manifest.consent_id)
        async with self._consents.held(shown, scope, key_of(bundle)) as hold:
            yield hold

    def leave(self, time_left_s: float) -> None:
        """Ask every live session, and whichever still comes, to move to another replica."""
        self._leave_by_s = time.monotonic() + time_left_s
        for session in self._sessions:
            session.leave(time_left_s)

    async def _serve(
        self,
        header: pb.RenderLiveRequestHeader,
        avatar: LoadedAvatar,
        window: FeatureWindow,
        messages: AsyncIterator[pb.RenderLiveRequest],
    ) -> AsyncGenerator[pb.RenderLiveResponse, None]:
        person, options = avatar.avatar, header.video_options
        width, height = output_size(person.manifest, options.width_px, options.height_px)
        backdrop = await asyncio.to_thread(
            wire.backdrop, person, options.background, self._avatars.picture
        )
        fps = person.manifest.fps
        person.lips_from_audio(_SILENCE)  # refuses an avatar of another encoder before the header
        tenant, *_ = wire.named(header.avatar_version, header.bundle)
        stamp = await self._marking.of_session(
            tenant, header.session_id, header.avatar_version, (width, height)
        )
        session = LiveSession(
            LiveView(person, backdrop),
            window,
            LiveEncoder(width, height, fps, stamp),
            self._footage,
            self._threads,
            self.admission,
        )
        yield pb.RenderLiveResponse(
            header=pb.RenderLiveResponseHeader(
                codec=pb.VIDEO_CODEC_H264,
                width_px=width,
                height_px=height,
                frame_rate=wire.frame_rate(fps),
            )
        )
        with self._listed(session, header.session_id):
            async with aclosing(session.run(wire.live_inputs(messages))) as outputs:
                async for output in outputs:
                    yield wire.live_response(output, fps)

    @contextmanager
    def _listed(self, session: LiveSession, name: str) -> Iterator[None]:
        log.info("session opened", session=name)
        if self._leave_by_s is not None:
            session.leave(max(0.0, self._leave_by_s - time.monotonic()))
        self._sessions.add(session)
        try:
            yield
        finally:
            self._sessions.discard(session)
            log.info("session closed", session=name)

    async def _render(
        self,
        request: pb.RenderSegmentRequest,
        avatar: LoadedAvatar,
        features: SegmentFeatures,
        hold: Hold,
    ) -> pb.RenderSegmentResponse:
        options = request.video_options
        manifest = avatar.avatar.manifest
        size = output_size(manifest, options.width_px, options.height_px)
        alpha = wire.ALPHA.get(options.codec)
        drawn = (manifest.source_width, manifest.source_height) if alpha else size
        stamp = await self._marking.of_dub(request.output_key, request.avatar_version, drawn)
        mime = _MIMES[alpha.container] if alpha else "video/mp2t"

        def work(stopping: Callable[[], bool]) -> tuple[RenderedSegment, ObjectRef]:
            behind = wire.backdrop(avatar.avatar, options.background, self._avatars.picture)
            look = Look(*size, behind, alpha, stamp)
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                path = Path(folder) / "segment"
                rendered = render_segment(avatar, features, look, path, stopping)
                self._heap.settle()
                hold.check()
                return rendered, self._store.put_file(request.output_key, path, mime)

        rendered, stored = await _in_thread(work)
        FRAMES.inc(rendered.frame_count)
        FPS.observe(rendered.frame_count / rendered.render_s)
        ENCODE_S.observe(rendered.encode_s)
        return pb.RenderSegmentResponse(
            segment=object_ref_message(stored),
            frame_count=rendered.frame_count,
            render_time=wire.duration(rendered.render_s),
            encode_time=wire.duration(rendered.encode_s),
        )

    def _check_encoder(self, version: str) -> None:
        if version != self._encoder_version:
            raise Unavailable(  # while releases are side by side, other replicas know it
                f"features of encoder {version[:12] or 'unknown'}, this renderer's avatars hear "
                f"{self._encoder_version[:12]}",
                reason="ENCODER_MISMATCH",
                remedy="Bring the expression service and the renderer to the same release.",
            )


async def _in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run ``work`` in a thread; a cancelled caller waits until it has stopped."""
    stop = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(work, stop.is_set))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([task])
        task.exception()  # looked at, so that it is not reported as lost
        raise
