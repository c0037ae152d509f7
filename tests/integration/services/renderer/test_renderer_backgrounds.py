"""Segments before a colour, an image or nothing."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from segment_requests import (
    Features,
    Stage,
    part,
    render,
    request,
)

from services.gen.avatar.v1 import renderer_pb2 as pb
from services.renderer.segment import (
    Look,
    render_segment,
)
from synctalk.backdrop import Backdrop
from synctalk.dataset import sha256_file
from synctalk.media.alpha import BY_CONTAINER
from synctalk.media.planes import plane


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
        chest = slice(210, 250), slice(100, 150)
        assert np.abs(picture[chest] - shown[2][chest]).mean() < 3  # the person is the same


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
    assert matte[2] > 200  # so few steps leave the splats not quite opaque
