"""The mel spectrogram against an independent computation, and against known sounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synctalk.media import PHONETIC_MEL, SYNC_MEL, MelConfig, log_mel, mel_spectrogram
from synctalk.media.mel import mel_filterbank

SPEECH_LIKE = (
    0.3 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)
    + 0.1 * np.random.default_rng(3).standard_normal(16000)
).astype(np.float32)


def slaney_hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def slaney_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def independent_bank(n_fft: int, n_mels: int, f_min: float, f_max: float) -> np.ndarray:
    """Triangles written out one bin at a time."""
    lo, hi = slaney_mel(f_min), slaney_mel(f_max)
    edges = [slaney_hz(lo + (hi - lo) * k / (n_mels + 1)) for k in range(n_mels + 2)]
    bank = np.zeros((n_mels, n_fft // 2 + 1))
    for m in range(n_mels):
        left, peak, right = edges[m : m + 3]
        for k in range(n_fft // 2 + 1):
            f = k * 16000 / n_fft
            if left < f <= peak:
                bank[m, k] = (f - left) / (peak - left)
            elif peak < f < right:
                bank[m, k] = (right - f) / (right - peak)
        bank[m] *= 2 / (right - left)
    return bank


def test_filterbank_is_slaneys() -> None:
    wanted = independent_bank(800, 80, 55, 7600)
    assert np.abs(mel_filterbank(SYNC_MEL) - wanted).max() < 1e-12


def test_filterbank_has_the_published_corner_values() -> None:
    # librosa.filters.mel(sr=22050, n_fft=2048, n_mels=128): peak of the first band, from its docs.
    bank = mel_filterbank(MelConfig(22050, 2048, 2048, 512, 128, 0.0, 11025.0))
    assert bank.shape == (128, 1025)
    assert bank[0, 1] == pytest.approx(0.016, abs=0.0005)


def test_sync_mel_equals_torch_stft() -> None:
    emphasised = np.append(SPEECH_LIKE[0], SPEECH_LIKE[1:] - 0.97 * SPEECH_LIKE[:-1])
    window = torch.hann_window(800, periodic=True, dtype=torch.float64)
    spectrum = torch.stft(
        torch.from_numpy(emphasised.astype(np.float64)),
        800,
        200,
        window=window,
        center=True,
        pad_mode="constant",
        return_complex=True,
    ).abs()
    mel = independent_bank(800, 80, 55, 7600) @ spectrum.numpy()
    wanted = np.clip((20 * np.log10(np.maximum(mel, 1e-5)) - 20 + 100) / 100 * 8 - 4, -4, 4)
    got = mel_spectrogram(SPEECH_LIKE)
    assert got.shape == (81, 80)
    assert got.dtype == np.float32
    assert np.abs(got - wanted.T).max() < 1e-5


def test_silence_is_minus_four_and_loudness_is_clipped_at_four() -> None:
    assert np.all(mel_spectrogram(np.zeros(4000, np.float32)) == -4)
    assert mel_spectrogram(1e6 * SPEECH_LIKE).max() == 4


def test_a_tone_peaks_in_its_band() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    band = int(log_mel(tone)[50].argmax())
    lo, hi = slaney_mel(60), slaney_mel(7600)
    centre = slaney_hz(lo + (hi - lo) * (band + 1) / 65)
    assert centre == pytest.approx(1000, rel=0.05)


def test_an_impulse_lands_in_its_frame() -> None:
    wav = np.zeros(16000, np.float32)
    wav[8000] = 1
    assert int(mel_spectrogram(wav).sum(1).argmax()) == 8000 // 200
    assert int(log_mel(wav).sum(1).argmax()) == 8000 // 160


@pytest.mark.parametrize("n", [0, 1, 199, 200, 4001])
def test_any_length_has_its_frames(n: int) -> None:
    wav = np.ones(n, np.float32)
    assert mel_spectrogram(wav).shape == (1 + n // 200, 80)
    assert log_mel(wav).shape == (1 + n // 160, PHONETIC_MEL.n_mels)


def test_only_mono_is_accepted() -> None:
    with pytest.raises(ValueError, match="mono"):
        mel_spectrogram(np.zeros((2, 400), np.float32))
