"""What a voice does beside the words: loudness, pitch, pauses; one value a video frame.

Pitch is the highest peak of the autocorrelation of 64 ms windows over that of the window itself
(P. Boersma, 1993), short lags preferred. Sound is read in pieces, so memory does not grow with its
length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FPS = 25
SAMPLE_RATE_HZ = 16_000
HOP = 160
HOPS_PER_FRAME = SAMPLE_RATE_HZ // FPS // HOP
WINDOW = 1024
PIECE_HOPS = 500

PITCH_HZ = (65.0, 400.0)
OCTAVE_COST = 0.08  # of each octave that a lag is longer: a multiple of the period is no better
VOICED_PERIODICITY = 0.6
FLOOR_DB, VOICED_DB, QUIET_DB = -45.0, -30.0, -26.0  # against the loud frames
SILENCE_DBFS = -65.0  # a whole recording below this is silence, not quiet speech
LOUD_PERCENTILE = 95
PITCH_MEDIAN_HOPS = 9
WIDEST_SEMITONES = 12.0
LEAST_PAUSE_S = 0.16

FloatArray = NDArray[np.float32]


class Waveform(Protocol):
    """[n] samples, of which spans are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> ArrayLike: ...


@dataclass(frozen=True)
class Prosody:
    """A voice, frame by frame.

    Args:
        loudness_db: [T] against the speaker's loud frames, -45 to 5.
        pitch_semitones: [T] against the speaker's median, interpolated where there is no voice.
        voiced: [T] share of the frame with a voice, 0 to 1.
    """

    loudness_db: FloatArray
    pitch_semitones: FloatArray
    voiced: FloatArray

    def __len__(self) -> int:
        return len(self.voiced)

    @property
    def quiet(self) -> NDArray[np.bool_]:
        """[T] where nobody speaks."""
        smooth = smoothed(self.loudness_db, 1.0) if len(self) else self.loudness_db
        return np.asarray(smooth < QUIET_DB)

    @property
    def pauses(self) -> NDArray[np.int64]:
        """[P, 2] first frame of each pause and one past its last."""
        edges = np.diff(self.quiet.astype(np.int8), prepend=0, append=0)
        spans = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
        kept: NDArray[np.int64] = spans[spans[:, 1] - spans[:, 0] >= LEAST_PAUSE_S * FPS]
        return kept


def smoothed(values: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Values [T], at least one, blurred by a Gaussian; reflected at the ends."""
    taps = 2 * int(4 * sigma + 0.5) + 1
    column = cv2.GaussianBlur(
        values[:, None], (1, taps), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT
    )
    return np.asarray(column[:, 0])


def measure_prosody(wav: Waveform, n_frames: int) -> Prosody:
    """Loudness and pitch of a recording.

    Args:
        wav: [n] 16 kHz in [-1, 1]: an array, or what reads spans of it from a file.
        n_frames: video frames wanted; silence follows the last sample.
    """
    hops = n_frames * HOPS_PER_FRAME
    if not hops:
        return Prosody(*(np.zeros(0, np.float32),) * 3)
    found = np.empty((3, hops))  # at once: small pieces between large ones would split the heap
    for first in range(0, hops, PIECE_HOPS):
        stop = min(first + PIECE_HOPS, hops)
        found[:, first:stop] = _hops(wav, first, stop)
    level_db, pitch_hz, periodicity = found
    loud = max(float(np.percentile(level_db, LOUD_PERCENTILE)), SILENCE_DBFS)
    level_db = np.clip(level_db - loud, FLOOR_DB, 5.0)
    voiced = (periodicity > VOICED_PERIODICITY) & (level_db > VOICED_DB)
    if level_db.max() <= FLOOR_DB or loud <= SILENCE_DBFS:
        level_db, voiced = np.full_like(level_db, FLOOR_DB), np.zeros_like(voiced)
    rows = (level_db, _semitones(pitch_hz, voiced), voiced.astype(float))
    return Prosody(*(row.reshape(-1, HOPS_PER_FRAME).mean(1).astype(np.float32) for row in rows))


def _hops(wav: Waveform, first: int, stop: int) -> NDArray[np.float64]:
    """[3, stop - first] level (dBFS), pitch (Hz) and periodicity of 10 ms hops."""
    begin = first * HOP + HOP // 2 - WINDOW // 2
    end = (stop - 1) * HOP + HOP // 2 + WINDOW // 2
    inside = np.asarray(wav[max(begin, 0) : max(end, 0)], np.float64)
    padded = np.zeros(end - begin)
    lead = max(-begin, 0)
    padded[lead : lead + len(inside)] = inside
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    frames = (frames - frames.mean(1, keepdims=True)) * np.hanning(WINDOW)
    level = 10 * np.log10(np.square(frames).mean(1) + 1e-12)
    return np.stack([level, *_periods(frames)])


def _periods(frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pitch (Hz) and periodicity of windowed frames [H, WINDOW]."""
    shortest, longest = (int(SAMPLE_RATE_HZ / hz) for hz in reversed(PITCH_HZ))
    power = np.abs(np.fft.rfft(frames, 2 * WINDOW)) ** 2
    correlation = np.fft.irfft(power)[:, : longest + 1]
    ratio = correlation / (correlation[:, :1] + 1e-9) / _window_correlation(longest + 1)
    lags = np.arange(shortest, longest + 1)
    liked = ratio[:, lags] * (1 - OCTAVE_COST * np.log2(lags / shortest))
    best = lags[liked.argmax(1)]
    return SAMPLE_RATE_HZ / best, ratio[np.arange(len(frames)), best]


@lru_cache(maxsize=1)
def _window_correlation(n: int) -> NDArray[np.float64]:
    window = np.hanning(WINDOW)
    full = np.correlate(window, window, "full")[WINDOW - 1 :]
    return np.asarray(full[:n] / full[0])


def _semitones(pitch_hz: NDArray[np.float64], voiced: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Semitones against the median; a straight line where there is no voice."""
    if not voiced.any():
        return np.zeros(len(pitch_hz))
    octaves = np.log2(pitch_hz)
    semitones = 12 * (octaves - np.median(octaves[voiced]))
    known = np.flatnonzero(voiced)
    filled = np.interp(np.arange(len(semitones)), known, semitones[known])
    around = np.pad(filled, PITCH_MEDIAN_HOPS // 2, mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(around, PITCH_MEDIAN_HOPS)
    spans = range(0, len(windows), PIECE_HOPS)
    steady = np.concatenate([np.median(windows[a : a + PIECE_HOPS], axis=1) for a in spans])
    return np.asarray(np.clip(steady, -WIDEST_SEMITONES, WIDEST_SEMITONES))
