"""Fragmented MP4 for Media Source Extensions (ISO/IEC 14496-12): H.264 and Opus, as they come.

FFmpeg's muxer keeps each fragment back until the next packet of every stream is there, 80 ms for
us, and has no way to say that a frame stands longer than announced; so these few boxes are
written here. Times are the session's. Video has no gaps: a frame that was not there is filled by
the next one, which begins earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, pack

from services.gateway.live.frames import Frame
from services.gateway.live.h264 import ParameterSets, parameter_sets, sample
from services.gateway.live.sound import BLOCK_SAMPLES, RATE_HZ

VIDEO_HZ = 90_000
_FRAME_TICKS = VIDEO_HZ // 25
_VIDEO, _AUDIO = 1, 2
_MATRIX = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_SYNC, _NO_SYNC = 0x02000000, 0x01010000
# moof of mfhd and traf, which has tfhd, tfdt and trun; then the header of mdat. As one, for it is
# written 75 times a second.
_FRAGMENT = Struct(">I4s I4sII I4s I4sII I4sIQ I4sIIIIII I4s")
_MOOF_BYTES = _FRAGMENT.size - 8
_OPUS_DELAY = 120  # samples that the encoder looks ahead


@dataclass(frozen=True)
class Init:
    """An init segment: everything after it is of this kind."""

    mime: str
    width_px: int
    height_px: int
    data: bytes


class FragmentWriter:
    """Media of one connection, in order; each call gives bytes that may leave at once."""

    def __init__(self) -> None:
        self._parameters: ParameterSets | None = None
        self._size = (0, 0)
        self._sequence = 0
        self._video_end: int | None = None

    def init(self, frame: Frame) -> Init | None:
        """The init segment that must precede this frame, unless the last one still holds."""
        if not frame.key:
            return None
        parameters = parameter_sets(frame.data)
        size = (frame.width_px, frame.height_px)
        if parameters is None or (parameters, size) == (self._parameters, self._size):
            return None
        self._parameters, self._size = parameters, size
        mime = f'video/mp4; codecs="{parameters.codec},opus"'
        return Init(mime, *size, _file_type() + _movie(parameters, *size))

    def video(self, frame: Frame) -> bytes:
        """A fragment of one frame."""
        end = (frame.slot + 1) * _FRAME_TICKS
        begin = end - _FRAME_TICKS if self._video_end is None else self._video_end
        self._video_end = end
        flags = _SYNC if frame.key else _NO_SYNC
        return self._fragment(_VIDEO, begin, end - begin, flags, sample(frame.data))

    def audio(self, block: int, opus: bytes) -> bytes:
        """A fragment of one block."""
        return self._fragment(_AUDIO, block * BLOCK_SAMPLES, BLOCK_SAMPLES, _SYNC, opus)

    def _fragment(self, track: int, begin: int, duration: int, flags: int, data: bytes) -> bytes:
        self._sequence += 1
        header = _FRAGMENT.pack(
            _MOOF_BYTES, b"moof",
            16, b"mfhd", 0, self._sequence,
            _MOOF_BYTES - 24, b"traf",
            16, b"tfhd", 0x020000, track,  # the default base is the fragment
            20, b"tfdt", 1 << 24, begin,
            32, b"trun", 0x000701, 1, _FRAGMENT.size, duration, len(data), flags,
            8 + len(data), b"mdat",
        )  # fmt: skip
        return header + data


def _box(kind: str, *content: bytes) -> bytes:
    size = 8 + sum(map(len, content))
    return pack(">I", size) + kind.encode() + b"".join(content)


def _full(kind: str, version: int, flags: int, *content: bytes) -> bytes:
    return _box(kind, pack(">I", version << 24 | flags), *content)


def _file_type() -> bytes:
    return _box("ftyp", b"iso6", pack(">I", 0), b"iso6cmfc")


def _movie(parameters: ParameterSets, width: int, height: int) -> bytes:
    header = _full(
        "mvhd", 0, 0, pack(">4I", 0, 0, 1000, 0), pack(">IH10x", 0x10000, 0x100), _MATRIX,
        bytes(24), pack(">I", 3),
    )  # fmt: skip
    video = _track(
        _VIDEO, (width, height), VIDEO_HZ, "vide", _full("vmhd", 0, 1, bytes(8)),
        _avc_entry(parameters, width, height),
    )  # fmt: skip
    audio = _track(_AUDIO, (0, 0), RATE_HZ, "soun", _full("smhd", 0, 0, bytes(4)), _opus_entry())
    extends = _box("mvex", *(_full("trex", 0, 0, pack(">5I", t, 1, 0, 0, 0)) for t in (1, 2)))
    return _box("moov", header, video, audio, extends)


def _track(
    track: int, size: tuple[int, int], hz: int, kind: str, media_header: bytes, entry: bytes
) -> bytes:
    volume = 0 if any(size) else 0x100
    header = _full(
        "tkhd", 0, 3, pack(">5I8x", 0, 0, track, 0, 0), pack(">hhHH", 0, 0, volume, 0), _MATRIX,
        pack(">II", size[0] << 16, size[1] << 16),
    )  # fmt: skip
    empty = pack(">I", 0)
    tables = _box(
        "stbl", _full("stsd", 0, 0, pack(">I", 1), entry), _full("stts", 0, 0, empty),
        _full("stsc", 0, 0, empty), _full("stsz", 0, 0, bytes(8)), _full("stco", 0, 0, empty),
    )  # fmt: skip
    source = _box("dinf", _full("dref", 0, 0, pack(">I", 1), _full("url ", 0, 1)))
    media = _box(
        "mdia",
        _full("mdhd", 0, 0, pack(">4IHH", 0, 0, hz, 0, 0x55C4, 0)),
        _full("hdlr", 0, 0, bytes(4), kind.encode(), bytes(12), b"\x00"),
        _box("minf", media_header, source, tables),
    )
    return _box("trak", header, media)


def _avc_entry(parameters: ParameterSets, width: int, height: int) -> bytes:
    sps, pps = parameters.sps, parameters.pps
    configuration = _box(
        "avcC", b"\x01" + sps[1:4] + b"\xff\xe1", pack(">H", len(sps)), sps,
        b"\x01", pack(">H", len(pps)), pps,
    )  # fmt: skip
    return _box(
        "avc1", pack(">6xH16xHHIIIH", 1, width, height, 0x480000, 0x480000, 0, 1), bytes(32),
        pack(">Hh", 24, -1), configuration,
    )  # fmt: skip


def _opus_entry() -> bytes:
    configuration = _box("dOps", pack(">BBHIhB", 0, 1, _OPUS_DELAY, RATE_HZ, 0, 0))
    return _box("Opus", pack(">6xH8xHHHHI", 1, 1, 16, 0, 0, RATE_HZ << 16), configuration)
