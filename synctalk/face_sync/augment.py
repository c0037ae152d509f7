"""Rooms, microphones and noises: what stands between a speaker and the encoder.

The encoder is pre-trained on disturbed speech and a subject's lip head is fitted on disturbed
copies of the subject's audio: a head fitted on clean audio alone loses half its accuracy in noise
(METHOD, "What a spike on audio → lips learnt").
"""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from synctalk.face_sync.encoder import AudioVisualEncoder
from synctalk.face_sync.speech import SAMPLE_RATE_HZ

_TAIL = 6400  # samples of reverberation kept
_BLOCK_S = 10
_BABBLE_VOICES = 4
_NOISY_COPIES = 3


def disturb(wav: Tensor, generator: torch.Generator, *, clean: float = 0.25) -> Tensor:
    """Disturb a batch of recordings, each in its own way.

    Random equaliser, band limits and room as one filter; then coloured noise or the babble of
    others in the batch at 0 to 30 dB.

    Args:
        wav: [B, n] audio at 16 kHz.
        generator: source of all randomness.
        clean: probability of leaving out each of filter, room and noise.

    Returns:
        [B, n] disturbed audio, same level within a few dB and in time with the input.
    """
    size = next_fast_len(wav.shape[1] + _TAIL, real=True)
    spectrum = torch.fft.rfft(wav, n=size)
    count, bins = spectrum.shape
    response = _keep(count, clean, generator, _equaliser(count, bins, generator))
    room = _keep(count, 0.5 + clean / 2, generator, _rooms(count, size, generator))
    filtered = torch.fft.irfft(spectrum * response * room, n=size)[:, : wav.shape[1]]
    noise = _noise(filtered, generator)
    loud = filtered.square().mean(1, keepdim=True).sqrt()
    snr_db = 30.0 * torch.rand(count, 1, generator=generator)
    on = torch.rand(count, 1, generator=generator) >= clean
    disturbed: Tensor = filtered + on * noise * loud * 10.0 ** (-snr_db / 20.0)
    return disturbed


def disturbed_features(
    encoder: AudioVisualEncoder,
    wav: Tensor,
    n_frames: int,
    *,
    copies: int = 3,
    seed: int = 0,
    causal: bool = False,
) -> list[Tensor]:
    """Features of a recording as it is and in ``copies`` disturbed forms, for fitting a head.

    Args:
        encoder: the frozen encoder.
        wav: [n] audio at 16 kHz.
        n_frames: video frames.
        copies: disturbed versions.
        seed: of the disturbances.
        causal: as in ``AudioVisualEncoder.encode``.

    Returns:
        1 + copies tensors [n_frames, D], the clean one first.
    """
    generator = torch.Generator().manual_seed(seed)
    block = _BLOCK_S * SAMPLE_RATE_HZ
    blocks = torch.nn.functional.pad(wav, (0, -len(wav) % block)).reshape(-1, block)
    rows = [encoder.encode(wav, n_frames, causal=causal)]
    for _ in range(copies):
        changed = disturb(blocks, generator).reshape(-1)[: len(wav)]
        rows.append(encoder.encode(changed, n_frames, causal=causal))
    return rows


def features_of_strangers(
    encoder: AudioVisualEncoder, wav: Tensor, n_frames: int, *, seed: int = 0
) -> list[Tensor]:
    """Features of a recording heard as a recording and as live, in quiet and in noise.

    A head fitted on them follows strangers in noisy rooms and live sessions; one fitted on rooms
    and equalisers follows strangers less well (docs/research/face-sync.md).

    Args:
        encoder: the frozen encoder.
        wav: [n] audio at 16 kHz.
        n_frames: video frames.
        seed: of the noise.

    Returns:
        Tensors [n_frames, D], the clean recording first.
    """
    generator = torch.Generator().manual_seed(seed)
    block = _BLOCK_S * SAMPLE_RATE_HZ
    blocks = torch.nn.functional.pad(wav, (0, -len(wav) % block)).reshape(-1, block)
    loud = blocks.square().mean(1, keepdim=True).sqrt()
    rows = [encoder.encode(wav, n_frames), encoder.encode(wav, n_frames, causal=True)]
    for _ in range(_NOISY_COPIES):
        snr_db = 5.0 + 20.0 * torch.rand(len(blocks), 1, generator=generator)
        noise = _noise(blocks, generator) * loud * 10.0 ** (-snr_db / 20.0)
        heard = (blocks + noise).reshape(-1)[: len(wav)]
        rows += [encoder.encode(heard, n_frames, causal=causal) for causal in (False, True)]
    return rows


def _keep(count: int, probability: float, generator: torch.Generator, change: Tensor) -> Tensor:
    """``change`` [B, F] with some rows replaced by 1, doing nothing."""
    kept = torch.rand(count, 1, generator=generator) < probability
    return torch.where(kept, torch.ones_like(change), change)


def _equaliser(count: int, bins: int, generator: torch.Generator) -> Tensor:
    """[B, F] smooth gains of +-9 dB, half of them with a low-pass (telephones, codecs)."""
    knots = 6.0 * torch.randn(count, 1, 7, generator=generator)
    gain_db = torch.nn.functional.interpolate(
        knots.clamp(-9.0, 9.0), size=bins, mode="linear", align_corners=True
    )[:, 0]
    cut_hz = 3000.0 + 10000.0 * torch.rand(count, 1, generator=generator)
    hz = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, bins)
    low_pass = torch.sigmoid((cut_hz - hz) / 100.0)
    return 10.0 ** (gain_db / 20.0) * low_pass


def _rooms(count: int, size: int, generator: torch.Generator) -> Tensor:
    """[B, F] responses of small rooms: the direct sound and decaying noise after it."""
    time_s = torch.arange(_TAIL) / SAMPLE_RATE_HZ
    reverberation_s = 0.1 + 0.5 * torch.rand(count, 1, generator=generator)
    share = 0.6 * torch.rand(count, 1, generator=generator)
    tail = torch.randn(count, _TAIL, generator=generator) * torch.exp(
        -6.9 * time_s / reverberation_s
    )
    tail = share * tail / tail.norm(dim=1, keepdim=True)
    tail[:, 0] += 1.0
    response: Tensor = torch.fft.rfft(tail, n=size)
    return response


def _noise(wav: Tensor, generator: torch.Generator) -> Tensor:
    """[B, n] noise of unit level: coloured, or several of the other recordings at once."""
    count, n = wav.shape
    size = next_fast_len(n, real=True)
    spectrum = torch.fft.rfft(torch.randn(count, size, generator=generator))
    tilt = 0.7 * torch.rand(count, 1, generator=generator)
    frequency = torch.arange(spectrum.shape[1]).clamp_min(n // 200).float()
    coloured = torch.fft.irfft(spectrum / frequency**tilt, n=size)[:, :n]
    picks = torch.randint(count, (count, _BABBLE_VOICES), generator=generator)
    shift = int(torch.randint(1, n, (1,), generator=generator))
    babble = wav.roll(shift, 1)[picks].sum(1)
    speech_like = torch.rand(count, 1, generator=generator) < 0.4
    mixed: Tensor = torch.where(speech_like, babble, coloured)
    level: Tensor = mixed.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    noise: Tensor = mixed / level
    return noise
