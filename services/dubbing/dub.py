"""One dub from request to stored video.

Memory does not grow with its length: sound, features and video lie on disk, and no more than a
few segments are under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from services.common.dubs import (
    CONTENT_TYPES,
    DubOutput,
    DubRequest,
    check_supported,
    dub_prefix,
)
from services.common.errors import FailedPrecondition, NotFound, PermissionDenied
from services.common.job_progress import JobProgress
from services.common.jobs import JobContext
from services.common.names import check_owned, parse_name
from services.common.storage import ObjectRef, ObjectStore
from services.dubbing import clients
from services.dubbing.captions import spread_text, to_srt, to_vtt
from services.dubbing.features import FeatureSpool
from services.dubbing.join import FORMS, Joiner
from services.dubbing.plan import Segment, plan_segments
from services.dubbing.preview import first_picture
from services.dubbing.replicas import Place, ReplicaPool
from services.dubbing.segments import Checkpoint, Done, render_all
from services.dubbing.settings import DubbingSettings
from services.dubbing.signing import sign_dub
from services.dubbing.sound import EAR_HZ, ENCODER_HZ, Pcm, decode_sound
from synctalk.errors import InputError

FPS = 25
SHARES = {"audio": 1.0, "features": 4.0, "render": 88.0, "join": 7.0}
_FEATURES_TIMEOUT_S = 120.0


class Dub:
    """An attempt at a dub; :meth:`make` does it.

    Args:
        folder: empty; takes the sound, the features and the video.
    """

    def __init__(
        self,
        context: JobContext,
        request: DubRequest,
        store: ObjectStore,
        settings: DubbingSettings,
        folder: Path,
    ) -> None:
        self._context = context
        self._request = request
        self._store = store
        self._settings = settings
        self._folder = folder
        self._form = FORMS[request.video_format]
        self._progress = JobProgress(context, SHARES)
        self._tenant = context.job.tenant
        self._prefix = f"{dub_prefix(self._tenant, context.job.id)}/attempts/{context.attempt}"

    async def make(self) -> DubOutput:
        """Everything, in order.

        Raises:
            InputError: the request, the audio or the avatar cannot be used.
            SyncTalkError: what may go better another time.
        """
        try:
            self._check()
            heard, shown = await self._sound()
            spool = await self._features(heard)
            try:
                done = await self._segments(spool)
                preview, video, manifest = await self._join(done, shown)
                vtt, srt = await self._captions(spool)
            finally:
                spool.close()
        except (NotFound, FailedPrecondition, PermissionDenied) as error:
            # What the request names is gone, or the person's consent does not stand: a renderer
            # says so of each segment. No retry brings it back.
            raise InputError(error.message, reason=error.reason, remedy=error.remedy) from error
        return DubOutput(video, preview, vtt, srt, spool.n_frames, spool.n_frames / FPS, manifest)

    def _check(self) -> None:
        check_supported(self._request)
        parse_name("avatar_version", self._request.avatar_version, "tenants", "avatars", "versions")
        image = self._request.background_image
        for field, path in (
            ("avatar_version", self._request.avatar_version),
            ("bundle", self._request.bundle.prefix),
            ("audio", self._request.audio.key),
            *((("background_image", image.key),) if image else ()),
        ):
            check_owned(field, path, self._tenant)

    async def _sound(self) -> tuple[Pcm, Pcm]:
        """What the encoder hears and what people hear."""
        self._progress.report("audio")
        source = self._folder / "source"
        await asyncio.to_thread(self._store.get_file, self._request.audio, source)
        limit_s = self._settings.dubbing_max_audio_s
        heard = await asyncio.to_thread(decode_sound, source, self._folder, ENCODER_HZ, limit_s)
        shown = await asyncio.to_thread(decode_sound, source, self._folder, EAR_HZ, limit_s)
        source.unlink()
        return heard, shown

    async def _features(self, sound: Pcm) -> FeatureSpool:
        self._progress.report("features")
        target, rpc = self._settings.expression_target, self._settings.rpc
        async with clients.connect(target, rpc) as channel:
            return await clients.spool_features(
                channel, self._tenant, sound, self._folder / "features",
                _FEATURES_TIMEOUT_S + sound.duration_s,
                self._request.expression, self._request.blinks_per_minute,
            )  # fmt: skip

    async def _segments(self, spool: FeatureSpool) -> tuple[Done, ...]:
        """All segments rendered and stored, in order."""
        plan = plan_segments(spool.n_frames, spool.voiced, self._settings.dubbing_segment_frames)
        done = await self._done_before(plan, spool.encoder_version)
        left = [segment for segment in plan if segment not in done]
        self._progress.log(f"{len(plan)} segments, {len(done)} of them done before")
        self._report_rendering(done, spool)
        async with ReplicaPool(
            self._settings.renderer_targets,
            self._settings.dubbing_segments_per_replica,
            lambda target: clients.connect_renderer(target, self._settings.rpc),
            client=self._prefix,
        ) as pool:

            async def render(place: Place[clients.Channel], segment: Segment) -> ObjectRef:
                return await clients.render_segment(
                    place.channel, self._request, spool.read(segment), spool.encoder_version,
                    f"{self._prefix}/segments/{segment.first:07}.{self._form.suffix}",
                    self._settings.dubbing_segment_timeout_s,
                )  # fmt: skip

            async def on_done(each: Done) -> None:
                done[each.segment] = each.stored
                await self._save(spool.encoder_version, done)
                self._report_rendering(done, spool)

            attempts = self._settings.dubbing_segment_attempts
            await render_all(left, pool, render, attempts, on_done)
        return tuple(Done(segment, done[segment]) for segment in plan)

    def _report_rendering(self, done: Mapping[Segment, ObjectRef], spool: FeatureSpool) -> None:
        frames = sum(segment.count for segment in done)
        self._progress.report("render", frames / spool.n_frames)

    async def _done_before(
        self, plan: tuple[Segment, ...], encoder_version: str
    ) -> dict[Segment, ObjectRef]:
        """Segments of this plan that an earlier attempt has stored."""
        if not self._context.checkpoint:
            return {}
        try:
            ref = await asyncio.to_thread(self._store.reference, self._context.checkpoint)
            found = Checkpoint.from_json(await asyncio.to_thread(self._store.get_bytes, ref))
        except NotFound:
            return {}
        if found is None or found.encoder_version != encoder_version:
            return {}
        return {done.segment: done.stored for done in found.done if done.segment in plan}

    async def _save(self, encoder_version: str, done: Mapping[Segment, ObjectRef]) -> None:
        checkpoint = Checkpoint(encoder_version, tuple(Done(*item) for item in done.items()))
        key = f"{self._prefix}/checkpoint.json"
        await asyncio.to_thread(self._store.put_bytes, key, checkpoint.to_json())
        self._context.save_checkpoint(key)

    async def _join(
        self, done: tuple[Done, ...], sound: Pcm
    ) -> tuple[ObjectRef, ObjectRef, ObjectRef | None]:
        """Preview, signed video, and its manifest where the video cannot hold it, stored."""
        self._progress.report("join")
        name = f"video.{self._request.video_format}"
        path, piece = self._folder / name, self._folder / "segment"
        preview: ObjectRef | None = None
        with Joiner(path, FPS, sound, self._form) as joiner:
            for number, each in enumerate(done):
                await asyncio.to_thread(self._store.get_file, each.stored, piece)
                if preview is None:
                    preview = await self._preview(piece)
                await asyncio.to_thread(joiner.add, piece, each.segment.count)
                self._progress.report("join", 0.7 * (number + 1) / len(done))
        assert preview is not None
        dub = dub_prefix(self._tenant, self._context.job.id)
        sidecar = await sign_dub(path, dub, self._request, self._store, self._settings.provenance)
        video = await self._put(path, CONTENT_TYPES[self._request.video_format])
        return preview, video, await self._put(sidecar, "application/c2pa") if sidecar else None

    async def _put(self, path: Path, mime: str) -> ObjectRef:
        key = f"{self._prefix}/{path.name}"
        return await asyncio.to_thread(self._store.put_file, key, path, mime)

    async def _preview(self, segment: Path) -> ObjectRef:
        data = await asyncio.to_thread(first_picture, segment, self._form)
        key = f"{self._prefix}/preview.jpg"
        ref = await asyncio.to_thread(self._store.put_bytes, key, data, "image/jpeg")
        self._progress.show(ref)
        return ref

    async def _captions(self, spool: FeatureSpool) -> tuple[ObjectRef | None, ObjectRef | None]:
        """WebVTT and SubRip, stored; None where no text was given."""
        if not self._request.text.strip():
            return None, None
        cues = spread_text(self._request.text, spool.voiced, FPS)
        vtt = await self._caption("vtt", to_vtt(cues), "text/vtt")
        return vtt, await self._caption("srt", to_srt(cues), "application/x-subrip")

    async def _caption(self, kind: str, text: str, mime: str) -> ObjectRef:
        key = f"{self._prefix}/captions.{kind}"
        return await asyncio.to_thread(self._store.put_bytes, key, text.encode(), mime)
