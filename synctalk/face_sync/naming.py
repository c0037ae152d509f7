"""Teaching the encoder's heads: to name sounds, and to move the average speaker's mouth."""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from synctalk.face_sync import speech
from synctalk.face_sync.corpus import join
from synctalk.face_sync.encoder import LAYOUT, AudioVisualEncoder, Heads, shapes_of
from synctalk.face_sync.examples import Examples, soft_labels
from synctalk.face_sync.sounds import SOUNDS, VISEME_OF
from synctalk.face_sync.teachers import flite
from synctalk.face_sync.visemes import BILABIAL
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

FLITE_HELD_OUT = ("slt", "awb")
HELD_OUT_TEXTS = (
    "People move about the map, while a bumblebee hums above the ripe plum.",
    "Forty soft waves wash over the beach before the wolf finds food.",
    "You chose the purple shoes, but the judge enjoys a huge orange roof.",
)
_LIP_CLOSURE_WEIGHT = 2.0  # a missed closure is what viewers notice first
_SHOWN = 50  # steps between two reports of the losses


def teach(
    heads: Heads,
    examples: Examples,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    lip_weight: float,
    generator: torch.Generator,
    progress: ProgressCallback = ignore_progress,
) -> None:
    """Train on frames drawn at random; whatever an example does not know is not asked."""
    heard = examples.tokens.float()
    heads.mean.copy_(heard.mean(0))
    heads.scale.copy_(heard.std(0).clamp_min(1e-4))
    filmed = examples.lips.isfinite().all(1).nonzero()[:, 0]
    weights = torch.ones(len(SOUNDS))
    weights[torch.tensor(VISEME_OF) == BILABIAL] = _LIP_CLOSURE_WEIGHT
    optimiser = torch.optim.AdamW(heads.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=steps, pct_start=0.1
    )
    shown = StageProgress(progress, "heads", steps)
    for step in range(steps):
        rows = torch.randint(len(examples), (batch,), generator=generator)
        named = _naming_loss(heads, heard[rows], examples.sounds[rows], weights)
        lips = torch.zeros(())
        if len(filmed):
            rows = filmed[torch.randint(len(filmed), (batch,), generator=generator)]
            lips = (heads.mouth(heard[rows]) - examples.lips[rows]).square().mean()
        optimiser.zero_grad()
        (named + lip_weight * lips).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses = {"sounds": float(named.detach()), "lips": float(lips.detach())}
        shown.advance(metrics=losses if step % _SHOWN == 0 else None)


def _naming_loss(heads: Heads, tokens: Tensor, sounds: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy with shares of sounds, where they are known."""
    known = sounds.isfinite().all(1)
    named = log_softmax(heads.sounds(tokens[known]), dim=1)
    asked = sounds[known] * weights
    return -(asked * named).sum() / asked.sum().clamp_min(1e-6)


@torch.inference_mode()
def evaluate(encoder: AudioVisualEncoder, *, causal: bool = False) -> dict[str, float]:
    """Held-out voices and texts: frame accuracy, and p/b/m found at 10 % false alarms."""
    posteriors, labels = [], []
    for voice in FLITE_HELD_OUT:
        for text in HELD_OUT_TEXTS:
            spoken = join([flite(voice, text, stretch=1.0)], random.Random(0))
            frames = len(spoken.sounds) // speech.MELS_PER_FRAME
            rows = encoder.encode(spoken.wav, frames, causal=causal)
            posteriors.append(rows[:, LAYOUT.visemes])
            labels.append(shapes_of(soft_labels(spoken.sounds, frames)))
    found, truth = torch.cat(posteriors), torch.cat(labels)
    closed = truth[:, BILABIAL] > 0.5
    open_ = truth[:, BILABIAL] < 0.1
    threshold = found[open_, BILABIAL].quantile(0.9)
    return {
        "accuracy": float((found.argmax(1) == truth.argmax(1)).float().mean()),
        "cross_entropy": float(-(truth * found.clamp_min(1e-6).log()).sum(1).mean()),
        "bilabial_recall": float((found[closed, BILABIAL] > threshold).float().mean()),
    }
