"""A picture of a dub to look at before it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from services.dubbing.join import Form

MAX_PX = 640
BEHIND = 192
"""Grey level behind a transparent dub."""


def first_picture(segment: Path, form: Form) -> bytes:
    """JPEG of a segment's first frame, on grey where it is transparent."""
    frame = next(_decoded(segment, form))
    scale = min(1.0, MAX_PX / max(frame.width, frame.height))
    width, height = round(frame.width * scale), round(frame.height * scale)
    shown = frame.to_ndarray(width=width, height=height, format="bgra").astype(np.float32)
    alpha = shown[..., 3:] / 255
    image = np.rint(shown[..., :3] * alpha + BEHIND * (1 - alpha)).astype(np.uint8)
    written, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert written
    return np.asarray(data).tobytes()


def _decoded(segment: Path, form: Form) -> Iterator[VideoFrame]:
    with av.open(str(segment), format=form.demuxer) as container:
        stream = container.streams.video[0]
        if not form.decoder:
            yield from container.decode(stream)
            return
        decoder = av.codec.CodecContext.create(form.decoder, "r")  # not all of them know of alpha
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata = stream.codec_context.extradata
        for packet in container.demux(stream):
            yield from decoder.decode(packet)
