"""Made music: what the encoder has to hear a voice through, and must not take for one.

Chords, melodies and drums of random instruments, so that nothing recorded is needed. Some pieces of
a teacher's speech are replaced by it and named silence, and it plays under others.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.face_sync.sounds import SOUNDS
from synctalk.face_sync.speech import HOP, SAMPLE_RATE_HZ

_SECONDS = 10
_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 5, 7), (0, 7, 12))
_SCALE = (0, 2, 4, 5, 7, 9, 11)
_ALONE, _UNDER = 0.12, 0.15  # shares of the crops
_FADE = 2 * HOP

Wave = NDArray[np.float32]


def make_music(count: int, seed: int) -> Tensor:
    """[count, n] pieces of ten seconds at 16 kHz, each of unit RMS."""
    rng = np.random.default_rng(seed)
    pieces = np.stack([_piece(rng) for _ in range(count)])
    return torch.from_numpy(pieces / np.sqrt(np.square(pieces).mean(1, keepdims=True)))


def add_music(
    wav: Tensor, sounds: Tensor, music: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Let music take the place of a stretch of some recordings, and play under others.

    Args:
        wav: [B, n] speech at 16 kHz.
        sounds: [B, n / 160] its labels.
        music: [M, n'] from :func:`make_music`, n' at least n.
        generator: source of all randomness.

    Returns:
        Audio and labels, silence where music stands alone.
    """
    loud = wav.square().mean(1).sqrt().clamp_min(1e-3)
    heard, labels = wav.clone(), sounds.clone()
    for row, kind in enumerate(torch.rand(len(wav), generator=generator).tolist()):
        if kind >= _ALONE + _UNDER:
            continue
        level_db = -20.0 * float(torch.rand(1, generator=generator)) - 5.0 * (kind >= _ALONE)
        gain = loud[row] * 10.0 ** (level_db / 20.0)
        piece = gain * _excerpt(music, wav.shape[1], generator)
        if kind >= _ALONE:
            heard[row] += piece
            continue
        steps = labels.shape[1]
        length = int(torch.randint(steps // 8, steps, (1,), generator=generator))
        first = int(torch.randint(steps - length, (1,), generator=generator))
        share = _window(wav.shape[1], first * HOP, (first + length) * HOP)
        heard[row] = (1.0 - share) * heard[row] + share * piece
        labels[row, first : first + length] = SOUNDS.index("sil")
    return heard, labels


def _excerpt(music: Tensor, n: int, generator: torch.Generator) -> Tensor:
    piece = int(torch.randint(len(music), (1,), generator=generator))
    first = int(torch.randint(music.shape[1] - n + 1, (1,), generator=generator))
    return music[piece, first : first + n]


def _window(n: int, first: int, last: int) -> Tensor:
    """[n] 1 from ``first`` to ``last``, faded at both ends."""
    place = torch.arange(n)
    return torch.minimum((place - first) / _FADE, (last - place) / _FADE).clamp(0.0, 1.0)


def _piece(rng: np.random.Generator) -> Wave:
    """Chords, a melody and drums, or some of them."""
    out = np.zeros(_SECONDS * SAMPLE_RATE_HZ, np.float32)
    beat_s, root = 60.0 / rng.uniform(60, 160), int(rng.integers(36, 60))
    parts = rng.random(3) < (0.75, 0.6, 0.5)
    parts[int(rng.integers(3))] = True
    if parts[0]:
        _play(out, rng, _chords(rng, beat_s, root))
    if parts[1]:
        _play(out, rng, _melody(rng, beat_s, root + 12 * int(rng.integers(1, 4))))
    if parts[2]:
        _drum(out, rng, beat_s)
    return out


Note = tuple[float, float, int]  # begin and length in seconds, MIDI key


def _chords(rng: np.random.Generator, beat_s: float, root: int) -> list[Note]:
    notes, begin = [], 0.0
    while begin < _SECONDS:
        length = beat_s * float(rng.choice([1, 2, 4]))
        key = root + int(rng.choice([0, 5, 7, 9, -3])) + 12 * int(rng.integers(0, 2))
        chord = _CHORDS[int(rng.integers(len(_CHORDS)))]
        notes += [(begin, length, key + step) for step in chord]
        begin += length
    return notes


def _melody(rng: np.random.Generator, beat_s: float, root: int) -> list[Note]:
    notes, begin = [], 0.0
    while begin < _SECONDS:
        length = beat_s * float(rng.choice([0.25, 0.5, 1, 2]))
        if rng.random() < 0.85:
            notes.append((begin, length, root + _SCALE[int(rng.integers(len(_SCALE)))]))
        begin += length
    return notes


def _play(out: Wave, rng: np.random.Generator, notes: list[Note]) -> None:
    """Add ``notes`` by one random instrument: its partials, its attack and decay, its vibrato."""
    partials = np.arange(1, int(rng.integers(2, 13)))
    strength = partials ** -rng.uniform(0.3, 2.0) * rng.uniform(0.2, 1.0, len(partials))
    if rng.random() < 0.3:
        strength[1::2] *= 0.1  # a reed, closed at one end
    attack_s, decay = rng.uniform(0.003, 0.08), rng.choice([0.0, rng.uniform(1, 8)])
    depth, rate_hz = rng.choice([0.0, rng.uniform(0, 0.006)]), rng.uniform(4, 7)
    gain = rng.uniform(0.3, 1.0)
    for begin, length, key in notes:
        first = int(begin * SAMPLE_RATE_HZ)
        count = min(int(1.05 * length * SAMPLE_RATE_HZ), len(out) - first)
        if count <= 0:
            continue
        time = np.arange(count) / SAMPLE_RATE_HZ
        hz = 440.0 * 2.0 ** ((key - 69) / 12)
        phase = 2 * np.pi * hz * (time + depth * np.sin(2 * np.pi * rate_hz * time) / rate_hz)
        heard = partials * hz < SAMPLE_RATE_HZ / 2
        tone = strength[heard] @ np.sin(np.outer(partials[heard], phase))
        envelope = np.minimum(time / attack_s, 1.0) * np.exp(-decay * time)
        envelope *= np.minimum((count - np.arange(count)) / (0.03 * SAMPLE_RATE_HZ), 1.0)
        out[first : first + count] += np.float32(gain * envelope * tone)


def _drum(out: Wave, rng: np.random.Generator, beat_s: float) -> None:
    """Add noise bursts and falling tones on a pattern of half beats that repeats."""
    pattern = rng.choice(3, 8, p=(0.4, 0.35, 0.25))  # nothing, noise, a falling tone
    decay, gain = rng.uniform(10, 50, 3), rng.uniform(0.5, 2.0)
    count = int(0.25 * SAMPLE_RATE_HZ)
    time = np.arange(count) / SAMPLE_RATE_HZ
    fall_hz = rng.uniform(40, 90) + rng.uniform(50, 200) * np.exp(-30 * time)
    tone = np.sin(2 * np.pi * np.cumsum(fall_hz) / SAMPLE_RATE_HZ)
    for number, begin in enumerate(np.arange(0.0, _SECONDS - 0.26, beat_s / 2)):
        kind = pattern[number % 8]
        if kind:
            sound = rng.standard_normal(count) if kind == 1 else 2.0 * tone
            first = int(begin * SAMPLE_RATE_HZ)
            out[first : first + count] += np.float32(gain * np.exp(-decay[kind] * time) * sound)
