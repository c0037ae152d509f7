"""What the encoder's heads learn from: frames of speech as heard, and what is said and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot, pad

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Voice
from synctalk.face_sync.encoder import LAYOUT, AudioVisualEncoder
from synctalk.face_sync.recordings import Recording
from synctalk.face_sync.sounds import SOUNDS
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

_T = TypeVar("_T")
_AT_ONCE = 8  # recordings disturbed together: they are one another's babble
_SLOWEST, _FASTEST = 0.85, 1.2
_SPREAD = torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 0.5])  # a frame's own 40 ms and half of 10 beside


@dataclass(frozen=True)
class Examples:
    """Frames that were heard.

    Args:
        tokens: [N, 288] float16.
        sounds: [N, 39] share of each sound; NaN where nobody knows what is said.
        lips: [N, 2] opening and width in the speaker's standard deviations; NaN where not seen.
    """

    tokens: Tensor
    sounds: Tensor
    lips: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """All of them."""
        return cls(
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.sounds for p in parts]),
            torch.cat([p.lips for p in parts]),
        )

    def __len__(self) -> int:
        """How many frames."""
        return len(self.tokens)


def examples_of_voices(
    encoder: AudioVisualEncoder,
    voices: Sequence[Voice],
    copies: int,
    generator: torch.Generator,
    progress: ProgressCallback = ignore_progress,
) -> Examples:
    """Voices as they are and ``copies`` times disturbed and sped up, heard both ways."""
    shown = StageProgress(progress, "hearing voices", len(voices) * (1 + copies))
    parts = []
    for copy in range(1 + copies):
        for group in _groups(voices):
            said = [_sped(voice, generator) if copy else voice for voice in group]
            wavs = _disturbed([voice.wav for voice in said], generator) if copy else None
            for index, voice in enumerate(said):
                wav = voice.wav if wavs is None else wavs[index]
                sounds = soft_labels(voice.sounds, len(voice.sounds) // speech.MELS_PER_FRAME)
                unseen = torch.full((len(sounds), 2), torch.nan)
                parts += list(_heard(encoder, wav, sounds, unseen))
                shown.advance()
    return Examples.joined(parts)


def examples_of_recordings(
    encoder: AudioVisualEncoder,
    recordings: Sequence[Recording],
    copies: int,
    generator: torch.Generator,
    progress: ProgressCallback = ignore_progress,
) -> Examples:
    """Filmed speakers as they are and ``copies`` times disturbed, heard both ways."""
    shown = StageProgress(progress, "hearing clips", len(recordings) * (1 + copies))
    parts = []
    for copy in range(1 + copies):
        for group in _groups(recordings):
            wavs = [recording.wav for recording in group]
            wavs = _disturbed(wavs, generator) if copy else wavs
            for recording, wav in zip(group, wavs, strict=True):
                frames = len(recording.valid)
                sounds = torch.full((frames, len(SOUNDS)), torch.nan)
                if len(recording.sounds):
                    sounds = soft_labels(recording.sounds, frames)
                parts += list(_heard(encoder, wav, sounds, _standardised(recording, recordings)))
                shown.advance()
    return Examples.joined(parts)


def soft_labels(sounds: Tensor, frames: int) -> Tensor:
    """[frames, 39] share of each sound in each frame, from labels [4 frames] every 10 ms."""
    per = speech.MELS_PER_FRAME
    silence = SOUNDS.index("sil")
    named = pad(sounds[: per * frames], (1, 1 + max(0, per * frames - len(sounds))), value=silence)
    windows = one_hot(named, len(SOUNDS)).float().unfold(0, per + 2, per)  # [frames, 39, 6]
    return windows @ (_SPREAD / _SPREAD.sum())


def _heard(
    encoder: AudioVisualEncoder, wav: Tensor, sounds: Tensor, lips: Tensor
) -> Iterator[Examples]:
    for causal in (False, True):
        rows = encoder.encode(wav, len(sounds), causal=causal)
        yield Examples(rows[:, LAYOUT.hidden].half(), sounds, lips)


def _groups(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]


def _disturbed(wavs: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    longest = max(len(wav) for wav in wavs)
    batch = torch.stack([pad(wav, (0, longest - len(wav))) for wav in wavs])
    batch = disturb(batch, generator)
    return [heard[: len(wav)] for heard, wav in zip(batch, wavs, strict=True)]


def _sped(voice: Voice, generator: torch.Generator) -> Voice:
    """The voice so much faster, and higher."""
    share = float(torch.rand(1, generator=generator))
    speed = _SLOWEST + (_FASTEST - _SLOWEST) * share
    steps = int(len(voice.sounds) / speed)
    wav = interpolate(
        voice.wav[None, None], size=steps * speech.HOP, mode="linear", align_corners=False
    )[0, 0]
    index = ((torch.arange(steps) + 0.5) * len(voice.sounds) / steps).long()
    return Voice(wav, voice.sounds[index])


def _standardised(recording: Recording, recordings: Sequence[Recording]) -> Tensor:
    """[T, 2] lips in the speaker's standard deviations; NaN where not seen."""
    same = [r for r in recordings if r.speaker == recording.speaker]
    seen = torch.cat([r.lips[r.valid] for r in same])
    normal = (recording.lips - seen.mean(0)) / seen.std(0).clamp_min(1e-4)
    normal[~recording.valid] = torch.nan
    return normal.clamp(-4.0, 4.0)
