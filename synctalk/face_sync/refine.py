"""Second stage of pre-training: real speakers' sounds and lips beside the synthetic teachers.

A linear layer on the hidden features names sounds, finer than mouth shapes, and is then forgotten:
its use is what the features have to carry for it. Another, which stays, is taught what the lips of
filmed people do (opening and width, each in the speaker's own standard deviations): the average
speaker's mouth, beside which a subject's own head has less to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Shares
from synctalk.face_sync.crops import Crops, crop_stats, draw, soft_labels, stretch_bands
from synctalk.face_sync.encoder import (
    DELAY_FRAMES,
    FEATURES,
    HISTORY_MELS,
    AudioVisualEncoder,
)
from synctalk.face_sync.naming import naming_loss
from synctalk.face_sync.recordings import Recording, pieces
from synctalk.face_sync.sounds import SOUNDS
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

FRAMES = 75
_LEAD_MELS = HISTORY_MELS + 2


@dataclass(frozen=True)
class Refining:
    """How the second stage goes."""

    steps: int = 300
    batch: int = 8  # of either kind
    crops: int = 1500
    learning_rate: float = 6e-4
    weight_decay: float = 0.02
    copies: int = 3  # disturbed versions of each real stretch, beside the clean one
    lips: float = 0.5  # weight of the lip loss
    # More English than in the first stage: the sounds of the filmed speakers.
    shares: Shares = field(
        default_factory=lambda: Shares(0.27, 0.2, 0.25, 0.28, english=0.35, english_spliced=0.25)
    )


@dataclass(frozen=True)
class Filmed:
    """Stretches of ``FRAMES`` frames of real speakers.

    Args:
        weight: [N] how often each is drawn.
        mel: [N, 1 + copies, M, 64] float16 log-mels, _LEAD_MELS before the first frame's.
        sounds: [N, M] sounds, and whether they are known: [N] bool.
        lips: [N, FRAMES, 2] standardised; NaN where not seen.
    """

    weight: Tensor
    mel: Tensor
    sounds: Tensor
    known: Tensor
    lips: Tensor


def film(recordings: Sequence[Recording], refining: Refining, generator: torch.Generator) -> Filmed:
    """Cut, disturb and standardise recordings."""
    lead = _LEAD_MELS * speech.HOP
    wavs, sounds, known, lips, speakers = [], [], [], [], []
    for recording in recordings:
        normal = _standardised(recording, recordings)
        for wav, heard, rows in pieces(recording, FRAMES, lead):
            wavs.append(wav)
            missing = 4 * FRAMES - len(heard)
            sil = SOUNDS.index("sil")
            sounds.append(pad(heard, (_LEAD_MELS, missing + _LEAD_MELS), value=sil))
            known.append(len(heard) > 0)
            lips.append(
                pad(
                    normal[rows],
                    (0, 0, 0, FRAMES - len(normal[rows])),
                    value=float("nan"),
                )
            )
            speakers.append(recording.speaker)
    share = {name: 1.0 / speakers.count(name) ** 0.5 for name in speakers}
    return Filmed(
        torch.tensor([share[name] for name in speakers]),
        _mels(torch.stack(wavs), refining.copies, generator),
        torch.stack(sounds),
        torch.tensor(known),
        torch.stack(lips),
    )


def _mels(wavs: Tensor, copies: int, generator: torch.Generator) -> Tensor:
    versions = []
    for copy in range(1 + copies):
        parts = []
        for part in torch.split(wavs, 24):
            heard = disturb(part, generator) if copy else part
            level = 10.0 ** (-3.5 - 1.5 * torch.rand(len(part), 1, generator=generator))
            heard = heard + level * torch.randn(heard.shape, generator=generator)
            # Mel j is centred in its own 10 ms: its window begins LEAD samples earlier.
            heard = pad(heard, (speech.LEAD, speech.WINDOW - speech.HOP - speech.LEAD))
            parts.append(speech.log_mel(heard).half())
        versions.append(torch.cat(parts))
    return torch.stack(versions, dim=1)


def _standardised(recording: Recording, recordings: Sequence[Recording]) -> Tensor:
    """[T, 2] lips in the speaker's standard deviations; NaN where not seen."""
    same = [r for r in recordings if r.speaker == recording.speaker]
    seen = torch.cat([r.lips[r.valid] for r in same])
    normal = (recording.lips - seen.mean(0)) / seen.std(0).clamp_min(1e-4)
    normal[~recording.valid] = float("nan")
    return normal.clamp(-4.0, 4.0)


def draw_filmed(
    filmed: Filmed, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalised mels [B, M, 64], labels [B, FRAMES, 39], known [B] and lips [B, FRAMES, 2]."""
    rows = torch.multinomial(filmed.weight, count, True, generator=generator)
    copy = torch.randint(filmed.mel.shape[1], (count,), generator=generator)
    mel = filmed.mel[rows, copy].float()
    mel = stretch_bands(mel, generator)
    used = mel[:, _LEAD_MELS - HISTORY_MELS : _LEAD_MELS + 4 * (FRAMES + DELAY_FRAMES)]
    stats = [crop_stats(m) for m in used]
    normal = torch.stack([speech.normalise(m, s) for m, s in zip(used, stats, strict=True)])
    labels = soft_labels(filmed.sounds[rows][:, _LEAD_MELS - HISTORY_MELS :], FRAMES)
    return normal, labels, filmed.known[rows], filmed.lips[rows]


def refine(
    encoder: AudioVisualEncoder,
    crops: Crops,
    recordings: Sequence[Recording],
    refining: Refining,
    seed: int,
    progress: ProgressCallback = ignore_progress,
) -> AudioVisualEncoder:
    """Train on, with real speakers and half as many synthetic ones in each batch."""
    generator = torch.Generator().manual_seed(seed)
    filmed = film(recordings, refining, generator)
    torch.manual_seed(seed)
    encoder = encoder.requires_grad_(True).train()
    names = nn.Conv1d(FEATURES, len(SOUNDS), 1)
    optimiser = torch.optim.AdamW(
        [*encoder.parameters(), *names.parameters()],
        refining.learning_rate,
        weight_decay=refining.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, refining.learning_rate, total_steps=refining.steps, pct_start=0.2
    )
    shown = StageProgress(progress, "lips", refining.steps)
    for step in range(refining.steps):
        synthetic = _synthetic_loss(encoder, names, *draw(crops, refining.batch, FRAMES, generator))
        sounds, lips = _real_loss(encoder, names, *draw_filmed(filmed, refining.batch, generator))
        loss = synthetic + sounds + refining.lips * lips
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 25 == 0:
            shown.advance(metrics={"sounds": float(sounds.detach()), "lips": float(lips.detach())})
        else:
            shown.advance()
    return encoder.eval()


def _synthetic_loss(
    encoder: AudioVisualEncoder, names: nn.Conv1d, mel: Tensor, labels: Tensor
) -> Tensor:
    shapes, hidden = naming_loss(encoder, mel, labels)
    return shapes + cross_entropy(names(hidden), labels.transpose(1, 2))


def _real_loss(
    encoder: AudioVisualEncoder,
    names: nn.Conv1d,
    mel: Tensor,
    labels: Tensor,
    known: Tensor,
    lips: Tensor,
) -> tuple[Tensor, Tensor]:
    """Of sounds, where they are known, and of lips."""
    shapes, hidden = naming_loss(encoder, mel, labels, known=known)
    sounds = shapes
    if bool(known.any()):
        sounds = shapes + cross_entropy(names(hidden[known]), labels[known].transpose(1, 2))
    error = encoder.articulation(hidden).transpose(1, 2) - lips
    return sounds, error[lips.isfinite()].square().mean()
