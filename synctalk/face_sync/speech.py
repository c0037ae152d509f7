"""What the encoder hears: log-mel frames and their normalisation.

Mel frame ``j`` is centred at ``(j + 0.5) * 10 ms``, so that video frame ``i`` (25 fps, centred at
``(i + 0.5) / 25 s``) owns exactly the mel frames ``4i .. 4i + 3``. Audio is silence before its
first and after its last sample, which makes every frame well defined at any chunking.

The bands are :data:`synctalk.media.mel.PHONETIC_MEL`'s; framing is done here, in torch, because
training needs batches and streams need frames that do not depend on where a chunk begins.
64 bands between 60 and 7600 Hz, windows of 25 ms (METHOD, "What a spike on audio → lips learnt"):
coarser than METHOD row 1's 80 bands of 50 ms, and sharper in time, which closures of 60 ms need.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from synctalk.media.mel import PHONETIC_MEL, mel_filterbank

SAMPLE_RATE_HZ = 16_000
FPS = 25
HOP = PHONETIC_MEL.hop_length
WINDOW = PHONETIC_MEL.win_length
N_MELS = PHONETIC_MEL.n_mels
MELS_PER_FRAME = SAMPLE_RATE_HZ // FPS // HOP

LEAD = (WINDOW - HOP) // 2  # samples that a window reaches before its frame's own 10 ms
_DYNAMIC_RANGE = 14.0  # nepers of power (61 dB) below the speaker's loud frames
SPEECH_RANGE = 6.0  # frames within 26 dB of the loud ones count as speech
_SCALE = 2.5  # nepers; brings normalised speech near unit variance
_QUIETEST_LEVEL = -10.5  # a whole file below this (about -75 dBFS) is silence, not quiet speech


@dataclass(frozen=True)
class SpeechStats:
    """A speaker's level and average spectrum, measured over a recording.

    Args:
        level: natural log of the total mel power of the loud frames (95th percentile).
        mean: [64] mean log-mel of the speech frames, relative to ``level`` (nepers).
    """

    level: float
    mean: Tensor


class Sound(Protocol):
    """A recording, [n] 16 kHz in [-1, 1]: a tensor, or what reads spans of it from a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> Tensor: ...


@lru_cache(maxsize=1)
def _mel_filters() -> Tensor:
    """Mel filters, [257, 64]."""
    return torch.from_numpy(mel_filterbank(PHONETIC_MEL).T).float()


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel power of windows that lie wholly inside ``samples``.

    Args:
        samples: [..., n] 16 kHz audio in [-1, 1], n >= 400.

    Returns:
        [..., (n - 400) // 160 + 1, 64] natural log of mel power.
    """
    window = torch.hann_window(WINDOW, dtype=samples.dtype, device=samples.device)
    frames = samples.unfold(-1, WINDOW, HOP) * window
    power = torch.fft.rfft(frames, n=PHONETIC_MEL.n_fft).abs().square()
    mel: Tensor = (power @ _mel_filters().to(samples) + PHONETIC_MEL.floor).log()
    return mel


def mel_span(wav: Sound, first: int, last: int) -> Tensor:
    """Log-mel frames ``first .. last - 1`` of a recording, silence outside it.

    Args:
        wav: [n] 16 kHz audio.
        first: index of the first mel frame; may be negative.
        last: one past the last mel frame; may lie beyond the end.

    Returns:
        [last - first, 64] natural log of mel power.
    """
    start, stop = first * HOP - LEAD, (last - 1) * HOP - LEAD + WINDOW
    inside = wav[min(max(start, 0), len(wav)) : min(max(stop, 0), len(wav))]
    before = min(max(0, -start), stop - start)
    padded = inside.new_zeros(stop - start)
    padded[before : before + len(inside)] = inside
    return log_mel(padded)


def frame_levels(mel: Tensor) -> Tensor:
    """Natural log of each frame's total mel power, [..., T] of log-mels [..., T, 64]."""
    return mel.logsumexp(-1)


def measure(wav: Sound, *, chunk_s: float = 10.0) -> SpeechStats:
    """Measure level and mean spectrum in two passes, holding one chunk of mels at a time.

    Args:
        wav: [n] 16 kHz audio in [-1, 1].
        chunk_s: length of a chunk in seconds.
    """
    total = max(1, -(-len(wav) // HOP))
    step = max(1, int(chunk_s * SAMPLE_RATE_HZ / HOP))
    spans = [(a, min(total, a + step)) for a in range(0, total, step)]
    # At once: small pieces made between large ones would keep the heap from shrinking.
    levels = torch.empty(total, dtype=wav[:0].dtype)
    for a, b in spans:
        levels[a:b] = frame_levels(mel_span(wav, a, b))
    level = max(percentile95(levels), _QUIETEST_LEVEL)
    weight, summed = 0, torch.zeros(N_MELS, dtype=torch.float64)
    for a, b in spans:
        chosen = levels[a:b] > level - SPEECH_RANGE
        summed += relative(mel_span(wav, a, b)[chosen], level).double().sum(0)
        weight += int(chosen.sum())
    return SpeechStats(level, (summed / max(weight, 1)).float())


def percentile95(levels: Tensor) -> float:
    """95th percentile; ``torch.quantile`` refuses more than 16 million values, sorting does not."""
    rank = max(1, round(0.95 * levels.numel()))
    return float(levels.kthvalue(rank).values)


def relative(mel: Tensor, level: float) -> Tensor:
    """Log-mels relative to the loud frames, floored 61 dB below them (nepers)."""
    return (mel - level).clamp_min(-_DYNAMIC_RANGE)


def normalise(mel: Tensor, stats: SpeechStats) -> Tensor:
    """The network's input: level and mean spectrum removed, about unit variance. [..., T, 64]."""
    return (relative(mel, stats.level) - stats.mean.to(mel)) / _SCALE


def relative_levels(mel: Tensor, stats: SpeechStats) -> Tensor:
    """Loudness of each frame against the loud ones, 0 loud, -1 at the floor (61 dB). [..., T]."""
    span = (frame_levels(mel) - stats.level).clamp(-_DYNAMIC_RANGE, _DYNAMIC_RANGE)
    return span / _DYNAMIC_RANGE


def stretch_bands(mel: Tensor, factor: float) -> Tensor:
    """Log-mels of a vocal tract ``factor`` times as long: bands scaled, [..., T, 64] or [64]."""
    place = (torch.arange(N_MELS) * factor).clamp(0, N_MELS - 1.001)
    low = place.long()
    return torch.lerp(mel[..., low], mel[..., low + 1], (place - low).to(mel))
