"""Segments of every format joined: the same frames, the sound beside them, one alpha channel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from services.common.dubs import VideoFormat
from services.common.errors import CorruptData
from services.dubbing.join import FORMS, Joiner
from services.dubbing.preview import first_picture
from services.dubbing.sound import Pcm
from services.renderer.encoding import SegmentEncoder
from synctalk.media import read_audio, write_wav
from synctalk.media.alpha import BY_CONTAINER
from synctalk.media.planes import Yuv420, plane
from synctalk.render.compositing import Cutout

WIDTH, HEIGHT, FPS = 96, 64, 25
SOUND = {"mp4": "aac", "webm": "opus", "mov": "pcm_s16le"}
Frame = tuple[bytes, ...]


def cutout(number: int) -> Cutout:
    """A moving ramp and a matte whose edge moves too."""
    x = np.arange(WIDTH)
    luma = np.broadcast_to(60 + (3 * x + 5 * number) % 128, (HEIGHT, WIDTH)).astype(np.uint8)
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 120, np.uint8)
    matte = np.where(x < 40 + number, 255, 0).astype(np.uint8)
    return Cutout(
        Yuv420(luma.copy(), chroma, chroma), np.broadcast_to(matte, (HEIGHT, WIDTH)).copy()
    )


def segment(path: Path, kind: VideoFormat, first: int, count: int, width: int = WIDTH) -> Path:
    alpha = BY_CONTAINER.get(kind)
    with SegmentEncoder(path, width, HEIGHT, FPS, alpha) as encoder:
        for number in range(first, first + count):
            cut = cutout(number)
            encoder.write_cutout(cut) if alpha else encoder.write(cut.picture)
    return path


def frames(path: Path, kind: VideoFormat) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = av.codec.CodecContext.create(FORMS[kind].decoder or "h264", "r")
        decoder.extradata = stream.codec_context.extradata
        for packet in container.demux(stream):
            yield from decoder.decode(packet)


def content(path: Path, kind: VideoFormat) -> list[Frame]:
    """Of each frame its samples, 8 or 16 bits, without what lies between rows."""
    return [
        tuple(
            np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : used(frame, p)].tobytes()
            for p in frame.planes
        )
        for frame in frames(path, kind)
    ]


def used(frame: av.VideoFrame, of: av.video.plane.VideoPlane) -> int:
    return int(of.width * (1 if frame.format.components[0].bits == 8 else 2))


@pytest.fixture
def sound(tmp_path: Path) -> Pcm:
    wave = 0.3 * np.sin(np.arange(48_000 * 2) * 2 * np.pi * 440 / 48_000)
    write_wav(tmp_path / "sound.wav", wave.astype(np.float32), 48_000)
    return Pcm(tmp_path / "sound.wav", 48_000, 96_000)


@pytest.mark.parametrize("kind", ["mp4", "webm", "mov"])
def test_joined_segments_are_their_frames_in_order_with_sound(
    tmp_path: Path, sound: Pcm, kind: VideoFormat
) -> None:
    form = FORMS[kind]
    parts = [
        segment(tmp_path / f"{first}", kind, first, count)
        for first, count in ((0, 20), (20, 4), (24, 26))
    ]
    out = tmp_path / f"video.{kind}"
    with Joiner(out, FPS, sound, form) as joiner:
        for part, count in zip(parts, (20, 4, 26), strict=True):
            joiner.add(part, count)
    assert content(out, kind) == [frame for part in parts for frame in content(part, kind)]
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == SOUND[kind]
        shown = [p.pts * p.time_base for p in container.demux(video=0) if p.size]
        assert sorted(round(25 * at) for at in shown) == list(range(50))
    heard = read_audio(out, 16_000)
    assert abs(len(heard) / 16_000 - 2) < 0.1
    assert heard[8000:24_000].std() > 0.15


@pytest.mark.parametrize("kind", ["webm", "mov"])
def test_alpha_survives_encoding_and_joining(tmp_path: Path, sound: Pcm, kind: VideoFormat) -> None:
    out = tmp_path / f"video.{kind}"
    with Joiner(out, FPS, sound, FORMS[kind]) as joiner:
        joiner.add(segment(tmp_path / "one", kind, 0, 30), 30)
    if kind == "webm":
        with av.open(str(out)) as container:
            tags = {k.lower(): v for k, v in container.streams.video[0].metadata.items()}
            assert tags["alpha_mode"] == "1"
    for number, frame in enumerate(frames(out, kind)):
        alpha = plane(frame.reformat(format="yuva420p"), 3)
        wanted = cutout(number).matte
        assert np.abs(alpha.astype(int) - wanted).mean() < 4
        assert alpha[:, : 36 + number].min() > 240
        assert alpha[:, 44 + number :].max() < 12


@pytest.mark.parametrize("kind", ["mp4", "webm", "mov"])
def test_the_same_frames_make_the_same_bytes(tmp_path: Path, kind: VideoFormat) -> None:
    one, two = (segment(tmp_path / name, kind, 8, 12) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", ["mp4", "webm", "mov"])
def test_a_segment_of_another_length_is_refused(
    tmp_path: Path, sound: Pcm, kind: VideoFormat
) -> None:
    joiner = Joiner(tmp_path / f"video.{kind}", FPS, sound, FORMS[kind])
    with pytest.raises(CorruptData) as caught, joiner:
        joiner.add(segment(tmp_path / "one", kind, 0, 8), 9)
    assert caught.value.reason == "SEGMENT_MISMATCH"


@pytest.mark.parametrize("kind", ["mp4", "webm", "mov"])
def test_the_preview_shows_grey_where_nothing_is(tmp_path: Path, kind: VideoFormat) -> None:
    data = first_picture(segment(tmp_path / "one", kind, 0, 4), FORMS[kind])
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    right = picture[:, 60:].reshape(-1, 3)
    grey = bool((np.abs(right.astype(int) - 192) < 8).all())
    assert grey == (kind != "mp4")
