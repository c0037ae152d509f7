"""RendererService as a process: segments that are the whole run's, leases, limits."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path

import av
import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from segment_requests import (
    N_FRAMES,
    VERSION,
    Features,
    Stage,
    bundle_message,
    expressive,
    part,
    render,
    request,
    without_expression,
)
from suite import on, wait_until
from tiny import SIDE, TinySubject

from services.common.artifacts import upload_folder
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from services.renderer.lips import (
    SegmentFeatures,
    segment_lips,
)
from services.renderer.segment import (
    Look,
    output_size,
    render_segment,
    segment_cutouts,
    segment_frames,
)
from synctalk.backdrop import Backdrop, colour
from synctalk.dataset import sha256_file
from synctalk.media import Yuv420


def digest(frames: Iterator[Yuv420] | Iterator[tuple[NDArray[np.uint8], ...]]) -> list[str]:
    return [hashlib.sha256(b"".join(p.tobytes() for p in frame)).hexdigest() for frame in frames]


def test_frames_of_segments_are_bit_by_bit_those_of_a_whole_run(
    stage: Stage, features: Features
) -> None:
    whole = digest(segment_frames(stage.avatar, part(features, 0, N_FRAMES)))
    edges = [0, 4, 40, 88, N_FRAMES]
    segments = [part(features, a, b) for a, b in pairwise(edges)]
    joined = chain.from_iterable(segment_frames(stage.avatar, each) for each in segments)
    assert digest(joined) == whole
    assert len(set(whole)) > N_FRAMES // 2  # it moves


def test_so_they_are_with_an_expression_by_the_voice(stage: Stage, features: Features) -> None:
    whole = digest(segment_frames(stage.avatar, expressive(features, 0, N_FRAMES)))
    segments = [expressive(features, a, b) for a, b in pairwise([0, 8, 44, N_FRAMES])]
    joined = chain.from_iterable(segment_frames(stage.avatar, each) for each in segments)
    assert digest(joined) == whole
    own = digest(segment_frames(stage.avatar, part(features, 0, N_FRAMES)))
    assert sum(a != b for a, b in zip(whole, own, strict=True)) > N_FRAMES // 2


def test_an_avatar_that_cannot_follow_keeps_its_expression(
    stage: Stage, features: Features
) -> None:
    shown = []
    for name, segment in (
        ("kept", expressive(features, 0, 12)),
        ("own", part(features, 0, 12)),
    ):
        asked = request(stage, segment, name)
        asked.bundle.CopyFrom(bundle_message(without_expression(stage)))
        shown.append(render(stage, asked).segment.sha256)
    assert shown[0] == shown[1]


@pytest.mark.parametrize("behind", ["colour", "nothing"])
def test_so_they_are_before_another_background(
    stage: Stage, features: Features, behind: str
) -> None:
    avatar, bundle = stage.avatar, stage.avatar.avatar.bundle

    def run(segment: SegmentFeatures) -> Iterator[tuple[NDArray[np.uint8], ...]]:
        if behind == "colour":
            return segment_frames(avatar, segment, Backdrop(bundle, colour("#00c800")))
        cuts = segment_cutouts(avatar, segment, Backdrop(bundle, None))
        return ((*cut.picture, cut.matte) for cut in cuts)

    whole = digest(run(part(features, 0, 24)))
    joined = chain(run(part(features, 0, 8)), run(part(features, 8, 24)))
    assert digest(joined) == whole
    assert len(set(whole)) == 24


def test_lips_are_the_librarys(stage: Stage, features: Features) -> None:
    avatar = stage.avatar.avatar
    lips = np.concatenate(
        [segment_lips(avatar, part(features, a, b)) for a, b in ((0, 48), (48, 90))]
    )
    np.testing.assert_allclose(lips, avatar.lips_from_audio(features), atol=1e-5)


def test_a_segment_over_the_wire_is_the_file_that_the_library_writes(
    stage: Stage, features: Features, tmp_path: Path
) -> None:
    segment = expressive(features, 40, 64)
    first = render(stage, request(stage, segment, "first"))
    again = render(stage, request(stage, segment, "again"))
    own = tmp_path / "own.ts"
    size = output_size(stage.avatar.avatar.manifest, 0, 0)
    render_segment(stage.avatar, segment, Look(*size), own, lambda: False)
    assert first.frame_count == 24
    assert first.segment.sha256 == again.segment.sha256 == sha256_file(own)
    assert first.render_time.ToNanoseconds() > first.encode_time.ToNanoseconds() > 0
    assert stage.renderer.metric("synctalk_render_frames_total") >= 48


def test_a_segment_begins_with_a_key_frame_and_may_be_smaller(
    stage: Stage, features: Features, tmp_path: Path
) -> None:
    asked = request(stage, part(features, 0, 12), "small")
    asked.video_options.CopyFrom(pb.VideoOptions(codec=pb.VIDEO_CODEC_H264, height_px=256))
    done = render(stage, asked)
    path = tmp_path / "small.ts"
    path.write_bytes(stage.store.get_bytes(stage.store.reference(done.segment.key)))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(256, 256)] * 12
    assert frames[0].key_frame


def test_warming_loads_and_asking_does_not(stage: Stage, tiny_subject: TinySubject) -> None:
    other = upload_folder(
        stage.store, tiny_subject.avatar, "tenants/acme/avatars/ann/bundles/to-be-warmed"
    )

    async def work(channel: grpc.aio.Channel) -> list[pb.Avatar]:
        stub = RendererServiceStub(channel)
        facts = {"avatar_version": VERSION, "bundle": bundle_message(other)}
        asked = await stub.GetAvatar(pb.GetAvatarRequest(**facts), timeout=60)
        warmed = await stub.WarmAvatar(pb.WarmAvatarRequest(**facts), timeout=60)
        again = await stub.GetAvatar(pb.GetAvatarRequest(**facts), timeout=60)
        return [asked.avatar, warmed.avatar, again.avatar]

    cold, warmed, again = asyncio.run(on(stage.renderer.target, work))
    assert [avatar.cached for avatar in (cold, warmed, again)] == [False, True, True]
    assert (cold.width_px, cold.height_px) == (SIDE, SIDE)
    assert again.memory_bytes > 0
    assert again.gaussian_count > 1000
    assert stage.renderer.metric("synctalk_avatar_cache_bytes", where="memory") > 0


def test_a_caller_who_goes_away_stops_the_rendering(stage: Stage, features: Features) -> None:
    asked = request(stage, part(features, 0, N_FRAMES), "abandoned")
    rendered = "synctalk_render_frames_total"
    in_flight = ("grpc_server_in_flight", "RenderSegment")

    async def work(channel: grpc.aio.Channel) -> None:
        call = RendererServiceStub(channel).RenderSegment(asked, timeout=120)
        busy = asyncio.ensure_future(call)
        await wait_until(lambda: stage.renderer.metric(in_flight[0], grpc_method=in_flight[1]) > 0)
        busy.cancel()
        await wait_until(lambda: stage.renderer.metric(in_flight[0], grpc_method=in_flight[1]) == 0)

    before = stage.renderer.metric(rendered)
    asyncio.run(on(stage.renderer.target, work))
    assert not stage.store.exists(asked.output_key)
    assert stage.renderer.metric(rendered) == before
    assert render(stage, request(stage, part(features, 0, 4), "after")).frame_count == 4
