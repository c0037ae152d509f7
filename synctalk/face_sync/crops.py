"""Training batches: disturbed crops of teachers' speech, labelled where the sound lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Voice
from synctalk.face_sync.encoder import DELAY_FRAMES, HISTORY_MELS
from synctalk.face_sync.sounds import SOUNDS

_LONGEST = 1.18  # mel frames of a crop for one that is used: the slowest tempo
_AT_ONCE = 20
_SPREAD = torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 0.5])  # a frame's own 40 ms and half of 10 beside


@dataclass(frozen=True)
class Crops:
    """Disturbed speech as the network will hear it: [N, T, 64] float16 log-mels and [N, T] sounds.

    Sound is disturbed once and stored as mels: doing it anew at each step took two fifths of the
    training time. What is cheap on mels is done at each use (:func:`draw`).
    """

    mel: Tensor
    sounds: Tensor


def make_crops(
    voices: list[Voice],
    count: int,
    frames: int,
    generator: torch.Generator,
    *,
    augmented: bool,
) -> Crops:
    """``count`` random pieces of the voices, long enough for ``frames`` at any tempo."""
    mels = round(_LONGEST * _mels(frames))
    pieces = [
        _disturbed_crops(voices, min(_AT_ONCE, count - first), mels, generator, augmented)
        for first in range(0, count, _AT_ONCE)
    ]
    return Crops(torch.cat([m for m, _ in pieces]), torch.cat([v for _, v in pieces]))


def _mels(frames: int) -> int:
    return HISTORY_MELS + speech.MELS_PER_FRAME * (frames + DELAY_FRAMES)


def _disturbed_crops(
    voices: list[Voice],
    count: int,
    mels: int,
    generator: torch.Generator,
    augmented: bool,
) -> tuple[Tensor, Tensor]:
    wav, labels = [], []
    for pick in torch.randint(len(voices), (count,), generator=generator).tolist():
        speed = 0.85 + 0.35 * float(torch.rand(1, generator=generator)) if augmented else 1.0
        crop = _crop(voices[pick], mels + 4, speed, generator)
        wav.append(crop[0])
        labels.append(crop[1])
    batch = torch.stack(wav)
    batch = disturb(batch, generator) if augmented else batch
    batch = batch + 10.0 ** (-3.0 - 2.0 * torch.rand(count, 1, generator=generator)) * torch.randn(
        batch.shape, generator=generator
    )
    # Windows reach 120 samples to the left of their own 10 ms: start one mel later.
    mel = speech.log_mel(batch[:, speech.HOP - 120 :])[:, :mels]
    return mel.half(), torch.stack(labels)[:, 1 : mels + 1].to(torch.uint8)


def draw(
    crops: Crops,
    batch: int,
    frames: int,
    generator: torch.Generator,
    *,
    augmented: bool = True,
) -> tuple[Tensor, Tensor]:
    """A batch of crops, each at its own tempo and from a vocal tract of its own length.

    Returns:
        Normalised mels [B, T, 64] and soft labels [B, frames, 39].
    """
    rows = torch.randint(len(crops.mel), (batch,), generator=generator)
    mel, sounds = crops.mel[rows].float(), crops.sounds[rows].long()
    wanted = _mels(frames)
    tempo = torch.ones(batch, 1)
    if augmented:
        tempo = 0.85 + (_LONGEST - 0.86) * torch.rand(batch, 1, generator=generator)
        mel = stretch_bands(mel, generator)
    spare = mel.shape[1] - 1 - tempo * wanted
    place = torch.rand(batch, 1, generator=generator) * spare
    place = place.floor() + tempo * (torch.arange(wanted) + 0.5) - 0.5
    mel = _at(mel, place.clamp_min(0.0))
    stats = [crop_stats(m) for m in mel]
    normal = torch.stack([speech.normalise(m, s) for m, s in zip(mel, stats, strict=True)])
    return normal, soft_labels(sounds.gather(1, place.round().long()), frames)


def _at(mel: Tensor, place: Tensor) -> Tensor:
    """Mels [B, T, 64] at fractional places [B, P] of the time axis, linearly between."""
    low = place.long().clamp_max(mel.shape[1] - 2)
    share = (place - low)[..., None]
    index = low[..., None].expand(-1, -1, mel.shape[2])
    return mel.gather(1, index) * (1 - share) + mel.gather(1, index + 1) * share


def _crop(
    voice: Voice, mels: int, speed: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``mels`` hops of audio and labels, spoken ``speed`` times as fast (and as high)."""
    source = int(mels * speed) + 2
    first = int(torch.randint(max(1, len(voice.sounds) - source), (1,), generator=generator))
    wav = voice.wav[first * speech.HOP : (first + source) * speech.HOP]
    sounds = voice.sounds[first : first + source]
    sped = interpolate(
        wav[None, None],
        scale_factor=1.0 / speed,
        mode="linear",
        recompute_scale_factor=False,
    )[0, 0]
    index = ((torch.arange(mels) + 0.5) * speed).long()
    return sped[: mels * speech.HOP], sounds[index]


def crop_stats(mel: Tensor) -> speech.SpeechStats:
    """Level and mean spectrum of one crop [T, 64], as a recording's are measured."""
    levels = speech.frame_levels(mel)
    level = speech.percentile95(levels)
    chosen = speech.relative(mel[levels > level - speech.SPEECH_RANGE], level)
    return speech.SpeechStats(level, chosen.mean(0))


def stretch_bands(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Vocal tracts of other lengths: the mel axis scaled by -13 to +15 %, [B, T, 64]."""
    count, _, bands = mel.shape
    factor = 0.87 + 0.28 * torch.rand(count, 1, generator=generator)
    place = (torch.arange(bands) * factor).clamp(0, bands - 1.001)
    low = place.long()
    share = (place - low)[:, None]

    def at(index: Tensor) -> Tensor:
        return mel.gather(2, index[:, None].expand_as(mel))

    return at(low) * (1 - share) + at(low + 1) * share


def soft_labels(sounds: Tensor, frames: int) -> Tensor:
    """[B, frames, 39] share of each sound in each frame, from labels every 10 ms."""
    onehot = one_hot(sounds, len(SOUNDS)).float()
    per = speech.MELS_PER_FRAME
    own = onehot[:, HISTORY_MELS - 1 : HISTORY_MELS + per * frames + 1]
    windows = own.unfold(1, per + 2, per)  # [B, frames, 39, 6]
    return windows @ (_SPREAD / _SPREAD.sum())
