"""Sidecar captions of a given text, WebVTT and SubRip.

The text comes without times. It is spread evenly over the time in which a voice is heard, by the
number of characters: pauses are respected, words are not aligned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from services.dubbing.plan import VoicedSpan

LINE_CHARS = 42
_CUE_CHARS = 2 * LINE_CHARS
_SENTENCE = re.compile(r"[^.!?…。！？]+[.!?…。！？]*[\"'”’»)]*\s*|\S+\s*")


@dataclass(frozen=True)
class Cue:
    """``text`` is shown from ``begin_s`` to ``end_s``; it has at most two lines."""

    begin_s: float
    end_s: float
    text: str


def spread_text(text: str, voiced: Sequence[VoicedSpan], fps: int) -> tuple[Cue, ...]:
    """Cues of at most two lines, over the voiced time by their share of the characters."""
    parts = _parts(text)
    total = sum(len(part) for part in parts)
    spoken = sum(span.stop - span.first for span in voiced)
    cues, done = [], 0
    for part in parts if spoken else ():
        begin = _moment(voiced, spoken * done / total, late=True)
        done += len(part)
        end = _moment(voiced, spoken * done / total, late=False)
        cues.append(Cue(begin / fps, end / fps, "\n".join(wrap(part, LINE_CHARS))))
    return tuple(cues)


def to_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT."""
    blocks = [
        f"{_clock(cue.begin_s, '.')} --> {_clock(cue.end_s, '.')}\n{_escaped(cue.text)}\n"
        for cue in cues
    ]
    return "WEBVTT\n\n" + "\n".join(blocks)


def to_srt(cues: Sequence[Cue]) -> str:
    """SubRip."""
    return "\n".join(
        f"{number}\n{_clock(cue.begin_s, ',')} --> {_clock(cue.end_s, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues, 1)
    )


def _parts(text: str) -> list[str]:
    """Sentences; long ones in pieces of about the same length that fill two lines at most."""
    parts = []
    for sentence in _SENTENCE.findall(" ".join(text.split())):
        pieces = -(-len(sentence.strip()) // _CUE_CHARS)
        width = _CUE_CHARS - 8 if pieces > 1 else _CUE_CHARS
        parts += wrap(sentence, width)
    return parts


def _moment(voiced: Sequence[VoicedSpan], spoken: float, *, late: bool) -> float:
    """Frame at which ``spoken`` frames were spoken; after the pause if ``late``, else before."""
    for span in voiced:
        length = span.stop - span.first
        if spoken < length or (spoken == length and not late):
            return span.first + spoken
        spoken -= length
    return float(voiced[-1].stop)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
