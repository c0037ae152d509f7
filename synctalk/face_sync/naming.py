"""What pre-training asks of the encoder: to name mouth shapes, with either head."""

from __future__ import annotations

import random

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, pad

from synctalk.face_sync import speech
from synctalk.face_sync.corpus import join
from synctalk.face_sync.crops import soft_labels
from synctalk.face_sync.encoder import (
    DELAY_FRAMES,
    HISTORY_MELS,
    LAYOUT,
    AudioVisualEncoder,
)
from synctalk.face_sync.sounds import SOUNDS, VISEME_OF
from synctalk.face_sync.teachers import flite
from synctalk.face_sync.visemes import BILABIAL, VISEMES

FLITE_HELD_OUT = ("slt", "awb")
HELD_OUT_TEXTS = (
    "People move about the map, while a bumblebee hums above the ripe plum.",
    "Forty soft waves wash over the beach before the wolf finds food.",
    "You chose the purple shoes, but the judge enjoys a huge orange roof.",
)
_LIP_CLOSURE_WEIGHT = 2.0  # a missed closure is what viewers notice first


def naming_loss(
    encoder: AudioVisualEncoder,
    mel: Tensor,
    labels: Tensor,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss of both heads in naming mouth shapes, and the default head's features [B, 128, T].

    Where ``known`` [B] is false the labels say nothing and only the imitation counts.
    """
    trunk = encoder.trunk(mel)
    frames = labels.shape[1]
    target = shapes_of(labels).transpose(1, 2)
    weight = torch.ones(len(VISEMES))
    weight[BILABIAL] = _LIP_CLOSURE_WEIGHT
    hidden, logits = encoder.head(trunk[..., DELAY_FRAMES : DELAY_FRAMES + frames])
    causal_hidden, causal_logits = encoder.causal_head(trunk[..., :frames])
    copied = mse_loss(causal_hidden, hidden.detach())
    if known is not None:
        if not bool(known.any()):
            return copied, hidden
        logits, causal_logits, target = (
            logits[known],
            causal_logits[known],
            target[known],
        )
    named = cross_entropy(logits, target, weight)
    causal_named = cross_entropy(causal_logits, target, weight)
    return named + 0.5 * causal_named + copied, hidden


def shapes_of(labels: Tensor) -> Tensor:
    """Shares of mouth shapes [..., 15] from those of sounds [..., 39]."""
    shares = torch.zeros(*labels.shape[:-1], len(VISEMES))
    return shares.scatter_add(-1, torch.tensor(VISEME_OF).expand(labels.shape), labels)


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
            padded = pad(spoken.sounds, (HISTORY_MELS, 8), value=SOUNDS.index("sil"))
            labels.append(shapes_of(soft_labels(padded[None], frames)[0]))
    found, truth = torch.cat(posteriors), torch.cat(labels)
    closed = truth[:, BILABIAL] > 0.5
    open_ = truth[:, BILABIAL] < 0.1
    threshold = found[open_, BILABIAL].quantile(0.9)
    return {
        "accuracy": float((found.argmax(1) == truth.argmax(1)).float().mean()),
        "cross_entropy": float(-(truth * found.clamp_min(1e-6).log()).sum(1).mean()),
        "bilabial_recall": float((found[closed, BILABIAL] > threshold).float().mean()),
    }
