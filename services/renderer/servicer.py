"""RendererService on the wire: checks what is asked, leases the avatar, translates."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from services.common.artifacts import ArtifactRef
from services.common.names import check_owned, parse_name
from services.common.rpc.messages import artifact_ref, object_ref, object_ref_message
from services.common.storage import ObjectRef, ObjectStore
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import trainer_pb2, types_pb2
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceServicer
from services.renderer.cache import LeaseCache, Plan, Size
from services.renderer.lips import SegmentBlendshapes, SegmentFeatures
from services.renderer.loading import (
    LoadedAvatar,
    discard_avatar,
    expected_size,
    load_avatar,
    read_manifest,
)
from services.renderer.segment import Look, RenderedSegment, output_size, render_segment
from services.renderer.settings import RendererSettings
from synctalk.backdrop import Backdrop
from synctalk.bundle import BundleManifest
from synctalk.dataset import sha256_file
from synctalk.errors import InputError
from synctalk.face import ARKIT_NAMES
from synctalk.face_sync.encoder import LAYOUT, WEIGHTS
from synctalk.media import read_picture
from synctalk.media.alpha import PRORES_4444, VP9_ALPHA, AlphaCodec

T = TypeVar("T")
Image = NDArray[np.uint8]
MAX_FRAMES = 1500
_PICTURES = 4
_ALPHA = {pb.VIDEO_CODEC_VP9_ALPHA: VP9_ALPHA, pb.VIDEO_CODEC_PRORES_4444: PRORES_4444}
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


class RendererServicer(RendererServiceServicer):
    """Serves avatars from its cache, which lies in ``folder``."""

    def __init__(self, settings: RendererSettings, store: ObjectStore, folder: Path) -> None:
        self._settings = settings
        self._store = store
        self._folder = folder
        self._encoder_version = sha256_file(WEIGHTS)
        self._slots = asyncio.Semaphore(settings.renderer_max_segments)
        self._pictures = lru_cache(_PICTURES)(
            self._fetch_picture
        )  # the segments of a dub share one
        budget = Size(settings.renderer_cache_bytes, settings.renderer_cache_disk_bytes)
        self._cache: LeaseCache[str, LoadedAvatar] = LeaseCache(budget, discard_avatar)

    async def RenderSegment(  # noqa: N802 - gRPC's name
        self, request: pb.RenderSegmentRequest, context: Any
    ) -> pb.RenderSegmentResponse:
        """See renderer.proto."""
        began_s = time.monotonic()
        tenant, bundle = _named(request.avatar_version, request.bundle)
        check_owned("output_key", request.output_key, tenant)
        self._check_encoder(request.encoder_version)
        _alpha_of(request.video_options)
        image = request.video_options.background.image
        if request.video_options.background.WhichOneof("kind") == "image":
            check_owned("background.image", image.key, tenant)
        features = _features(request)
        with WAITING.track_inprogress():
            await self._slots.acquire()
        try:
            async with self._lease(bundle) as avatar:
                response = await self._render(request, avatar, features)
        finally:
            self._slots.release()
        SEGMENT_S.observe(time.monotonic() - began_s)
        return response

    async def RenderLive(  # noqa: N802 - gRPC's name
        self, requests: Any, context: Any
    ) -> AsyncIterator[pb.RenderLiveResponse]:
        """Not served here."""
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "live rendering is not part of this renderer yet"
        )
        yield pb.RenderLiveResponse()

    async def GetAvatar(  # noqa: N802 - gRPC's name
        self, request: pb.GetAvatarRequest, context: Any
    ) -> pb.GetAvatarResponse:
        """See renderer.proto."""
        _, bundle = _named(request.avatar_version, request.bundle)
        loaded = self._cache.peek(_key(bundle))
        manifest = (
            loaded.avatar.manifest
            if loaded
            else await asyncio.to_thread(read_manifest, self._store, bundle)
        )
        return pb.GetAvatarResponse(avatar=self._avatar(request, manifest, loaded))

    async def WarmAvatar(  # noqa: N802 - gRPC's name
        self, request: pb.WarmAvatarRequest, context: Any
    ) -> pb.WarmAvatarResponse:
        """See renderer.proto."""
        _, bundle = _named(request.avatar_version, request.bundle)
        async with self._lease(bundle) as loaded:
            avatar = self._avatar(request, loaded.avatar.manifest, loaded)
        return pb.WarmAvatarResponse(avatar=avatar)

    def _lease(self, bundle: ArtifactRef) -> AbstractAsyncContextManager[LoadedAvatar]:
        async def plan() -> Plan[LoadedAvatar]:
            size = await asyncio.to_thread(expected_size, self._store, bundle)

            async def load() -> LoadedAvatar:
                device = self._settings.renderer_device
                return await asyncio.to_thread(
                    load_avatar, self._store, bundle, self._folder, device, size
                )

            return Plan(size, load)

        return self._cache.lease(_key(bundle), plan)

    async def _render(
        self, request: pb.RenderSegmentRequest, avatar: LoadedAvatar, features: SegmentFeatures
    ) -> pb.RenderSegmentResponse:
        options = request.video_options
        size = output_size(avatar.avatar.manifest, options.width_px, options.height_px)
        alpha = _alpha_of(options)
        mime = _MIMES[alpha.container] if alpha else "video/mp2t"

        def work(stopping: Callable[[], bool]) -> tuple[RenderedSegment, ObjectRef]:
            look = Look(*size, self._backdrop(avatar, options.background), alpha)
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                path = Path(folder) / "segment"
                rendered = render_segment(avatar, features, look, path, stopping)
                return rendered, self._store.put_file(request.output_key, path, mime)

        rendered, stored = await _in_thread(work)
        FRAMES.inc(rendered.frame_count)
        FPS.observe(rendered.frame_count / rendered.render_s)
        ENCODE_S.observe(rendered.encode_s)
        return pb.RenderSegmentResponse(
            segment=object_ref_message(stored),
            frame_count=rendered.frame_count,
            render_time=_duration(rendered.render_s),
            encode_time=_duration(rendered.encode_s),
        )

    def _backdrop(self, avatar: LoadedAvatar, background: pb.Background) -> Backdrop | None:
        """What the request wants behind the person.

        Raises:
            MediaError: the image is none.
            BundleError: the avatar is too old for it.
        """
        kind = background.WhichOneof("kind")
        if kind in (None, "source"):
            return None
        picture = None
        if kind == "colour":
            picture = _colour(background.colour)
        elif kind == "image":
            picture = self._pictures(object_ref(background.image))
        return Backdrop(avatar.avatar.bundle, picture)

    def _fetch_picture(self, ref: ObjectRef) -> Image:
        """An uploaded picture, decoded in the limited process."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            path = Path(folder) / "picture"
            self._store.get_file(ref, path)
            return read_picture(path)

    def _check_encoder(self, version: str) -> None:
        if version != self._encoder_version:
            raise InputError(
                f"features of encoder {version[:12] or 'unknown'}, this renderer's avatars hear "
                f"{self._encoder_version[:12]}",
                reason="ENCODER_MISMATCH",
                remedy="Bring the expression service and the renderer to the same release.",
            )

    def _avatar(
        self,
        request: pb.GetAvatarRequest | pb.WarmAvatarRequest,
        manifest: BundleManifest,
        loaded: LoadedAvatar | None,
    ) -> pb.Avatar:
        return pb.Avatar(
            avatar_version=trainer_pb2.AvatarVersion(
                name=request.avatar_version, bundle=request.bundle, metrics=manifest.metrics
            ),
            width_px=manifest.source_width,
            height_px=manifest.source_height,
            frame_rate=types_pb2.FrameRate(numerator=manifest.fps, denominator=1),
            gaussian_count=loaded.gaussian_count if loaded else 0,
            encoder_version=self._encoder_version,
            cached=loaded is not None,
            memory_bytes=loaded.size.memory_bytes if loaded else 0,
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


def _named(version: str, bundle: types_pb2.ArtifactRef) -> tuple[str, ArtifactRef]:
    """Tenant and bundle; both must belong together."""
    tenant, *_ = parse_name("avatar_version", version, "tenants", "avatars", "versions")
    check_owned("bundle.prefix", bundle.prefix, tenant)
    check_owned("bundle.listing.key", bundle.listing.key, tenant)
    return tenant, artifact_ref(bundle)


def _alpha_of(options: pb.VideoOptions) -> AlphaCodec | None:
    """How the alpha channel is stored, where there is one.

    Raises:
        InputError: a codec that the background does not fit.
    """
    alpha = _ALPHA.get(options.codec)
    if (options.background.WhichOneof("kind") == "transparent") != (alpha is not None):
        raise InputError(
            f"codec {pb.VideoCodec.Name(options.codec)} with background "
            f"{options.background.WhichOneof('kind') or 'source'}",
            reason="VIDEO_FORMAT",
            remedy="Use VP9_ALPHA or PRORES_4444 with a transparent background, H264 with others.",
        )
    return alpha


def _colour(colour: pb.RgbColour) -> Image:
    values = (colour.red, colour.green, colour.blue)
    if max(values) > 255:
        raise InputError(
            f"background.colour is {values}",
            reason="BAD_COLOUR",
            remedy="Each of red, green and blue is from 0 to 255.",
        )
    return np.array([[values]], np.uint8)


def _features(request: pb.RenderSegmentRequest) -> SegmentFeatures:
    if not 0 < len(request.features) <= MAX_FRAMES:
        raise InputError(
            f"{len(request.features)} frames in a segment",
            reason="SEGMENT_LENGTH",
            remedy=f"Send 1 to {MAX_FRAMES} frames.",
        )
    first = request.features[0].time_code.frame
    every = [*request.context_before, *request.features, *request.context_after]
    expected = range(first - len(request.context_before), first + len(every))
    for features, frame in zip(every, expected, strict=False):
        if features.time_code.frame != frame:
            raise InputError(
                f"features of frame {features.time_code.frame} in place of {frame}",
                reason="FEATURE_ORDER",
                remedy="Send the features of consecutive frames.",
            )
    parts = (request.features, request.context_before, request.context_after)
    rows, before, after = (_rows([f.lip_feature for f in part], LAYOUT.dim) for part in parts)
    return SegmentFeatures(first, rows, before, after, _blendshapes(request))


def _blendshapes(request: pb.RenderSegmentRequest) -> SegmentBlendshapes | None:
    parts = (request.features, request.context_before, request.context_after)
    if not any(frame.blendshapes for part in parts for frame in part):
        return None
    width = len(ARKIT_NAMES)
    rows, before, after = (_rows([f.blendshapes for f in part], width) for part in parts)
    return SegmentBlendshapes(rows, before, after, request.blendshapes_required)


def _rows(
    frames: Iterable[Iterable[float]], width: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """[T, width] of the frames' values, or of another width if that is what they have."""
    rows = [np.fromiter(values, np.float32) for values in frames]
    if len({len(row) for row in rows}) > 1:
        raise InputError("features of different lengths", reason="FEATURE_SHAPE")
    return np.stack(rows) if rows else np.zeros((0, width), np.float32)


def _key(bundle: ArtifactRef) -> str:
    return f"{bundle.prefix}@{bundle.listing.sha256}"


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
