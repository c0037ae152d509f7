"""Blocks to Opus packets: one each, for WebRTC and fMP4 alike."""

from __future__ import annotations

from fractions import Fraction

import av
from av.audio.codeccontext import AudioCodecContext

from services.gateway.live.sound import BLOCK_SAMPLES, RATE_HZ, SILENCE

_BITS_PER_S = 64_000
# Low delay looks 2.5 ms ahead in place of 6.5; complexity 5 of 10 halves the time.
_OPTIONS = {"application": "lowdelay", "frame_duration": "20", "compression_level": "5"}
_TIME_BASE = Fraction(1, RATE_HZ)


class OpusEncoder:
    """48 kHz mono."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.format, codec.layout = "s16", "mono"
        codec.sample_rate, codec.bit_rate = RATE_HZ, _BITS_PER_S
        codec.time_base, codec.options = _TIME_BASE, _OPTIONS
        self._codec = codec
        self._blocks = 0
        self._last = b""
        self._was_silent = self._at_rest = False

    def encode(self, pcm: bytes) -> bytes:
        """The packet of one block.

        Once what was said has died away in its filters, the encoder makes the same packet of 3
        bytes from every silent block, and forgets all that came before; it is not asked again.
        """
        silent = pcm == SILENCE
        if not (silent and self._at_rest):
            packet = self._encode(pcm)
            self._at_rest = silent and self._was_silent and packet == self._last
            self._last, self._was_silent = packet, silent
        return self._last

    def _encode(self, pcm: bytes) -> bytes:
        frame = av.AudioFrame(format="s16", layout="mono", samples=BLOCK_SAMPLES)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.time_base = RATE_HZ, _TIME_BASE
        frame.pts = self._blocks * BLOCK_SAMPLES
        self._blocks += 1
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))
