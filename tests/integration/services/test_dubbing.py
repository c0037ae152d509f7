"""Dubs through real processes: seams, lost renderers and workers, cancelling, refusals."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from collector import collecting
from dubbing_studio import (
    RENDERED,
    SEGMENT_FRAMES,
    SPEECH,
    SPEECH_S,
    TENANT,
    Desk,
    Studio,
    output_of,
    pictures,
    single_run,
)
from openssl_ca import SIGNER, make_signer
from suite import RunningService, Suite, wait_until
from tiny import TinySubject

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.dubs import dub_prefix
from services.common.jobs import Job, JobState
from services.common.local import LocalServers
from services.common.origin import Origin, working_for
from services.common.storage import ObjectStore
from services.renderer.cache import Size
from services.renderer.loading import LoadedAvatar
from services.renderer.segment import Look
from synctalk import bundle as parts
from synctalk.avatar import Avatar
from synctalk.backdrop import Backdrop
from synctalk.media import read_audio, write_wav
from synctalk.media.alpha import VP9_ALPHA
from synctalk.provenance import Provenance, verify


@pytest.fixture(scope="module")
def studio(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tiny_subject: TinySubject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("studio")
    sound = folder / "speech.wav"
    write_wav(sound, read_audio(SPEECH, 16_000)[: SPEECH_S * 16_000])
    suite = Suite(local_servers, folder)
    try:
        studio = Studio(
            suite,
            object_store,
            upload_folder(object_store, tiny_subject.avatar, f"tenants/{TENANT}/avatars/ann/v1"),
            object_store.put_file(f"tenants/{TENANT}/uploads/speech.wav", sound),
            sound,
            suite.start("services.expression"),
            [],
            LoadedAvatar(Avatar.load(tiny_subject.avatar), tiny_subject.avatar, Size(), 0),
        )
        studio.renderers += [studio.renderer(), studio.renderer()]
        yield studio
    finally:
        suite.stop()


@pytest.fixture
def worker(studio: Studio) -> Iterator[RunningService]:
    worker = studio.worker()
    yield worker
    worker.process.terminate()
    worker.process.wait(20)


def test_a_dub_joins_its_segments_without_a_seam(
    studio: Studio, worker: RunningService, tmp_path: Path
) -> None:
    stages: set[str] = set()

    async def watch(desk: Desk) -> None:
        def seen(job: Job) -> bool:
            stages.add(job.progress.stage)
            return job.state.terminal

        await desk.wait_for(seen)

    job = studio.run(studio.request(text="One two three. Four five six."), watch)
    output = output_of(job)
    assert output.video.key.startswith(f"tenants/{TENANT}/dubs/{job.id}/attempts/1/")
    assert "render" in stages
    assert studio.store.get_bytes(output.preview)[:2] == b"\xff\xd8"
    assert output.captions_vtt is not None
    assert b"One two three." in studio.store.get_bytes(output.captions_vtt)

    video = tmp_path / "video.mp4"
    studio.store.get_file(output.video, video)
    expected, boundaries = single_run(studio, tmp_path)
    assert len(boundaries) >= 3
    assert pictures(video) == expected
    assert output.frame_count == len(expected) == SPEECH_S * 25
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        shown = sorted(packet.pts * packet.time_base for packet in packets)
        keys = {packet.pts * packet.time_base * 25 for packet in packets if packet.is_keyframe}
    assert shown == [Fraction(frame, 25) for frame in range(len(expected))]
    assert set(boundaries) <= keys
    heard, spoken = read_audio(video, 16_000), read_audio(studio.sound, 16_000)
    n = min(len(heard), len(spoken))
    assert abs(len(heard) - len(spoken)) < 1600
    assert np.corrcoef(heard[:n], spoken[:n])[0, 1] > 0.95

    prefix = f"{dub_prefix(TENANT, job.id)}/attempts"  # and nothing else is kept
    kept = {output.video.key, output.preview.key, output.captions_vtt.key}
    kept |= {key.replace(".vtt", ".srt") for key in kept if key.endswith(".vtt")}
    asyncio.run(wait_until(lambda: {item.key for item in studio.store.list(prefix)} == kept))


def test_a_dub_stays_in_the_trace_and_under_the_id_of_what_asked_for_it(studio: Studio) -> None:
    trace_id = "3c" * 16
    with collecting() as collector:
        worker = studio.worker(OTLP_ENDPOINT=collector.endpoint)
        with working_for(Origin("who-asked", f"00-{trace_id}-{'4d' * 8}-01")):
            output_of(studio.run(studio.request(height_px=128)))
        worker.process.terminate()
        worker.process.wait(20)
    calls = {"/avatar.v1.ExpressionService/Generate", "/avatar.v1.RendererService/RenderSegment"}
    assert collector.names(trace_id) >= {"dubbing job", *calls}
    lines = [json.loads(line) for line in worker.log().splitlines() if line[:1] == "{"]
    ids = {line["event"]: line.get("request_id") for line in lines}
    assert (ids["job leased"], ids["job ended"]) == ("who-asked", "who-asked")


def test_a_transparent_dub_is_webm_with_alpha_and_without_a_seam(
    studio: Studio, worker: RunningService, tmp_path: Path
) -> None:
    job = studio.run(studio.request(background="transparent", video_format="webm", height_px=128))
    output = output_of(job)
    assert output.video.key.endswith("/video.webm")
    video = tmp_path / "video.webm"
    studio.store.get_file(output.video, video)
    look = Look(128, 128, Backdrop(studio.avatar.avatar.bundle, None), VP9_ALPHA)
    expected, boundaries = single_run(studio, tmp_path, look, VP9_ALPHA.decoder)
    assert len(boundaries) >= 3
    assert pictures(video, VP9_ALPHA.decoder) == expected
    heard, spoken = read_audio(video, 16_000), read_audio(studio.sound, 16_000)
    n = min(len(heard), len(spoken))
    assert abs(len(heard) - len(spoken)) < 1600
    assert np.corrcoef(heard[:n], spoken[:n])[0, 1] > 0.9
    preview = cv2.imdecode(np.frombuffer(studio.store.get_bytes(output.preview), np.uint8), 1)
    assert np.abs(preview[3, 3].astype(int) - 192).max() < 12


def test_brows_and_lids_do_what_was_asked_for(
    studio: Studio, worker: RunningService, tmp_path: Path
) -> None:
    shown = []
    for expression in ("source", "emphatic"):
        output = output_of(studio.run(studio.request(expression=expression, height_px=128)))
        folder = tmp_path / expression
        folder.mkdir()
        studio.store.get_file(output.video, folder / "video.mp4")
        expected, _ = single_run(studio, folder, Look(128, 128), expression=expression)
        shown.append(pictures(folder / "video.mp4"))
        assert shown[-1] == expected
    assert sum(a != b for a, b in zip(*shown, strict=True)) > len(shown[0]) / 2


def test_a_renderer_killed_amid_segments_costs_only_a_retry(
    studio: Studio, worker: RunningService
) -> None:
    victim = studio.renderer()
    studio.renderers[0].kill()
    studio.renderers[0] = victim
    doomed = studio.worker()  # knows the victim
    worker.process.terminate()
    worker.process.wait(20)

    async def kill(desk: Desk) -> None:
        flying = "grpc_server_in_flight"
        await wait_until(lambda: victim.metric(flying, grpc_method="RenderSegment") > 0)
        victim.kill()

    job = studio.run(studio.request(), kill)
    output_of(job)
    assert job.attempt == 1  # the job itself was not disturbed
    assert "segment failed" in doomed.log()
    doomed.process.terminate()
    doomed.process.wait(20)
    studio.renderers[0] = studio.renderer()


def test_a_killed_worker_is_followed_by_one_that_goes_on(studio: Studio) -> None:
    first = studio.worker()
    before = studio.rendered_frames()

    async def kill(desk: Desk) -> None:
        await desk.rendering()
        first.kill()
        studio.worker()

    job = studio.run(studio.request(), kill)
    output = output_of(job)
    assert job.attempt == 2
    # Segments that were stored were not rendered again; those under way were.
    again = studio.rendered_frames() - before - output.frame_count
    assert again < output.frame_count - SEGMENT_FRAMES / 3
    studio.suite.running[-1].process.terminate()
    studio.suite.running[-1].process.wait(20)


def test_a_dub_waits_for_a_signer_that_is_away(studio: Studio, tmp_path: Path) -> None:
    made, away = make_signer(tmp_path / "ca"), tmp_path / "away"
    script = f"[ -e {away} ] && echo throttled >&2 && exit 1; exec " + " ".join(made.command)
    worker = studio.worker(
        PROVENANCE__CHAIN=str(made.chain),
        PROVENANCE__SIGN_COMMAND=["sh", "-c", script],
    )
    away.touch()

    async def come_back(desk: Desk) -> None:
        await wait_until(lambda: "throttled" in worker.log())
        assert (await desk.queue.get(desk.dub)).state is JobState.RUNNING
        away.unlink()

    job = studio.run(studio.request(), come_back)
    path = tmp_path / "video.mp4"
    studio.store.get_file(output_of(job).video, path)
    assert job.attempt == 1
    found = verify(path, Provenance(trusted=made.root, watermark=False, folder=tmp_path / "none"))
    assert (found.signature, found.signer) == ("trusted", f"{SIGNER}: Signer")
    assert "the signer signs" in worker.log()  # asked at its start
    worker.process.terminate()
    worker.process.wait(20)


def test_cancelling_stops_the_renderers_too(studio: Studio, worker: RunningService) -> None:
    async def cancel(desk: Desk) -> None:
        await desk.rendering()
        await desk.queue.cancel(desk.dub)

    job = studio.run(studio.request(), cancel)
    assert job.state is JobState.CANCELLED

    def idle() -> bool:
        flying = "grpc_server_in_flight"
        return all(r.metric(flying, grpc_method="RenderSegment") == 0 for r in studio.renderers)

    asyncio.run(wait_until(idle))
    prefix = f"{dub_prefix(TENANT, job.id)}/attempts"
    asyncio.run(wait_until(lambda: not studio.store.list(prefix)))


@pytest.fixture
def newer_bundle(studio: Studio, tmp_path: Path) -> ArtifactRef:
    """The same avatar as the next release will write it."""
    folder = tmp_path / "newer"
    shutil.copytree(studio.avatar.folder, folder)
    manifest = folder / parts.MANIFEST
    facts = json.loads(manifest.read_text()) | {"schema_version": parts.SCHEMA_VERSION + 1}
    manifest.write_text(json.dumps(facts))
    return upload_folder(studio.store, folder, f"tenants/{TENANT}/avatars/ann/v2")


def test_dubs_go_on_while_renderers_of_two_releases_stand_side_by_side(
    studio: Studio, newer_bundle: ArtifactRef
) -> None:
    old, other = studio.renderers
    newer = studio.suite.start(
        "tests.integration.services.newer_renderer",
        WORK_DIR=str(studio.suite.folder / "work"),
    )
    studio.renderers[:] = [old, newer]  # amid the upgrade: one of them is new
    worker = studio.worker()
    shares = [each.metric(RENDERED) for each in (old, newer)]

    async def replaced(desk: Desk) -> None:
        await wait_until(lambda: old.metric(RENDERED) > shares[0])
        old.process.terminate()  # as Kubernetes does when the next new one is ready

    try:
        # What only the new one can read goes there, whomever the worker asks first.
        output = output_of(job := studio.run(studio.request(bundle=newer_bundle)))
        assert job.attempt == 1
        assert old.metric(RENDERED) == shares[0]
        assert newer.metric(RENDERED) == shares[1] + output.frame_count
        assert "BUNDLE_NEWER" in worker.log()
        # What both can read is rendered by both, also when the old one leaves amid it.
        job = studio.run(studio.request(), replaced)
        output_of(job)
        assert job.attempt == 1
        assert newer.metric(RENDERED) > shares[1] + output.frame_count
        assert old.process.wait(60) == 0
    finally:
        worker.process.terminate()
        worker.process.wait(20)
        newer.kill()
        studio.renderers[:] = [studio.renderer(), other]


def test_what_cannot_be_dubbed_fails_once_with_a_reason(
    studio: Studio, worker: RunningService
) -> None:
    noise = studio.store.put_bytes(f"tenants/{TENANT}/uploads/noise.wav", b"no sound" * 100)
    foreign = ArtifactRef("tenants/other/avatars/ann/v1", studio.bundle.listing)
    refused = {
        "NOT_MEDIA": studio.request(audio=noise),
        "VIDEO_FORMAT": studio.request(background="transparent"),
        "BAD_COLOUR": studio.request(background="colour", background_colour="green"),
        "BACKGROUND_IMAGE": studio.request(background="image"),
        "NOT_A_PICTURE": studio.request(background="image", background_image=noise),
        "NOT_FOUND": studio.request(bundle=foreign),
        "VIDEO_SHAPE": studio.request(width_px=640, height_px=100),
    }
    for reason, request in refused.items():
        job = studio.run(request)
        assert job.state is JobState.FAILED
        assert job.failure is not None
        assert (job.failure.reason, job.attempt) == (reason, 1)
        assert job.failure.remedy
