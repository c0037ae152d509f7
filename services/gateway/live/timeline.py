"""The session's clock: which 20 ms of sound are heard when. No input or output of its own.

Block *b* leaves the jitter buffer at ``start_s + 0.02 b`` and is played ``delay`` later; video
frame *n* is shown when block 2n is played. All times follow from the first one, so nothing drifts.
Where nothing is said, block 2n + 1 is given out with block 2n: half as many moments to wake for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from services.gateway.live.sound import (
    BLOCK_MS,
    BLOCK_S,
    NOTHING_SAID,
    RATE_HZ,
    Block,
    JitterBuffer,
)

FRAME_S = 2 * BLOCK_S
FPS = 25
_HELD_UP_S = 0.5


@dataclass(frozen=True)
class Played:
    """A block that is heard now."""

    index: int
    block: Block


@dataclass(frozen=True)
class SegmentEnd:
    """All of a segment was played, or what was left of it was thrown away.

    Args:
        played_ms: of its own sound.
    """

    segment: int
    played_ms: int
    interrupted: bool


@dataclass(frozen=True)
class Step:
    """What a moment brings, in order.

    Args:
        left: blocks that left the jitter buffer, with their numbers: to be heard by the encoder.
        played: blocks that are heard now.
        segments: segments that ended now.
    """

    left: tuple[Played, ...]
    played: tuple[Played, ...]
    segments: tuple[SegmentEnd, ...]


class Timeline:
    """Moves blocks from the buffer to the speaker.

    Args:
        start_s: the clock now.
        delay_ms: from leaving the buffer to being played; a multiple of 20.
    """

    def __init__(self, buffer: JitterBuffer, start_s: float, delay_ms: int) -> None:
        self._buffer = buffer
        self._start_s = start_s
        self._delay_blocks = delay_ms // BLOCK_MS
        self._waiting: deque[Block] = deque()
        self._played_samples: dict[int, int] = {}
        self._ended = 0
        self._said = -1  # the last block with a sound from outside
        self.next_left = 0
        self.next_played = 0

    @property
    def next_s(self) -> float:
        """When there is something to do again."""
        behind = self.next_left - self.next_played < self._delay_blocks
        return self._due_s(self.next_left + (behind and self.next_played > 0))

    @property
    def speaking(self) -> bool:
        """Whether a sound from outside is being played, or waits for it."""
        return self._said >= self.next_played or self._buffer.buffered_s > 0

    def frame_at(self, time_s: float) -> int:
        """The first video frame that is shown at ``time_s`` or later."""
        blocks = (time_s - self._start_s) / BLOCK_S - self._delay_blocks
        return max(0, -int(-blocks // 2))

    def slip(self, now_s: float) -> float:
        """Go on from now where this process was held up for long; how much time was left out.

        Otherwise all that was missed would leave at once, of no use to anybody.
        """
        late_s = now_s - self.next_s
        if late_s < _HELD_UP_S:
            return 0.0
        self._start_s += late_s
        return late_s

    def step(self, now_s: float) -> Step:
        """Everything that is due."""
        left, played, segments = list[Played](), list[Played](), list[SegmentEnd]()
        while (due_s := self._due_s(self.next_left)) <= now_s + 1e-9:
            block = self._buffer.pop(due_s)
            left.append(Played(self.next_left, block))
            self._waiting.append(block)
            if block.segment:
                self._said = self.next_left
            self.next_left += 1
            if len(self._waiting) > self._delay_blocks:
                played.append(self._play(segments))
        if self.next_played % 2 and not self.speaking:
            played.append(self._play(segments))
        return Step(tuple(left), tuple(played), tuple(segments))

    def interrupt(self) -> tuple[SegmentEnd, ...]:
        """Everything that was not played falls silent; the segments that this ends."""
        newest = self._buffer.clear()
        self._waiting = deque([NOTHING_SAID] * len(self._waiting))
        self._said = -1
        open_ones = range(self._ended + 1, newest + 1)
        return tuple(self._end(number, interrupted=True) for number in open_ones)

    def _due_s(self, block: int) -> float:
        return self._start_s + BLOCK_S * block

    def _play(self, segments: list[SegmentEnd]) -> Played:
        block = self._waiting.popleft()
        played = Played(self.next_played, block)
        self.next_played += 1
        if block.segment:
            heard = self._played_samples.get(block.segment, 0) + block.samples
            self._played_samples[block.segment] = heard
            if block.ends:
                segments.append(self._end(block.segment, interrupted=False))
        return played

    def _end(self, segment: int, *, interrupted: bool) -> SegmentEnd:
        samples = self._played_samples.pop(segment, 0)
        self._ended = segment
        return SegmentEnd(segment, round(1000 * samples / RATE_HZ), interrupted)
