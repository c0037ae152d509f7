"""Mel spectrograms in plain numpy: METHOD row 1's, and any other by its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class MelConfig:
    """One kind of mel spectrogram. The defaults are those of the audio-visual encoder.

    Args:
        sample_rate: Hz.
        n_fft: transform length, samples.
        win_length: Hann window length, samples (centred in ``n_fft``).
        hop_length: samples between frames; 200 gives 80 frames a second.
        n_mels: bands (Slaney scale and area normalisation, librosa's default).
        f_min: Hz, lower edge of the lowest band.
        f_max: Hz, upper edge of the highest band.
        pre_emphasis: y[n] = x[n] - k x[n-1]; 0 for none.
        power: 1 for magnitudes, 2 for power.
        floor: smallest value before the logarithm.
    """

    sample_rate: int = 16000
    n_fft: int = 800
    win_length: int = 800
    hop_length: int = 200
    n_mels: int = 80
    f_min: float = 55.0
    f_max: float = 7600.0
    pre_emphasis: float = 0.97
    power: float = 1.0
    floor: float = 1e-5


SYNC_MEL = MelConfig()
"""METHOD row 1: 80 bands, 55-7600 Hz, 50 ms windows every 12.5 ms."""

PHONETIC_MEL = MelConfig(
    n_fft=512,
    win_length=400,
    hop_length=160,
    n_mels=64,
    f_min=60.0,
    f_max=7600.0,
    pre_emphasis=0.0,
    power=2.0,
    floor=1e-10,
)
"""64 log-mels, 60-7600 Hz, 25 ms windows every 10 ms."""

_REFERENCE_DB = 20.0
_RANGE_DB = 100.0
_CLIP = 4.0


def mel_spectrogram(wav: FloatArray) -> FloatArray:
    """The normalised mel spectrogram of METHOD row 1.

    Pre-emphasis, magnitude, mel, 20 log10 with a -20 dB reference, then -100..0 dB mapped to
    -4..4 and clipped.

    Args:
        wav: [n] mono, 16 kHz, -1..1.

    Returns:
        [1 + n // 200, 80] float32 in -4..4; frame i is centred on sample 200 i.
    """
    db = 20.0 * np.log10(mel_energies(wav, SYNC_MEL)) - _REFERENCE_DB
    scaled = (db + _RANGE_DB) / _RANGE_DB * 2.0 * _CLIP - _CLIP
    return np.clip(scaled, -_CLIP, _CLIP).astype(np.float32)


def log_mel(wav: FloatArray, config: MelConfig = PHONETIC_MEL) -> FloatArray:
    """Natural logarithm of the mel energies.

    Args:
        wav: [n] mono at ``config.sample_rate``.
        config: kind of spectrogram.

    Returns:
        [1 + n // hop_length, n_mels] float32, at least ``log(floor)``.
    """
    return np.log(mel_energies(wav, config)).astype(np.float32)


def mel_energies(wav: FloatArray, config: MelConfig) -> NDArray[np.float64]:
    """Floored mel energies [1 + n // hop_length, n_mels], frames centred by zero padding."""
    signal = np.asarray(wav, np.float64)
    if signal.ndim != 1:
        raise ValueError(f"expected mono audio [n], got shape {signal.shape}")
    if config.pre_emphasis and len(signal):
        signal = np.append(signal[0], signal[1:] - config.pre_emphasis * signal[:-1])
    padded = np.pad(signal, config.n_fft // 2)
    n_frames = 1 + len(signal) // config.hop_length
    if len(padded) < config.n_fft:
        padded = np.pad(padded, (0, config.n_fft - len(padded)))
    frames = sliding_window_view(padded, config.n_fft)[:: config.hop_length][:n_frames]
    bank = mel_filterbank(config)
    out = np.empty((n_frames, config.n_mels))
    for start in range(0, n_frames, 1024):  # keeps memory bounded at any length
        block = frames[start : start + 1024] * _window(config)
        magnitude = np.abs(np.fft.rfft(block, axis=1)) ** config.power
        out[start : start + 1024] = magnitude @ bank.T
    return np.maximum(out, config.floor)


@lru_cache(maxsize=8)
def mel_filterbank(config: MelConfig) -> NDArray[np.float64]:
    """Triangular filters [n_mels, 1 + n_fft // 2] on Slaney's scale, each of unit area in Hz."""
    hz = np.linspace(0.0, config.sample_rate / 2, 1 + config.n_fft // 2)
    ends = _hz_to_mel(np.array([config.f_min, config.f_max]))
    edges = _mel_to_hz(np.linspace(ends[0], ends[1], config.n_mels + 2))
    ramps = edges[:, None] - hz[None, :]
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None])


@lru_cache(maxsize=8)
def _window(config: MelConfig) -> NDArray[np.float64]:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.win_length) / config.win_length)
    left = (config.n_fft - config.win_length) // 2
    return np.pad(hann, (left, config.n_fft - config.win_length - left))


# Slaney's scale: linear to 1 kHz (3 mels per 200 Hz), then 27 mels for each factor of 6.4.
_LINEAR_HZ = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    log_part = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, log_part)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    log_part = _BREAK_HZ * np.exp(_LOG_STEP * np.maximum(mel - _BREAK_MEL, 0.0))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, log_part)
