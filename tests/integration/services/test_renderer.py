"""RendererService as a process: segments that are the whole run's, leases, limits."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

import av
import cv2
import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from suite import RunningService, Suite, on, wait_until
from tiny import TinySubject

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.local import LocalServers
from services.common.storage import ObjectStore
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import types_pb2
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from services.renderer.cache import Size
from services.renderer.lips import (
    AFTER,
    BEFORE,
    SegmentBlendshapes,
    SegmentFeatures,
    segment_lips,
)
from services.renderer.loading import LoadedAvatar
from services.renderer.segment import (
    Look,
    output_size,
    render_segment,
    segment_cutouts,
    segment_frames,
)
from synctalk import bundle as parts
from synctalk.avatar import Avatar
from synctalk.backdrop import Backdrop, colour
from synctalk.dataset import sha256_file
from synctalk.errors import SyncTalkError
from synctalk.expression import ProsodicExpression, measure_prosody
from synctalk.face_sync import AudioVisualEncoder
from synctalk.face_sync.encoder import WEIGHTS
from synctalk.media import Yuv420, read_audio
from synctalk.media.alpha import BY_CONTAINER
from synctalk.media.planes import plane

SPEECH = Path(__file__).parents[3] / "samples" / "speech.wav"
VERSION = "tenants/acme/avatars/ann/versions/1"
N_FRAMES = 90
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Stage:
    """A renderer with an avatar in the store, and the same avatar in this process."""

    renderer: RunningService
    store: ObjectStore
    bundle: ArtifactRef
    avatar: LoadedAvatar


@pytest.fixture(scope="module")
def stage(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tiny_subject: TinySubject,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("renderer")
    suite = Suite(local_servers, folder)
    bundle = upload_folder(
        object_store, tiny_subject.avatar, "tenants/acme/avatars/ann/bundles/renderer"
    )
    avatar = LoadedAvatar(Avatar.load(tiny_subject.avatar), tiny_subject.avatar, Size(), 0)
    try:
        renderer = suite.start("services.renderer", WORK_DIR=str(folder / "work"))
        yield Stage(renderer, object_store, bundle, avatar)
    finally:
        suite.stop()


@pytest.fixture(scope="module")
def features() -> Features:
    wav = torch.from_numpy(read_audio(SPEECH, 16_000))
    rows: Features = AudioVisualEncoder.pretrained().encode(wav, N_FRAMES).numpy()
    return rows


def part(features: Features, first: int, stop: int) -> SegmentFeatures:
    return SegmentFeatures(
        first,
        features[first:stop],
        features[max(0, first - BEFORE) : first],
        features[stop : stop + AFTER],
    )


def expressive(features: Features, first: int, stop: int) -> SegmentFeatures:
    """The same with blinks and brows, emphatic ones."""
    wav = read_audio(SPEECH, 16_000)
    track = ProsodicExpression("emphatic", 30).generate(measure_prosody(wav, N_FRAMES))
    faces = track[first:stop], track[max(0, first - BEFORE) : first], track[stop : stop + AFTER]
    return replace(part(features, first, stop), blendshapes=SegmentBlendshapes(*faces))


def message(
    rows: Features, first: int, faces: Features | None = None
) -> list[types_pb2.DrivingFeatures]:
    return [
        types_pb2.DrivingFeatures(
            time_code=types_pb2.TimeCode(frame=frame),
            lip_feature=row,
            blendshapes=None if faces is None else faces[frame - first].tolist(),
        )
        for frame, row in enumerate(rows.tolist(), first)
    ]


def request(stage: Stage, segment: SegmentFeatures, name: str) -> pb.RenderSegmentRequest:
    face = segment.blendshapes
    return pb.RenderSegmentRequest(
        avatar_version=VERSION,
        bundle=bundle_message(stage.bundle),
        encoder_version=sha256_file(WEIGHTS),
        features=message(segment.rows, segment.first, face and face.rows),
        context_before=message(
            segment.before, segment.first - len(segment.before), face and face.before
        ),
        context_after=message(
            segment.after, segment.first + len(segment.rows), face and face.after
        ),
        output_key=f"tenants/acme/dubs/test/{name}.ts",
    )


def bundle_message(bundle: ArtifactRef) -> types_pb2.ArtifactRef:
    listing = types_pb2.ObjectRef(
        key=bundle.listing.key,
        size_bytes=bundle.listing.size_bytes,
        sha256=bundle.listing.sha256,
    )
    return types_pb2.ArtifactRef(prefix=bundle.prefix, listing=listing)


def render(stage: Stage, asked: pb.RenderSegmentRequest) -> pb.RenderSegmentResponse:
    async def work(channel: grpc.aio.Channel) -> pb.RenderSegmentResponse:
        return await RendererServiceStub(channel).RenderSegment(asked, timeout=120)

    return asyncio.run(on(stage.renderer.target, work))


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


def corners_and_face(planes: list[NDArray[np.uint8]]) -> list[tuple[int, int, int]]:
    """Of each plane: its upper corners and the middle of the face."""
    return [(int(p[3, 3]), int(p[3, -4]), int(p[len(p) * 2 // 5, len(p[0]) // 2])) for p in planes]


def test_a_colour_or_an_image_stands_behind_the_person(
    stage: Stage, features: Features, tmp_path: Path
) -> None:
    green = request(stage, part(features, 0, 4), "green")
    green.video_options.background.colour.green = 200
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, 80:] = (0, 0, 255)  # red to the right
    stored = stage.store.put_bytes(
        "tenants/acme/uploads/picture", cv2.imencode(".png", picture)[1].tobytes()
    )
    halves = request(stage, part(features, 0, 4), "halves")
    image = halves.video_options.background.image
    image.key, image.size_bytes, image.sha256 = stored.key, stored.size_bytes, stored.sha256
    plain = request(stage, part(features, 0, 4), "plain")
    shown = []
    for asked in (green, halves, plain):
        path = tmp_path / "segment.ts"
        done = render(stage, asked)
        path.write_bytes(stage.store.get_bytes(stage.store.reference(done.segment.key)))
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        shown.append(frame.to_ndarray(format="rgb24", src_colorspace="ITU709").astype(int))
    for picture, left, right in (
        (shown[0], (0, 200, 0), (0, 200, 0)),
        (shown[1], (0, 0, 0), (255, 0, 0)),
    ):
        assert np.abs(picture[3, 3] - left).max() < 12
        assert np.abs(picture[3, -4] - right).max() < 12
        chest = slice(420, 500), slice(200, 300)
        assert np.abs(picture[chest] - shown[2][chest]).mean() < 2  # the person is the same


@pytest.mark.parametrize("container", ["webm", "mov"])
def test_a_transparent_segment_is_the_file_that_the_library_writes(
    stage: Stage, features: Features, tmp_path: Path, container: str
) -> None:
    alpha, segment = BY_CONTAINER[container], part(features, 4, 12)
    asked = request(stage, segment, container)
    asked.output_key = f"tenants/acme/dubs/test/clear.{container}"
    asked.video_options.background.transparent.SetInParent()
    asked.video_options.codec = (
        pb.VIDEO_CODEC_VP9_ALPHA if container == "webm" else pb.VIDEO_CODEC_PRORES_4444
    )
    asked.video_options.height_px = 256
    done = render(stage, asked)
    own = tmp_path / f"own.{container}"
    look = Look(256, 256, Backdrop(stage.avatar.avatar.bundle, None), alpha)
    render_segment(stage.avatar, segment, look, own, lambda: False)
    assert done.segment.sha256 == sha256_file(own)
    with av.open(str(own)) as opened:
        decoder = av.codec.CodecContext.create(alpha.decoder, "r")
        frames = [frame for packet in opened.demux(video=0) for frame in decoder.decode(packet)]
    assert [(frame.width, frame.height) for frame in frames] == [(256, 256)] * 8
    (matte,) = corners_and_face([plane(frames[0].reformat(format="yuva420p"), 3)])
    assert max(matte[:2]) < 8
    assert matte[2] > 240  # so few steps leave the splats not quite opaque


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
    assert (cold.width_px, cold.height_px) == (512, 512)
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


def misaligned(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 4, 12), "bad")
    del asked.context_before[0]
    for number, frame in enumerate((*asked.context_before, *asked.features, *asked.context_after)):
        frame.time_code.frame = number + 2
    return asked


def without_context(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 8, 16), "bad")
    del asked.context_before[:]
    return asked


def with_gap(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 16), "bad")
    del asked.features[7]
    return asked


def elsewhere(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.output_key = "tenants/acme-2/dubs/test/segment.ts"
    return asked


def of_another_encoder(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.encoder_version = "0" * 64
    return asked


def before_nothing(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.video_options.background.transparent.SetInParent()
    return asked


def with_alpha(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.video_options.codec = pb.VIDEO_CODEC_PRORES_4444
    return asked


def too_green(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.video_options.background.colour.green = 256
    return asked


def before_somebody_elses_image(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.video_options.background.image.key = "tenants/other/uploads/image"
    return asked


def before_a_sound(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    stored = stage.store.put_bytes("tenants/acme/uploads/sound", SPEECH.read_bytes()[:5000])
    image = asked.video_options.background.image
    image.key, image.size_bytes, image.sha256 = stored.key, stored.size_bytes, stored.sha256
    return asked


def of_an_avatar_without_mattes(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.video_options.background.colour.green = 200
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        shutil.copytree(stage.avatar.folder, older)
        for name in parts.MATTE_PARTS:
            (older / name).unlink()
        manifest = json.loads((older / parts.MANIFEST).read_text())
        manifest["files"] = {k: v for k, v in manifest["files"].items() if k in parts.PARTS}
        (older / parts.MANIFEST).write_text(json.dumps(manifest))
        bundle = upload_folder(stage.store, older, "tenants/acme/avatars/ann/bundles/older")
    asked.bundle.CopyFrom(bundle_message(bundle))
    return asked


def without_expression(stage: Stage) -> ArtifactRef:
    """The avatar as it would have been before there were expressions."""
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        shutil.copytree(stage.avatar.folder, older)
        tensors = load_file(older / parts.WEIGHTS)
        kept = {name: t for name, t in tensors.items() if not name.startswith("expression.")}
        save_file(kept, older / parts.WEIGHTS)
        manifest = json.loads((older / parts.MANIFEST).read_text())
        manifest["files"][parts.WEIGHTS] = sha256_file(older / parts.WEIGHTS)
        (older / parts.MANIFEST).write_text(json.dumps(manifest))
        return upload_folder(stage.store, older, "tenants/acme/avatars/ann/bundles/faceless")


def of_an_avatar_without_expression(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, expressive(features, 0, 8), "bad")
    asked.bundle.CopyFrom(bundle_message(without_expression(stage)))
    asked.blendshapes_required = True
    return asked


def with_blendshapes_now_and_then(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, expressive(features, 8, 16), "bad")
    for frame in asked.context_before:
        frame.ClearField("blendshapes")
    return asked


def with_seven_blendshapes(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, expressive(features, 8, 16), "bad")
    for frame in (*asked.context_before, *asked.features, *asked.context_after):
        del frame.blendshapes[7:]
    return asked


def stretched(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.video_options.CopyFrom(pb.VideoOptions(width_px=640, height_px=360))
    return asked


def of_a_lost_bundle(stage: Stage, features: Features) -> pb.RenderSegmentRequest:
    asked = request(stage, part(features, 0, 8), "bad")
    asked.bundle.prefix = "tenants/acme/avatars/ann/bundles/none"
    asked.bundle.listing.key = asked.bundle.prefix + "/_listing.json"
    return asked


Make = Callable[[Stage, Features], pb.RenderSegmentRequest]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (misaligned, "SEGMENT_NOT_ALIGNED"),
        (without_context, "CONTEXT_MISSING"),
        (with_gap, "FEATURE_ORDER"),
        (elsewhere, "NOT_FOUND"),
        (of_another_encoder, "ENCODER_MISMATCH"),
        (before_nothing, "VIDEO_FORMAT"),
        (with_alpha, "VIDEO_FORMAT"),
        (too_green, "BAD_COLOUR"),
        (before_somebody_elses_image, "NOT_FOUND"),
        (before_a_sound, "NOT_A_PICTURE"),
        (of_an_avatar_without_mattes, "AVATAR_WITHOUT_MATTE"),
        (of_an_avatar_without_expression, "AVATAR_WITHOUT_EXPRESSION"),
        (with_blendshapes_now_and_then, "BLENDSHAPES"),
        (with_seven_blendshapes, "BLENDSHAPES"),
        (stretched, "VIDEO_SHAPE"),
        (of_a_lost_bundle, "OBJECT_NOT_FOUND"),
    ],
)
def test_what_cannot_be_rendered_is_refused_with_a_reason(
    stage: Stage, features: Features, make: Make, reason: str
) -> None:
    with pytest.raises(SyncTalkError) as caught:
        render(stage, make(stage, features))
    assert caught.value.reason == reason
    assert not stage.store.exists("tenants/acme/dubs/test/bad.ts")
