"""Where a voice begins and ends, from feature rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from synctalk.face_sync import LAYOUT
from synctalk.face_sync.visemes import SILENCE

AWAY_FRAMES = 5  # pauses between words are shorter
_QUIET = -0.775  # relative loudness, 47 dB below the speaker's loud frames


@dataclass(frozen=True)
class VoiceChange:
    """A voice is heard from ``frame`` on, or no more."""

    frame: int
    speaking: bool


class VoiceDetector:
    """Rows in, changes out. A voice stops when it has been away for ``AWAY_FRAMES``."""

    def __init__(self) -> None:
        self._frame = 0
        self._speaking = False
        self._last_voiced = 0

    def push(self, row: Tensor) -> VoiceChange | None:
        """The change that the next row [D] shows, if any."""
        frame, self._frame = self._frame, self._frame + 1
        if float(row[LAYOUT.level]) > _QUIET and float(row[LAYOUT.visemes][SILENCE]) < 0.5:
            self._last_voiced = frame
            if not self._speaking:
                self._speaking = True
                return VoiceChange(frame, True)
        elif self._speaking and frame - self._last_voiced >= AWAY_FRAMES:
            return next(self.finish())
        return None

    def finish(self) -> Iterator[VoiceChange]:
        """The end of a voice that spoke to the last frame."""
        if self._speaking:
            self._speaking = False
            yield VoiceChange(self._last_voiced + 1, False)
