"""Training of the sync discriminator: the right moment against the same clip's other moments.

A positive is a stretch of speech with its own lips; negatives are the same lips up to 0.6 s earlier
or later, which look and sound alike in everything but time. Binary cross-entropy on the cosine
(S, III-B) separates sync from at least five frames off; a softmax over all lags makes the
cosine's peak sharp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from synctalk.face_sync.discriminator import REACH, SyncDiscriminator, cosine
from synctalk.face_sync.encoder import LAYOUT
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

_T = TypeVar("_T")
_MEL_WEIGHT = 0.5
_OFF_FRAMES = 5
_SHORTEST, _LONGEST = 20, 40  # frames of a stretch


@dataclass(frozen=True)
class SpokenClip:
    """A clip of a speaker, in time.

    Args:
        speaker: speakers are drawn alike, however many clips each has.
        features: [T, D] encoder rows of the sound as it is and of disturbed copies.
        shapes: [T, 80] lip shapes, see ``discriminator.lip_shapes``.
    """

    speaker: str
    features: tuple[Tensor, ...]
    shapes: Tensor


def train_discriminator(
    clips: Sequence[SpokenClip],
    *,
    steps: int = 160,
    batch: int = 48,
    learning_rate: float = 2e-3,
    seed: int = 1,
    progress: ProgressCallback = ignore_progress,
) -> SyncDiscriminator:
    """Train on clips of at least 40 + 2 * REACH frames; shorter ones are left out."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    used = [clip for clip in clips if len(clip.shapes) >= _LONGEST + 2 * REACH]
    judge = SyncDiscriminator()
    _standardise(judge, used)
    by_speaker: dict[str, list[SpokenClip]] = {}
    for clip in used:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    optimiser = torch.optim.AdamW(judge.parameters(), learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=0.1
    )
    weights = torch.tensor([float(len(c)) ** 0.5 for c in by_speaker.values()])
    shown = StageProgress(progress, "sync", steps)
    for _ in range(steps):
        frames = int(torch.randint(_SHORTEST, _LONGEST + 1, (1,), generator=generator))
        speakers = torch.multinomial(weights, batch, True, generator=generator)
        loss = _loss(judge, *_stretches(list(by_speaker.values()), speakers, frames, generator))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        shown.advance()
    return judge.requires_grad_(False).eval()


def _standardise(judge: SyncDiscriminator, clips: Sequence[SpokenClip]) -> None:
    rows = torch.cat([clip.features[0] for clip in clips])
    judge.feature_mean.copy_(rows.mean(0))
    judge.feature_scale.copy_(rows.std(0).clamp_min(1e-4))
    judge.feature_scale[LAYOUT.mel] /= _MEL_WEIGHT
    shapes = torch.cat([clip.shapes for clip in clips])
    _, singular, basis = torch.linalg.svd(shapes.double(), full_matrices=False)
    kept = judge.shape_basis.shape[1]
    spread = singular[:kept] / len(shapes) ** 0.5
    judge.shape_basis.copy_((basis[:kept].T / spread).float())


def _stretches(
    speakers: list[list[SpokenClip]],
    picks: Tensor,
    frames: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Speech [B, frames, D] and lips [B, frames + 2 * REACH, 80], REACH more on either side."""
    features, shapes = [], []
    for pick in picks.tolist():
        clip = _choice(speakers[pick], generator)
        first = int(
            torch.randint(REACH, len(clip.shapes) - frames - REACH + 1, (1,), generator=generator)
        )
        features.append(_choice(clip.features, generator)[first : first + frames])
        shapes.append(clip.shapes[first - REACH : first + frames + REACH])
    return torch.stack(features), torch.stack(shapes)


def _choice(items: Sequence[_T], generator: torch.Generator) -> _T:
    return items[int(torch.randint(len(items), (1,), generator=generator))]


def _loss(judge: SyncDiscriminator, features: Tensor, shapes: Tensor) -> Tensor:
    audio = judge.embed_audio(features)[:, None]
    frames = features.shape[1]
    lips = judge.embed_lips(shapes).unfold(1, frames, 1).transpose(2, 3)  # [B, lags, frames, 24]
    logits = judge.sharpness * cosine(audio.expand_as(lips), lips)
    off = (torch.arange(-REACH, REACH + 1)).abs() >= _OFF_FRAMES
    wrong = logits[:, off] + judge.offset
    right = logits[:, REACH] + judge.offset
    target = torch.full((len(logits),), REACH)
    return (
        cross_entropy(2.0 * logits, target)
        + 0.5 * binary_cross_entropy_with_logits(right, torch.ones_like(right))
        + 0.5 * binary_cross_entropy_with_logits(wrong, torch.zeros_like(wrong))
    )
