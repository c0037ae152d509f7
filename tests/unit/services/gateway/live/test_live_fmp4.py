"""Fragments as a browser gets them, read by FFmpeg."""

from __future__ import annotations

import io
from array import array

import av
import pytest
from h264_clips import Camera, clip
from live_doubles import tone

from services.gateway.live.fmp4 import FragmentWriter
from services.gateway.live.frames import Frame
from services.gateway.live.h264 import nal_units, parameter_sets
from services.gateway.live.opus import OpusEncoder
from services.gateway.live.sound import BLOCK_BYTES, SILENCE


def frame(slot: int, data: bytes, key: bool, size: int = 64) -> Frame:
    return Frame(slot, data, key, size, size, 0.0)


def test_pictures_and_sound_decode_at_their_times() -> None:
    writer, opus = FragmentWriter(), OpusEncoder()
    first = 1000  # joined long after the session began
    file = io.BytesIO()
    loud = tone(0.02)
    for n, (data, key) in enumerate(clip(50)):
        slot = first + n
        if (init := writer.init(frame(slot, data, key))) is not None:
            assert n == 0
            assert init.mime.startswith('video/mp4; codecs="avc1.42')
            file.write(init.data)
        file.write(writer.video(frame(slot, data, key)))
        for half in (0, 1):
            sound = loud if n == 30 else SILENCE
            file.write(writer.audio(2 * slot + half, opus.encode(sound)))
    file.seek(0)
    with av.open(file) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height) == (64, 64)
        pictures = {
            round(float(picture.time) * 25): bytes(picture.planes[0])[0]
            for picture in container.decode(video)
        }
        container.seek(0)
        peaks = [
            (float(part.time), max(map(abs, array("f", bytes(part.planes[0])))))
            for part in container.decode(audio)
        ]
    assert list(pictures) == list(range(first, first + 50))
    assert all(abs(luma - 16 - (slot - first)) < 6 for slot, luma in pictures.items())
    heard_s = [time for time, peak in peaks if peak > 0.1]
    assert min(heard_s) == pytest.approx((first + 30) / 25, abs=0.021)
    assert max(heard_s) <= (first + 31) / 25 + 0.021


def test_a_frame_that_was_not_there_is_filled_by_the_next() -> None:
    writer = FragmentWriter()
    camera = Camera()
    file = io.BytesIO()
    for slot in (0, 1, 2, 6, 7):
        data, key = camera.shoot(50, key=slot == 6)
        made = frame(slot, data, key)
        if (init := writer.init(made)) is not None:
            file.write(init.data)
        file.write(writer.video(made))
    file.seek(0)
    with av.open(file) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
    times = [
        (round(p.pts * p.time_base * 25), round(p.duration * p.time_base * 25)) for p in packets
    ]
    assert times == [(0, 1), (1, 1), (2, 1), (3, 4), (7, 1)]


def test_another_size_brings_another_init_segment() -> None:
    writer = FragmentWriter()
    large, large_key = clip(1)[0]
    small, small_key = clip(1, 32, 32)[0]
    assert writer.init(frame(0, large, large_key)) is not None
    assert writer.init(frame(25, large, large_key)) is None
    init = writer.init(frame(50, small, small_key, 32))
    assert init is not None
    assert (init.width_px, init.height_px) == (32, 32)


def test_an_access_unit_is_taken_apart_without_loss() -> None:
    data, _ = clip(1)[0]
    units = nal_units(data)
    assert [unit[0] & 31 for unit in units][:2] == [7, 8]
    assert sum(map(len, units)) <= len(data)
    sets = parameter_sets(data)
    assert sets is not None
    assert sets.codec.startswith("avc1.42")
    assert parameter_sets(clip(2)[1][0]) is None


def test_every_block_of_sound_is_one_packet() -> None:
    opus = OpusEncoder()
    pcm = tone(0.1)
    packets = [opus.encode(pcm[at : at + BLOCK_BYTES]) for at in range(0, len(pcm), BLOCK_BYTES)]
    assert len(packets) == 5
    assert all(packets)
