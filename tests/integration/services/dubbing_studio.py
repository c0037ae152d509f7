"""What the tests of dubs share: everything that a dub needs but its worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import av
from suite import RunningService, Suite, on
from tiny import SIDE

from services.common.artifacts import ArtifactRef
from services.common.dubs import DUB_JOBS, DubOutput, DubRequest, Expression, dub_prefix
from services.common.jobs import Job, JobQueue, JobSettings, JobState, connect
from services.common.storage import ObjectRef, ObjectStore
from services.dubbing import clients
from services.dubbing.features import FeatureSpool
from services.dubbing.plan import plan_segments
from services.dubbing.sound import Pcm, decode_sound
from services.renderer.lips import SegmentBlendshapes, SegmentFeatures
from services.renderer.loading import LoadedAvatar
from services.renderer.segment import Look, render_segment
from synctalk.media.planes import plane

SPEECH = Path(__file__).parents[3] / "samples" / "speech.wav"
SPEECH_S = 8
SEGMENT_FRAMES = 48
TENANT = "acme"  # whose person has consented
VERSION = f"tenants/{TENANT}/avatars/ann/versions/1"
JOBS = JobSettings(
    lease_s=1.5, heartbeat_s=0.1, stop_grace_s=2.5, report_s=0.05, backoff_base_s=0.05,
    backoff_cap_s=0.2, tenant_limit=100, sweep_delay_s=0.0, max_attempts=3,
)  # fmt: skip
During = Callable[["Desk"], Awaitable[None]]
RENDERED = "synctalk_render_frames_total"
WHOLE = Look(SIDE, SIDE)


@dataclass
class Studio:
    """Everything that a dub needs but the worker."""

    suite: Suite
    store: ObjectStore
    bundle: ArtifactRef
    audio: ObjectRef
    sound: Path
    expression: RunningService
    renderers: list[RunningService]
    avatar: LoadedAvatar
    n_jobs: int = 0

    def worker(self, **settings: object) -> RunningService:
        return self.suite.start(
            "services.dubbing",
            EXPRESSION_TARGET=self.expression.target,
            RENDERER_TARGETS=[renderer.target for renderer in self.renderers],
            JOBS=JOBS.model_dump(),
            DUBBING_SEGMENT_FRAMES=str(SEGMENT_FRAMES),
            DUBBING_SEGMENTS_PER_REPLICA="1",
            WORK_DIR=str(self.suite.folder / "work"),
            **settings,
        )

    def renderer(self) -> RunningService:
        return self.suite.start("services.renderer", WORK_DIR=str(self.suite.folder / "work"))

    def request(self, **changed: object) -> DubRequest:
        facts = {"avatar_version": VERSION, "bundle": self.bundle, "audio": self.audio}
        return DubRequest(**{**facts, **changed})  # type: ignore[arg-type]

    def run(self, request: DubRequest, during: During | None = None) -> Job:
        """The job when it has ended; ``during`` works while it runs."""
        self.n_jobs += 1
        return asyncio.run(self._run(f"dub-{self.n_jobs}", request, during))

    async def _run(self, dub: str, request: DubRequest, during: During | None) -> Job:
        async with connect(self.suite.servers.redis_url) as redis:
            queue = JobQueue(redis, DUB_JOBS, JOBS)
            name = dub_prefix(TENANT, dub)
            await queue.enqueue(TENANT, request, job_id=dub, publish_as=name)
            desk = Desk(queue, dub)
            if during is not None:
                await during(desk)
            await desk.wait_for(lambda job: job.state.terminal)
            return await queue.get(dub)

    def rendered_frames(self) -> float:
        total = 0.0
        for renderer in self.renderers:
            with contextlib.suppress(Exception):  # killed
                total += renderer.metric(RENDERED)
        return total


@dataclass(frozen=True)
class Desk:
    """One job, looked at while it runs."""

    queue: JobQueue[DubRequest, DubOutput]
    dub: str

    async def wait_for(self, condition: Callable[[Job], bool], seconds: float = 120) -> Job:
        async with asyncio.timeout(seconds):
            while not condition(job := await self.queue.get(self.dub)):
                await asyncio.sleep(0.02)
            return job

    async def rendering(self) -> None:
        """At least one segment is stored, and others are under way."""
        await self.wait_for(lambda job: bool(job.checkpoint) or job.state.terminal)


def output_of(job: Job) -> DubOutput:
    assert job.state is JobState.SUCCEEDED, job.failure
    assert job.result_json is not None
    return DUB_JOBS.load_result(job.result_json)


def shown(frame: av.VideoFrame) -> list[bytes]:
    """Its samples, without what lies between rows and means nothing."""
    return [plane(frame, i).tobytes() for i in range(len(frame.planes))]


def pictures(path: Path, decoder: str = "h264") -> list[str]:
    with av.open(str(path)) as container:
        context = av.codec.CodecContext.create(decoder, "r")
        context.extradata = container.streams.video[0].codec_context.extradata
        packets = container.demux(video=0)
        return [
            hashlib.sha256(b"".join(shown(frame))).hexdigest()
            for packet in packets
            for frame in context.decode(packet)
        ]


def single_run(
    studio: Studio,
    folder: Path,
    look: Look = WHOLE,
    decoder: str = "h264",
    expression: Expression = "auto",
) -> tuple[list[str], list[int]]:
    """Decoded frames of a run in this process with the same boundaries, and these."""
    sound = decode_sound(studio.sound, folder, 16_000, 100)
    spool = asyncio.run(features_of(studio, sound, folder / "features", expression))
    plan = plan_segments(spool.n_frames, spool.voiced, SEGMENT_FRAMES)
    frames = []
    for segment in plan:
        rows = spool.read(segment)
        lips, faces = (
            [part[:, columns] for part in (rows.rows, rows.before, rows.after)]
            for columns in (slice(0, rows.lip_dim), slice(rows.lip_dim, None))
        )
        blendshapes = SegmentBlendshapes(*faces) if faces[0].size else None
        features = SegmentFeatures(rows.first, *lips, blendshapes)
        path = folder / f"{segment.first}"
        render_segment(studio.avatar, features, look, path, lambda: False)
        frames += pictures(path, decoder)
    spool.close()
    return frames, [segment.first for segment in plan]


async def features_of(
    studio: Studio, sound: Pcm, path: Path, expression: Expression
) -> FeatureSpool:
    return await on(
        studio.expression.target,
        lambda channel: clients.spool_features(channel, TENANT, sound, path, 60, expression),
    )
