"""What a container must know of an H.264 stream; nothing here decodes a picture."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack

_START = b"\x00\x00\x01"
_SPS, _PPS, _DELIMITER = 7, 8, 9


@dataclass(frozen=True)
class ParameterSets:
    """One sequence and one picture parameter set, without start codes."""

    sps: bytes
    pps: bytes

    @property
    def codec(self) -> str:
        """As MIME types name it (RFC 6381)."""
        return f"avc1.{self.sps[1:4].hex()}"


def nal_units(data: bytes) -> list[bytes]:
    """The units of an access unit in Annex B form."""
    units = list[bytes]()
    begin = data.find(_START)
    while begin >= 0:
        begin += len(_START)
        end = data.find(_START, begin)
        # A zero before a start code is part of the longer start code, or padding.
        units.append((data[begin:] if end < 0 else data[begin:end]).rstrip(b"\x00"))
        begin = end
    return units


def parameter_sets(data: bytes) -> ParameterSets | None:
    """Those of a key frame; None where it has none."""
    by_kind = {unit[0] & 31: unit for unit in nal_units(data) if unit}
    if _SPS not in by_kind or _PPS not in by_kind:
        return None
    return ParameterSets(by_kind[_SPS], by_kind[_PPS])


def sample(data: bytes) -> bytes:
    """An access unit as MP4 wants it: units behind their lengths, parameter sets elsewhere."""
    kept = [unit for unit in nal_units(data) if unit and unit[0] & 31 not in _ELSEWHERE]
    return b"".join(pack(">I", len(unit)) + unit for unit in kept)


_ELSEWHERE = (_SPS, _PPS, _DELIMITER)
