"""RenderSegment refuses what it cannot render, and says why."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from segment_requests import (
    SPEECH,
    Features,
    Stage,
    bundle_message,
    expressive,
    part,
    render,
    request,
    without_expression,
)

from services.common.artifacts import upload_folder
from services.gen.avatar.v1 import renderer_pb2 as pb
from synctalk import bundle as parts
from synctalk.errors import SyncTalkError


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
