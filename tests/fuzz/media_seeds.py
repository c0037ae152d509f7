"""Small good files of every kind that the door takes; a few kilobytes each.

They are the same every time, but for the signature of the signed one, whose key is new.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

from synctalk.provenance.certificates import development_certificates
from synctalk.provenance.signers import ManifestSigner, file_signer
from synctalk.provenance.signing import Claim, sign_file

RATE = 16_000


@dataclass(frozen=True)
class Kind:
    """A container with its codecs."""

    container: str
    video: str = ""
    audio: str = ""
    pix_fmt: str = "yuv420p"
    sample_fmt: str = "s16"
    rate: int = RATE
    options: tuple[tuple[str, str], ...] = ()


VIDEO = {
    "h264.mp4": Kind("mp4", "libx264", "aac", sample_fmt="fltp"),
    "fast.mp4": Kind(
        "mp4", "libx264", "aac", sample_fmt="fltp", options=(("movflags", "+faststart"),)
    ),
    "fragmented.mp4": Kind(
        "mp4", "libx264", "aac", sample_fmt="fltp",
        options=(("movflags", "empty_moov+default_base_moof+frag_every_frame"),),
    ),
    "mpeg4.avi": Kind("avi", "mpeg4", "pcm_s16le"),
    "vp9.webm": Kind("webm", "libvpx-vp9", "libopus", rate=48_000),
    "vp8.mkv": Kind("matroska", "libvpx", "flac"),
    "mjpeg.mov": Kind("mov", "mjpeg", "pcm_s16le", pix_fmt="yuvj420p"),
    "prores.mov": Kind("mov", "prores_ks", "pcm_s16le", pix_fmt="yuv422p10le"),
    "h264.ts": Kind("mpegts", "libx264", "aac", sample_fmt="fltp"),
    "mpeg2.mpg": Kind("mpeg", "mpeg2video", "mp2", rate=44_100),
    "flv1.flv": Kind("flv", "flv", "pcm_s16le", rate=44_100),
    "wmv2.asf": Kind("asf", "wmv2", "wmav2", sample_fmt="fltp", rate=44_100),
    "ffv1.mkv": Kind("matroska", "ffv1", "pcm_s16le"),
}  # fmt: skip
AUDIO = {
    "pcm.wav": Kind("wav", audio="pcm_s16le"),
    "float.wav": Kind("wav", audio="pcm_f32le", sample_fmt="flt"),
    "adpcm.wav": Kind("wav", audio="adpcm_ms"),
    "flac.flac": Kind("flac", audio="flac"),
    "opus.ogg": Kind("ogg", audio="libopus", rate=48_000),
    "mp3.mp3": Kind("mp3", audio="libmp3lame", sample_fmt="s16p"),
    "aac.m4a": Kind("ipod", audio="aac", sample_fmt="fltp"),
    "alac.m4a": Kind("ipod", audio="alac", sample_fmt="s16p"),
    "aiff.aiff": Kind("aiff", audio="pcm_s16be"),
    "aac.aac": Kind("adts", audio="aac", sample_fmt="fltp"),
}
PICTURES = ("png", "jpg", "webp")


@cache
def seeds() -> Mapping[str, tuple[str, bytes]]:
    """By name: the tasks' family (``video``, ``audio`` or ``picture``) and the file."""
    found: dict[str, tuple[str, bytes]] = {}
    for family, kinds in (("video", VIDEO), ("audio", AUDIO)):
        for name, kind in kinds.items():
            found[name] = (family, _encode(kind))
    picture = _pictures(1)[0]
    for name in PICTURES:
        found[f"picture.{name}"] = ("picture", cv2.imencode(f".{name}", picture)[1].tobytes())
    found["signed.mp4"] = ("video", _signed(found["h264.mp4"][1]))
    return found


@cache
def signer() -> tuple[ManifestSigner, str]:
    """Who signs, and the authority to trust."""
    with tempfile.TemporaryDirectory() as name:
        keys = development_certificates(Path(name, "keys"))
        return file_signer(keys.chain, keys.key), keys.root.read_text()


def _signed(video: bytes) -> bytes:
    """With a C2PA manifest."""
    with tempfile.TemporaryDirectory() as name:
        source, signed = Path(name, "source.mp4"), Path(name, "signed.mp4")
        source.write_bytes(video)
        sign_file(source, signed, Claim("fuzz", 1, "0" * 64), signer()[0])
        return signed.read_bytes()


def _encode(kind: Kind) -> bytes:
    with tempfile.NamedTemporaryFile() as file:  # an index in front is written by reading back
        options = dict(kind.options)
        with av.open(file.name, "w", format=kind.container, container_options=options) as out:
            if kind.video:
                _add_video(out, kind)
            if kind.audio:
                _add_audio(out, kind)
            _write(out)
        return Path(file.name).read_bytes()


def _add_video(out: av.container.OutputContainer, kind: Kind) -> None:
    stream = out.add_stream(kind.video, rate=25)
    stream.width = stream.height = 64
    stream.pix_fmt = kind.pix_fmt
    stream.bit_rate = 100_000


def _add_audio(out: av.container.OutputContainer, kind: Kind) -> None:
    stream = out.add_stream(kind.audio, rate=kind.rate, layout="mono")
    stream.format = kind.sample_fmt
    stream.bit_rate = 64_000


def _write(out: av.container.OutputContainer) -> None:
    for stream in out.streams:
        if stream.type == "video":
            for k, image in enumerate(_pictures(6)):
                frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = k, Fraction(1, 25)
                out.mux(stream.encode(frame))
        else:
            fifo = av.AudioFifo()
            fifo.write(_sound(stream.format.name, stream.rate))
            size = stream.codec_context.frame_size or 1024
            while (block := fifo.read(size, partial=True)) is not None:
                out.mux(stream.encode(block))
        out.mux(stream.encode(None))


def _pictures(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64))
    return [np.roll(base, 3 * k, axis=1) for k in range(n)]


def _sound(sample_fmt: str, rate: int) -> av.AudioFrame:
    wave = np.sin(np.arange(rate // 4) * 0.06)[None]
    plain = av.AudioFrame.from_ndarray((wave * 9000).astype(np.int16), "s16", "mono")
    plain.sample_rate, plain.time_base, plain.pts = rate, Fraction(1, rate), 0
    (converted,) = av.AudioResampler(sample_fmt, "mono", rate).resample(plain)
    return converted
