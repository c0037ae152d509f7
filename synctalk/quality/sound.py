"""What the sound tells: level, noise, clipping, speech, and whether the lips agree with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from synctalk.media.mel import log_mel

FloatArray = NDArray[np.float64]

RATE = 16000
FPS = 25
_HOP = 160  # 10 ms
_QUIETEST_DBFS = -90.0
_PAUSE = 30  # 10 ms steps: shorter pauses belong to the speech around them
_LAGS = 25  # frames looked at on each side
_PEAK = 5  # frames around the best lag that belong to it


@dataclass(frozen=True)
class Sound:
    """Args:
    level_dbfs: RMS of the speech.
    snr_db: speech above the background.
    clipped_share: share of samples in flat tops at full scale.
    speech: [T] bool per video frame, short pauses included.
    """

    level_dbfs: float
    snr_db: float
    clipped_share: float
    speech: NDArray[np.bool_]


@dataclass(frozen=True)
class LipOffset:
    """How the mouth's motion and the sound's agree.

    Args:
        sound_late_ms: the lag at which they agree best; positive where the sound is late.
        agreement: correlation there.
        confidence: 0..1, 1 - (best agreement elsewhere / best agreement).
        agreements: [2 * 25 + 1] correlation at each lag from -1 s to 1 s.
    """

    sound_late_ms: float
    agreement: float
    confidence: float
    agreements: FloatArray


def analyse_sound(wav: NDArray[np.float32], n_frames: int) -> Sound:
    """Measure ``wav`` [n] (16 kHz mono) of a clip of ``n_frames`` frames."""
    power = _power(wav)
    decibels = np.maximum(10 * np.log10(power + 1e-12), _QUIETEST_DBFS)
    floor, top = np.percentile(decibels, [10, 95])
    threshold = floor + max(6.0, 0.35 * (top - floor))
    spoken = _close_pauses((decibels > threshold) & (decibels > -60.0))
    level = _mean_db(power[spoken]) if spoken.any() else _mean_db(power)
    background = max(_mean_db(power[decibels <= floor + 1.0]), _QUIETEST_DBFS)
    steps = RATE // FPS // _HOP
    padded = np.zeros(n_frames * steps, bool)
    padded[: min(len(spoken), len(padded))] = spoken[: len(padded)]
    speech = np.asarray(padded.reshape(n_frames, steps).any(axis=1))
    return Sound(level, level - background, _clipped_share(wav), speech)


def lip_offset(mouth_gap: FloatArray, wav: NDArray[np.float32]) -> LipOffset | None:
    """Cross-correlate the mouth's opening speed with the growth of the sound's level.

    Correlating changes instead of values makes the peak as sharp as the syllables are.

    Args:
        mouth_gap: [T] at 25 fps; NaN where unknown.
        wav: [n] 16 kHz mono.

    Returns:
        None where there is too little to compare.
    """
    known = np.isfinite(mouth_gap)
    if known.sum() < 3 * _LAGS:
        return None
    frames = np.arange(len(mouth_gap))
    gap = np.interp(frames, frames[known], mouth_gap[known])
    lips, sound = np.gradient(gap), np.gradient(loudness(wav, len(gap)))
    if lips.std() < 1e-9 or sound.std() < 1e-9:
        return None
    curve = np.array([_agreement(lips, sound, lag) for lag in range(-_LAGS, _LAGS + 1)])
    best = int(curve.argmax())
    elsewhere = np.delete(curve, range(max(0, best - _PEAK), min(len(curve), best + _PEAK + 1)))
    confidence = float(np.clip(1 - elsewhere.max() / max(curve[best], 1e-9), 0, 1))
    late = (best + _vertex(curve, best) - _LAGS) * 1000 / FPS
    return LipOffset(late, float(curve[best]), confidence, curve)


def loudness(wav: NDArray[np.float32], n_frames: int) -> FloatArray:
    """[T] mean log-mel level at the middle of each video frame, smoothed over 40 ms."""
    level = log_mel(np.asarray(wav, np.float32)).mean(1).astype(np.float64)
    level = np.convolve(level, np.full(4, 0.25), "same")
    middle = (np.arange(n_frames) + 0.5) / FPS * RATE / _HOP
    return np.interp(middle, np.arange(len(level)), level)


def _agreement(lips: FloatArray, sound: FloatArray, lag: int) -> float:
    n = len(lips) - abs(lag)
    a, b = lips[max(0, -lag) :][:n], sound[max(0, lag) :][:n]
    spread = float(a.std() * b.std())
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread if spread > 0 else 0.0


def _vertex(curve: FloatArray, i: int) -> float:
    """Where a parabola through the neighbours of ``i`` peaks, relative to ``i``."""
    if not 0 < i < len(curve) - 1:
        return 0.0
    bend = curve[i - 1] - 2 * curve[i] + curve[i + 1]
    return float(0.5 * (curve[i - 1] - curve[i + 1]) / bend) if bend < 0 else 0.0


def _power(wav: NDArray[np.float32]) -> FloatArray:
    n = len(wav) // _HOP
    blocks = np.asarray(wav[: n * _HOP], np.float64).reshape(n, _HOP)
    return (blocks**2).mean(1) if n else np.zeros(1)


def _mean_db(power: FloatArray) -> float:
    return float(10 * np.log10(power.mean() + 1e-12)) if len(power) else _QUIETEST_DBFS


def _close_pauses(spoken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    at = np.flatnonzero(spoken)
    closed = spoken.copy()
    for a, b in pairwise(at):
        if 1 < b - a <= _PAUSE:
            closed[a:b] = True
    return closed


def _clipped_share(wav: NDArray[np.float32]) -> float:
    """Samples in runs of three or more at the clip's own extreme, when that is near full scale."""
    peak = float(np.abs(wav).max(initial=0.0))
    if peak < 0.5:
        return 0.0
    flat = np.abs(wav) >= peak - 1.5 / 32768
    runs = flat[:-2] & flat[1:-1] & flat[2:]
    return float(runs.sum()) / max(1, len(wav))
