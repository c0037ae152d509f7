"""PCM on its way in: any rate and size of chunks to 20 ms blocks at 48 kHz.

A block is the unit of everything that is heard: one Opus packet, half a video frame.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass

import av

from services.common.errors import ResourceExhausted
from synctalk.errors import InputError

RATE_HZ = 48_000
BLOCK_MS = 20
BLOCK_S = BLOCK_MS / 1000
BLOCK_SAMPLES = RATE_HZ * BLOCK_MS // 1000
BLOCK_BYTES = 2 * BLOCK_SAMPLES
SILENCE = bytes(BLOCK_BYTES)
RATES_HZ = (8_000, 96_000)
_QUIET = 330  # -40 dB of full scale
_SURPLUS_MS = 120
_PAUSE_BLOCKS = 50  # audio that stays away longer came not late: nobody spoke


class Resampler:
    """16-bit mono PCM of one rate to 48 kHz, chunk by chunk."""

    def __init__(self, rate_hz: int) -> None:
        low, high = RATES_HZ
        if not low <= rate_hz <= high:
            raise InputError(
                f"sample_rate_hz is {rate_hz}",
                reason="SAMPLE_RATE",
                remedy=f"Send sound of {low} to {high} Hz.",
            )
        self._rate = rate_hz
        self._swr = _resampler()

    def push(self, data: bytes) -> bytes:
        """The samples that ``data`` completes. Raises :class:`InputError` for half a sample."""
        if len(data) % 2:
            raise InputError(
                f"{len(data)} bytes of 16-bit samples",
                reason="HALF_SAMPLE",
                remedy="Send whole samples: signed 16-bit little-endian mono.",
            )
        if self._rate == RATE_HZ or not data:
            return data
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(data) // 2)
        frame.planes[0].update(data)
        frame.sample_rate = self._rate
        return self.push_frame(frame)

    def push_frame(self, frame: av.AudioFrame) -> bytes:
        """The same for a decoded frame of any layout."""
        frame.pts = None
        return b"".join(map(pcm_of, self._swr.resample(frame)))

    def finish(self) -> bytes:
        """What was held back; then it begins anew."""
        rest = b"".join(map(pcm_of, self._swr.resample(None)))
        self._swr = _resampler()
        return rest


def pcm_of(frame: av.AudioFrame) -> bytes:
    """The samples of a mono 16-bit frame; its plane may be longer."""
    return bytes(frame.planes[0])[: 2 * frame.samples]


def _resampler() -> av.AudioResampler:
    return av.AudioResampler("s16", "mono", RATE_HZ)


def is_quiet(pcm: bytes | memoryview) -> bool:
    """Whether nothing is said in these samples."""
    samples = array("h", bytes(pcm))
    return not samples or max(max(samples), -min(samples)) < _QUIET


@dataclass(frozen=True)
class Block:
    """20 ms that leave the buffer.

    Args:
        pcm: of exactly one block.
        segment: number of the segment that it is of; 0: silence of ours.
        samples: of the segment among them.
        arrived_s: when its first sample came; None for silence of ours.
        ends: whether the segment ends with it.
    """

    pcm: bytes = SILENCE
    segment: int = 0
    samples: int = 0
    arrived_s: float | None = None
    ends: bool = False


NOTHING_SAID = Block()


@dataclass
class _Chunk:
    pcm: memoryview
    segment: int
    arrived_s: float
    ends: bool = False


class JitterBuffer:
    """Audio that waits for its turn.

    Speech begins when ``jitter_ms`` of it are there, or when so long has passed; an empty buffer
    gives silence. A live source whose clock runs faster than ours would fill it in the long
    run: of that, and only where nothing is said, blocks are left out.
    """

    def __init__(self, jitter_ms: int, most_s: float) -> None:
        self.inserted_blocks = 0
        self.left_out_blocks = 0
        self._jitter_s = jitter_ms / 1000
        self._most_bytes = int(most_s * RATE_HZ) * 2
        self._chunks: deque[_Chunk] = deque()
        self._bytes = 0
        self._segment = 1
        self._segment_open = False
        self._flowing = False
        self._live = False
        self._dry: int | None = None

    @property
    def buffered_s(self) -> float:
        """How much waits."""
        return self._bytes / 2 / RATE_HZ

    @property
    def open_segment(self) -> int:
        """The segment whose end has not been pushed; 0: none."""
        return self._segment if self._segment_open else 0

    def push(self, pcm: bytes, now_s: float, *, live: bool = False) -> None:
        """Append samples.

        Args:
            pcm: at 48 kHz.
            now_s: when they came.
            live: from a microphone; as opposed to speech that is made faster than it is said.

        Raises:
            ResourceExhausted: too much waits already.
        """
        if self._bytes + len(pcm) > self._most_bytes:
            raise ResourceExhausted(
                f"{self.buffered_s:.0f} s of audio wait to be played",
                reason="AUDIO_BUFFER_FULL",
                remedy="Push further audio when some of it has been played.",
            )
        if pcm:
            self._chunks.append(_Chunk(memoryview(pcm), self._segment, now_s))
            self._bytes += len(pcm)
            self._live, self._segment_open = live, True

    def end_segment(self) -> None:
        """What was pushed so far belongs together; nothing happens if nothing was."""
        if not self._segment_open:
            return
        for chunk in reversed(self._chunks):
            if chunk.segment == self._segment:
                chunk.ends = True
                break
        else:  # all of it has left already
            self._chunks.append(_Chunk(memoryview(b""), self._segment, 0.0, ends=True))
        self._segment += 1
        self._segment_open = False

    def clear(self) -> int:
        """Forget everything; the number of the newest segment that was begun."""
        newest = self._segment if self._segment_open else self._segment - 1
        self._chunks.clear()
        self._bytes, self._flowing, self._dry = 0, False, None
        if self._segment_open:
            self._segment += 1
            self._segment_open = False
        return newest

    def pop(self, now_s: float) -> Block:
        """The next block; silence where there is none. A segment's last one is filled up."""
        if not self._ready(now_s):
            if self._dry is not None:
                self._dry += 1
            return NOTHING_SAID
        self.inserted_blocks += self._dry if self._dry and self._dry < _PAUSE_BLOCKS else 0
        if self._live and self.buffered_s > self._jitter_s + _SURPLUS_MS / 1000:
            self._leave_out()
        block = self._take()
        self._dry = None
        if not self._chunks:
            self._flowing = False
            self._dry = None if block.ends else 0
        return block

    def _ready(self, now_s: float) -> bool:
        if not self._chunks:
            return False
        if not self._flowing:
            first = self._chunks[0]
            if first.arrived_s > now_s:  # the block was due before; there is no hurry
                return False
            complete = any(chunk.ends for chunk in self._chunks)
            waited = now_s - first.arrived_s >= self._jitter_s
            self._flowing = complete or waited or self.buffered_s >= self._jitter_s
        return self._flowing

    def _leave_out(self) -> None:
        first = self._chunks[0]
        if not first.ends and len(first.pcm) >= BLOCK_BYTES and is_quiet(first.pcm[:BLOCK_BYTES]):
            self._drop(first, BLOCK_BYTES)
            self.left_out_blocks += 1

    def _take(self) -> Block:
        first = self._chunks[0]
        parts, missing, ends = list[memoryview](), BLOCK_BYTES, False
        while self._chunks and missing and not ends:
            chunk = self._chunks[0]
            part = chunk.pcm[:missing]
            parts.append(part)
            missing -= len(part)
            ends = self._drop(chunk, len(part))
        pcm = b"".join(parts)
        arrived_s = first.arrived_s if pcm else None
        return Block(
            pcm + bytes(BLOCK_BYTES - len(pcm)), first.segment, len(pcm) // 2, arrived_s, ends
        )

    def _drop(self, chunk: _Chunk, n_bytes: int) -> bool:
        """Whether a segment ends there."""
        self._bytes -= n_bytes
        chunk.pcm = chunk.pcm[n_bytes:]
        if chunk.pcm:
            return False
        self._chunks.popleft()
        return chunk.ends
