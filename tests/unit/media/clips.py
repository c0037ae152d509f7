"""Small video and audio files with known content, made with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from synctalk.media import VideoReader

LAST_SHOWN_S = 0.04  # the encoder gives the last frame the duration of its nominal rate, 25 fps


def numbered(number: int, width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    """A picture of luma 20 + number, brighter by 40 in its top-left quarter; neutral chroma."""
    frame = av.VideoFrame(width, height, pix_fmt)
    for k, plane in enumerate(frame.planes):
        pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        pixels[:] = 20 + number if k == 0 else 128
        if k == 0:
            pixels[: height // 2, : width // 2] += 40
    return frame


def numbers_in(path: Path) -> list[int]:
    """The number of each frame of a video of :func:`numbered` pictures, upright."""
    return [int(y[-4, -4]) - 20 for y in VideoReader(path).iter_grey()]


def clicks(times_s: Sequence[float], duration_s: float, rate: int) -> NDArray[np.float32]:
    """Silence with short clicks."""
    wav = np.zeros(round(duration_s * rate), np.float32)
    bump = np.hanning(round(rate * 0.004)).astype(np.float32)
    for t in times_s:
        start = round(t * rate) - len(bump) // 2
        wav[start : start + len(bump)] = 0.8 * bump
    return wav


def click_times(wav: NDArray[np.float32], rate: int = 16000) -> list[float]:
    """Centres of the clicks, s."""
    loud = np.flatnonzero(np.abs(wav) > 0.15)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > rate // 50) + 1)
    return [float(np.average(g, weights=np.abs(wav[g]))) / rate for g in groups if len(g)]


def make_video(
    path: Path,
    times_s: Sequence[float],
    *,
    size: tuple[int, int] = (64, 48),
    wav: NDArray[np.float32] | None = None,
    wav_rate: int = 48000,
    wav_start_s: float = 0.0,
    rotation: float | None = None,
    hflip: bool = False,
    container: str | None = None,
    fast_start: bool = False,
    aspect: Fraction = Fraction(1),
) -> Path:
    """Lossless H.264 video whose frame k, shown from ``times_s[k]``, is number k; AAC sound."""
    options = {"movflags": "+faststart"} if fast_start else {}
    with av.open(str(path), "w", format=container, container_options=options) as out:
        video = out.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        video.width, video.height = size
        video.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        video.time_base = video.codec_context.time_base = Fraction(1, 90000)
        video.codec_context.sample_aspect_ratio = aspect  # width of a pixel over its height
        if rotation is not None or hflip:
            video.set_display_rotation(rotation or 0.0, hflip=hflip)
        sound = None if wav is None else out.add_stream("aac", rate=wav_rate, layout="mono")
        for k, t in enumerate(times_s):
            frame = numbered(k, *size, video.pix_fmt)
            frame.pts, frame.time_base = round(t * 90000), Fraction(1, 90000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if wav is not None and sound is not None:
            for start in range(0, len(wav), 1024):
                block = av.AudioFrame.from_ndarray(wav[None, start : start + 1024], "fltp", "mono")
                block.sample_rate, block.time_base = wav_rate, Fraction(1, wav_rate)
                block.pts = start + round(wav_start_s * wav_rate)
                out.mux(sound.encode(block))
            out.mux(sound.encode(None))
    return path


def regular(n: int, fps: float, start_s: float = 0.0) -> list[float]:
    """Time stamps of a constant frame rate."""
    return [start_s + k / fps for k in range(n)]
