"""Segments and live video carry the mark that they are given, at whatever size."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from services.renderer.encoding import SegmentEncoder
from services.renderer.live_encoding import LiveEncoder
from synctalk.media import VideoReader, Yuv420
from synctalk.media.alpha import PRORES_4444, VP9_ALPHA, AlphaCodec
from synctalk.provenance import Provenance, Stamp
from synctalk.provenance.detection import detect, flatten
from synctalk.render.compositing import Cutout

OURS = Provenance(key=b"the key of these tests")
MARK, SIDE = 0x5EA1, 450


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[Yuv420]:
    return list(VideoReader(shared_data / "video/speech_20s_450.mp4").iter_yuv(0, 8))


def found(lumas: list[np.ndarray]) -> int | None:
    detection = detect(np.mean([flatten(each) for each in lumas], 0, dtype=np.float32), OURS.key)
    return detection.mark_id if detection else None


def test_a_segment_is_marked_at_its_own_size_and_its_source_is_not(
    frames: list[Yuv420], tmp_path: Path
) -> None:
    before = frames[0].y.copy()
    path = tmp_path / "segment.ts"
    stamp = Stamp(OURS, MARK, 320, 320, label=False)
    with SegmentEncoder(path, 320, 320, 25, stamp=stamp) as encoder:
        for frame in frames:
            encoder.write(frame)
    assert found([each.y for each in VideoReader(path).iter_yuv()]) == MARK
    np.testing.assert_array_equal(frames[0].y, before)


@pytest.mark.parametrize("codec", [VP9_ALPHA, PRORES_4444], ids=["webm", "mov"])
def test_what_is_seen_of_a_cutout_is_marked(
    frames: list[Yuv420], tmp_path: Path, codec: AlphaCodec
) -> None:
    path = tmp_path / f"segment.{codec.container}"
    matte = np.zeros((SIDE, SIDE), np.uint8)
    matte[30:, 60:400] = 255
    stamp = Stamp(OURS, MARK, SIDE, SIDE, label=False)
    with SegmentEncoder(path, SIDE, SIDE, 25, codec, stamp) as encoder:
        for frame in frames:
            picture = Yuv420(*(plane.copy() for plane in frame))
            encoder.write_cutout(Cutout(picture, matte))
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert found(shown) == MARK


def test_live_video_is_marked_and_labelled(frames: list[Yuv420]) -> None:
    stamp = Stamp(OURS, MARK, 320, 320, label=True)
    encoders = LiveEncoder(320, 320, 25, stamp), LiveEncoder(320, 320, 25)
    decoders = [av.CodecContext.create("h264", "r") for _ in encoders]
    shown: list[list[np.ndarray]] = [[], []]
    for frame in frames:
        for out, encoder, decoder in zip(shown, encoders, decoders, strict=True):
            packet = av.Packet(encoder.encode(frame).data)
            out += [each.to_ndarray(format="gray") for each in decoder.decode(packet)]
    for out, decoder in zip(shown, decoders, strict=True):
        out += [each.to_ndarray(format="gray") for each in decoder.decode(None)]
    marked, plain = shown
    assert found(marked) == MARK
    assert found(plain) is None
    corner = slice(-14, None), slice(0, 80)
    assert marked[0][corner].max() > 190  # the letters of the label
    difference = np.abs(marked[0].astype(int) - plain[0])
    assert difference[:200].mean() < 3
