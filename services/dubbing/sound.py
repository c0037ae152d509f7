"""The sound of a dub on disk, once for the encoder and once for the ear; read in pieces."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import MediaError
from synctalk.media import MediaLimits
from synctalk.media.sandbox import Request, run_limited

ENCODER_HZ, EAR_HZ = 16_000, 48_000
MIN_AUDIO_S = 0.2


@dataclass(frozen=True)
class Pcm:
    """A 16-bit mono WAV file that we wrote ourselves."""

    path: Path
    sample_rate_hz: int
    n_samples: int

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.n_samples / self.sample_rate_hz

    def blocks(self, n: int) -> Iterator[NDArray[np.int16]]:
        """Its samples, ``n`` at a time."""
        with wave.open(str(self.path), "rb") as wav:
            while data := wav.readframes(n):
                yield np.frombuffer(data, "<i2")


def decode_sound(source: Path, folder: Path, rate_hz: int, max_audio_s: float) -> Pcm:
    """The sound of an untrusted file, decoded in a limited process into ``folder``.

    Raises:
        MediaError: not media, without sound, too short or too long.
    """
    out = folder / f"{rate_hz}"
    out.mkdir()
    limits = MediaLimits(max_duration_s=max_audio_s)
    run_limited(Request("audio", str(source), limits, str(out), sample_rate=rate_hz))
    path = out / "audio.wav"
    with wave.open(str(path), "rb") as wav:
        pcm = Pcm(path, rate_hz, wav.getnframes())
    if pcm.duration_s < MIN_AUDIO_S:
        raise MediaError(
            f"{pcm.duration_s:.2f} s of audio.",
            reason="AUDIO_TOO_SHORT",
            remedy=f"Give at least {MIN_AUDIO_S} s of speech.",
        )
    return pcm
