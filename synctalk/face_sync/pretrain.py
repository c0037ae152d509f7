"""Pre-train the encoder's heads and its discriminator (METHOD row 1 and its last section).

    synctalk pretrain-encoder ../shared/data/video/grid_s1 --out weights

Nobody needs to run this to use synctalk: the result is shipped. The network that hears is
published and stays as it is (``speech_network.py``). Synthetic voices in two dozen languages and a
recorded speaker, whose sounds are known with their times, and filmed speakers, whose lips are seen
too, teach two heads what its tokens mean for a mouth (``naming.py``); then a discriminator learns
whether lips and speech belong together (``sync_training.py``). Seeded: the same machine gives the
same weights.
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
from synctalk.face_sync.discriminator import lip_shapes
from synctalk.face_sync.encoder import AudioVisualEncoder, Heads
from synctalk.face_sync.examples import Examples, examples_of_recordings, examples_of_voices
from synctalk.face_sync.naming import evaluate, teach
from synctalk.face_sync.recordings import Recording, load_recordings
from synctalk.face_sync.sync_training import SpokenClip, train_discriminator
from synctalk.progress import ProgressCallback, ignore_progress


@dataclass(frozen=True)
class Settings:
    """How the shipped weights were made."""

    seed: int = 1
    speakers: int = 90
    seconds_per_speaker: float = 40.0
    copies: int = 1  # of voices, disturbed, beside the clean one
    filmed_copies: int = 3
    steps: int = 3000
    batch: int = 2048
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    lips: float = 0.5  # weight of the lip loss
    shares: Shares = field(
        default_factory=lambda: Shares(0.27, 0.2, 0.25, 0.28, english=0.35, english_spliced=0.25)
    )


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
        chosen.speakers, chosen.seconds_per_speaker, chosen.shares, chosen.seed, progress
    )
    encoder = untaught()
    examples = examples_for(encoder, voices, recordings, chosen, progress)
    train(encoder, examples, chosen, progress)
    add_priors(encoder, voices)
    encoder.requires_grad_(False).eval()
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


def untaught() -> AudioVisualEncoder:
    """The shipped encoder's hearing with heads that know nothing."""
    encoder = AudioVisualEncoder.pretrained()
    encoder.heads = Heads()
    return encoder


def examples_for(
    encoder: AudioVisualEncoder,
    voices: Sequence[Voice],
    recordings: Sequence[Recording],
    settings: Settings,
    progress: ProgressCallback = ignore_progress,
) -> Examples:
    """All that the heads learn from."""
    generator = torch.Generator().manual_seed(settings.seed)
    return Examples.joined(
        [
            examples_of_voices(encoder, voices, settings.copies, generator, progress),
            examples_of_recordings(
                encoder, recordings, settings.filmed_copies, generator, progress
            ),
        ]
    )


def train(
    encoder: AudioVisualEncoder,
    examples: Examples,
    settings: Settings,
    progress: ProgressCallback = ignore_progress,
) -> None:
    """Teach fresh heads, in place."""
    torch.manual_seed(settings.seed)
    encoder.heads = Heads()
    teach(
        encoder.heads,
        examples,
        steps=settings.steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lip_weight=settings.lips,
        generator=torch.Generator().manual_seed(settings.seed),
        progress=progress,
    )


def spoken_clips(encoder: AudioVisualEncoder, recordings: Sequence[Recording]) -> list[SpokenClip]:
    """Features, clean, disturbed and heard as live, and lip shapes: for the discriminator."""
    return [
        SpokenClip(
            r.speaker,
            (
                *disturbed_features(encoder, r.wav, len(r.valid), copies=1, seed=index),
                encoder.encode(r.wav, len(r.valid), causal=True),
            ),
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
    """Weights, never half-written: in half precision, but those that hear as they were given."""
    kept = {
        name: (value if name.startswith("speech.") else value.half()).contiguous()
        for name, value in network.state_dict().items()
    }
    whole = path.with_suffix(".tmp")
    save_file(kept, whole)
    whole.replace(path)


def _hours(voices: Sequence[Voice]) -> float:
    return sum(len(v.wav) for v in voices) / speech.SAMPLE_RATE_HZ / 3600
