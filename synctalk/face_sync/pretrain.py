"""Pre-train the audio-visual encoder and its discriminator (METHOD row 1 and its last section).

    synctalk pretrain-encoder ../shared/data/video/grid_s1 ../shared/data/video/grid_speakers/*.mpg

Nobody needs to run this to use synctalk: the result is shipped. First, synthetic voices in two
dozen languages and a recorded speaker, whose sounds are known with their times, teach the network
to name the mouth shape of each video frame (:func:`train`). Then filmed speakers teach it real
voices and what lips do (``refine.py``), and a discriminator learns whether lips and speech belong
together (``sync_training.py``). Seeded: the same machine gives the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturbed_features
from synctalk.face_sync.corpus import Shares, Voice, make_voices
from synctalk.face_sync.crops import draw, make_crops
from synctalk.face_sync.discriminator import lip_shapes
from synctalk.face_sync.encoder import AudioVisualEncoder
from synctalk.face_sync.naming import evaluate, naming_loss
from synctalk.face_sync.recordings import Recording, load_recordings
from synctalk.face_sync.refine import FRAMES, Refining, refine
from synctalk.face_sync.sync_training import SpokenClip, train_discriminator
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

_SHOWN = 25  # steps between two reports of the loss


@dataclass(frozen=True)
class Settings:
    """How the shipped weights were made."""

    seed: int = 1
    speakers: int = 90
    seconds_per_speaker: float = 40.0
    crops: int = 4000  # disturbed once, seen about seven times
    steps: int = 2000
    batch: int = 14
    frames: int = 100
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    shares: Shares = field(default_factory=Shares)
    refining: Refining = field(default_factory=Refining)


@dataclass(frozen=True)
class Pretrained:
    """Where the weights are, and how well held-out synthetic voices are understood."""

    path: Path
    held_out: dict[str, float]
    held_out_causal: dict[str, float]


def pretrain_encoder(
    data: Sequence[Path],
    out: Path,
    *,
    settings: Settings | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Pretrained:
    """Make the weights of encoder and discriminator.

    Args:
        data: clips of people speaking, see ``recordings.load_recordings``.
        out: folder for encoder.safetensors, discriminator.safetensors and training.json.
        settings: the shipped weights' by default.
        progress: called as the work goes on.

    Raises:
        InputError: no clips in ``data``.
        MissingModelError: a speech synthesiser or PocketSphinx is not installed.
    """
    chosen = settings or Settings()
    recordings = load_recordings(data, progress)
    voices = make_voices(
        chosen.speakers,
        chosen.seconds_per_speaker,
        chosen.shares,
        chosen.seed,
        progress,
    )
    encoder = train(chosen, voices, progress)
    add_priors(encoder, voices)
    encoder = _refined(encoder, recordings, chosen, progress)
    judge = train_discriminator(spoken_clips(encoder, recordings), progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    save(encoder, out / "encoder.safetensors")
    save(judge, out / "discriminator.safetensors")
    made = Pretrained(out, evaluate(encoder), evaluate(encoder, causal=True))
    report = {
        "settings": asdict(chosen),
        "hours_synthetic": round(_hours(voices), 2),
        "hours_filmed": round(sum(len(r.valid) for r in recordings) / speech.FPS / 3600, 3),
        "held_out": made.held_out,
        "held_out_causal": made.held_out_causal,
    }
    (out / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    return made


def train(
    settings: Settings,
    voices: list[Voice],
    progress: ProgressCallback = ignore_progress,
) -> AudioVisualEncoder:
    """First stage: cross-entropy of both heads; the causal one also copies the other's features."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    encoder = AudioVisualEncoder()
    optimiser = torch.optim.AdamW(
        encoder.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    crops = make_crops(voices, settings.crops, settings.frames, generator, augmented=True)
    shown = StageProgress(progress, "sounds", settings.steps)
    for step in range(settings.steps):
        mel, labels = draw(crops, settings.batch, settings.frames, generator)
        loss, _ = naming_loss(encoder, mel, labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        shown.advance(metrics={"loss": float(loss.detach())} if step % _SHOWN == 0 else None)
    return encoder.eval()


def _refined(
    encoder: AudioVisualEncoder,
    recordings: Sequence[Recording],
    settings: Settings,
    progress: ProgressCallback,
) -> AudioVisualEncoder:
    refining = settings.refining
    voices = make_voices(
        settings.speakers,
        settings.seconds_per_speaker,
        refining.shares,
        settings.seed,
        progress,
    )
    generator = torch.Generator().manual_seed(settings.seed + 1)
    crops = make_crops(voices, refining.crops, FRAMES, generator, augmented=True)
    return refine(encoder, crops, recordings, refining, settings.seed + 1, progress)


def spoken_clips(encoder: AudioVisualEncoder, recordings: Sequence[Recording]) -> list[SpokenClip]:
    """Features, clean and disturbed, and lip shapes: what the discriminator learns from."""
    return [
        SpokenClip(
            r.speaker,
            tuple(disturbed_features(encoder, r.wav, len(r.valid), copies=1, seed=index)),
            lip_shapes(r.mesh, r.valid),
        )
        for index, r in enumerate(recordings)
    ]


def add_priors(encoder: AudioVisualEncoder, voices: list[Voice]) -> None:
    """What a live stream assumes before it has heard its speaker: the teachers' average."""
    stats = [speech.measure(voice.wav) for voice in voices[::4]]
    encoder.prior_mean.copy_(torch.stack([s.mean for s in stats]).mean(0))
    encoder.prior_level.copy_(torch.tensor([s.level for s in stats]).mean())


def save(network: nn.Module, path: Path) -> None:
    """Half-precision weights, never half-written."""
    halves = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    whole = path.with_suffix(".tmp")
    save_file(halves, whole)
    whole.replace(path)


def _hours(voices: Sequence[Voice]) -> float:
    return sum(len(v.wav) for v in voices) / speech.SAMPLE_RATE_HZ / 3600
