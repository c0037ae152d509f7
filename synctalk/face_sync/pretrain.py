"""Pre-train the audio-visual encoder on phonetics (METHOD, "What a spike on audio → lips learnt").

    python -m synctalk.face_sync.pretrain --out synctalk/face_sync/weights

Nobody needs to run this to use synctalk: the result is shipped. It needs the system packages
espeak-ng and flite (``apt-get install espeak-ng flite``) and no data: synthetic voices in two
dozen languages read our own sentences, and their phoneme times are known exactly. The network
names the mouth shape of each video frame. Seeded: the same machine gives the same weights.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, mse_loss

from synctalk.face_sync import speech
from synctalk.face_sync.augment import disturb
from synctalk.face_sync.corpus import Voice, join, make_voices
from synctalk.face_sync.encoder import DELAY_FRAMES, HISTORY_MELS, AudioVisualEncoder
from synctalk.face_sync.teachers import flite
from synctalk.face_sync.visemes import BILABIAL, SILENCE, VISEMES

FLITE_HELD_OUT = ("slt", "awb")
HELD_OUT_TEXTS = (
    "People move about the map, while a bumblebee hums above the ripe plum.",
    "Forty soft waves wash over the beach before the wolf finds food.",
    "You chose the purple shoes, but the judge enjoys a huge orange roof.",
)
_LIP_CLOSURE_WEIGHT = 2.0  # a missed closure is what viewers notice first
_SPREAD = torch.tensor([0.5, 1.0, 1.0, 1.0, 1.0, 0.5])  # a frame's own 40 ms and half of 10 beside


@dataclass(frozen=True)
class Settings:
    """How the shipped weights were made."""

    seed: int = 1
    speakers: int = 180
    recorded_share: float = 0.4  # of flite's voices, which are recorded; the rest is espeak-ng's
    seconds_per_speaker: float = 30.0
    steps: int = 1000
    batch: int = 18
    frames: int = 75
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    imitation: float = 1.0  # weight of the causal head's copying of the default head's features


def make_batch(
    voices: list[Voice], settings: Settings, generator: torch.Generator, *, augmented: bool = True
) -> tuple[Tensor, Tensor]:
    """Random crops.

    Returns:
        Normalised mels [B, T, 64] and soft labels [B, frames, 15].
    """
    mels = HISTORY_MELS + speech.MELS_PER_FRAME * (settings.frames + DELAY_FRAMES)
    wav, labels = [], []
    for pick in torch.randint(len(voices), (settings.batch,), generator=generator).tolist():
        speed = 0.87 + 0.28 * float(torch.rand(1, generator=generator)) if augmented else 1.0
        crop = _crop(voices[pick], mels + 4, speed, generator)
        wav.append(crop[0])
        labels.append(crop[1])
    batch = torch.stack(wav)
    batch = disturb(batch, generator) if augmented else batch
    batch = batch + 10.0 ** (-3.0 - 2.0 * torch.rand(1, generator=generator)) * torch.randn(
        batch.shape, generator=generator
    )
    # Windows reach 120 samples to the left of their own 10 ms: start one mel later.
    mel = speech.log_mel(batch[:, speech.HOP - 120 :])[:, :mels]
    mel = _stretch_bands(mel, generator) if augmented else mel
    stats = [_crop_stats(m) for m in mel]
    normal = torch.stack([speech.normalise(m, s) for m, s in zip(mel, stats, strict=True)])
    return normal, _soft_labels(torch.stack(labels)[:, 1:], settings.frames)


def _crop(
    voice: Voice, mels: int, speed: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``mels`` hops of audio and labels, spoken ``speed`` times as fast (and as high)."""
    source = int(mels * speed) + 2
    first = int(torch.randint(max(1, len(voice.visemes) - source), (1,), generator=generator))
    wav = voice.wav[first * speech.HOP : (first + source) * speech.HOP]
    visemes = voice.visemes[first : first + source]
    sped = interpolate(
        wav[None, None], scale_factor=1.0 / speed, mode="linear", recompute_scale_factor=False
    )[0, 0]
    index = ((torch.arange(mels) + 0.5) * speed).long()
    return sped[: mels * speech.HOP], visemes[index]


def _crop_stats(mel: Tensor) -> speech.SpeechStats:
    levels = speech.frame_levels(mel)
    level = speech.percentile95(levels)
    chosen = speech.relative(mel[levels > level - speech.SPEECH_RANGE], level)
    return speech.SpeechStats(level, chosen.mean(0))


def _stretch_bands(mel: Tensor, generator: torch.Generator) -> Tensor:
    """Vocal tracts of other lengths: the mel axis scaled by +-10 %, [B, T, 64]."""
    count, _, bands = mel.shape
    factor = 0.9 + 0.2 * torch.rand(count, 1, generator=generator)
    place = (torch.arange(bands) * factor).clamp(0, bands - 1.001)
    low = place.long()
    share = (place - low)[:, None]

    def at(index: Tensor) -> Tensor:
        return mel.gather(2, index[:, None].expand_as(mel))

    return at(low) * (1 - share) + at(low + 1) * share


def _soft_labels(visemes: Tensor, frames: int) -> Tensor:
    """[B, frames, 15] share of each mouth shape in each frame, from labels every 10 ms."""
    onehot = torch.nn.functional.one_hot(visemes, len(VISEMES)).float()
    per = speech.MELS_PER_FRAME
    own = onehot[:, HISTORY_MELS - 1 : HISTORY_MELS + per * frames + 1]
    windows = own.unfold(1, per + 2, per)  # [B, frames, 15, 6]
    return windows @ (_SPREAD / _SPREAD.sum())


def train(settings: Settings, voices: list[Voice], log_every: int = 50) -> AudioVisualEncoder:
    """Cross-entropy of both heads; the causal one also copies the default one's features."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    encoder = AudioVisualEncoder()
    optimiser = torch.optim.AdamW(
        encoder.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    start, recent = time.monotonic(), 0.0
    for step in range(settings.steps):
        mel, labels = make_batch(voices, settings, generator)
        loss = _loss(encoder, mel, labels, settings.imitation)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent += (float(loss.detach()) - recent) / min(step + 1, log_every)
        if (step + 1) % log_every == 0:
            print(f"step {step + 1} loss {recent:.4f} {time.monotonic() - start:.0f} s", flush=True)
    return encoder.eval()


def _loss(encoder: AudioVisualEncoder, mel: Tensor, labels: Tensor, imitation: float) -> Tensor:
    trunk = encoder.trunk(mel)
    frames = labels.shape[1]
    target = labels.transpose(1, 2)
    weight = torch.ones(len(VISEMES))
    weight[BILABIAL] = _LIP_CLOSURE_WEIGHT
    hidden, logits = encoder.head(trunk[..., DELAY_FRAMES : DELAY_FRAMES + frames])
    causal_hidden, causal_logits = encoder.causal_head(trunk[..., :frames])
    copied = mse_loss(causal_hidden, hidden.detach())
    return (
        cross_entropy(logits, target, weight) + 0.5 * cross_entropy(causal_logits, target, weight)
    ) + imitation * copied


@torch.inference_mode()
def evaluate(encoder: AudioVisualEncoder, *, causal: bool = False) -> dict[str, float]:
    """Held-out voices and texts: frame accuracy, and p/b/m found at 10 % false alarms."""
    posteriors, labels = [], []
    for voice in FLITE_HELD_OUT:
        for text in HELD_OUT_TEXTS:
            spoken = join([flite(voice, text, stretch=1.0)], random.Random(0))
            frames = len(spoken.visemes) // speech.MELS_PER_FRAME
            rows = encoder.encode(spoken.wav, frames, causal=causal)
            posteriors.append(rows[:, 128 : 128 + len(VISEMES)])
            padded = torch.nn.functional.pad(spoken.visemes, (HISTORY_MELS, 8), value=SILENCE)
            labels.append(_soft_labels(padded[None], frames)[0])
    found, truth = torch.cat(posteriors), torch.cat(labels)
    closed = truth[:, BILABIAL] > 0.5
    open_ = truth[:, BILABIAL] < 0.1
    threshold = found[open_, BILABIAL].quantile(0.9)
    return {
        "accuracy": float((found.argmax(1) == truth.argmax(1)).float().mean()),
        "cross_entropy": float(-(truth * found.clamp_min(1e-6).log()).sum(1).mean()),
        "bilabial_recall": float((found[closed, BILABIAL] > threshold).float().mean()),
    }


def _add_priors(encoder: AudioVisualEncoder, voices: list[Voice]) -> None:
    """What a live stream assumes before it has heard its speaker: the teachers' average."""
    stats = [speech.measure(voice.wav) for voice in voices[::4]]
    encoder.prior_mean.copy_(torch.stack([s.mean for s in stats]).mean(0))
    encoder.prior_level.copy_(torch.tensor([s.level for s in stats]).mean())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder for encoder.safetensors")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--speakers", type=int, default=Settings.speakers)
    arguments = parser.parse_args()
    settings = Settings(steps=arguments.steps, speakers=arguments.speakers)
    voices = make_voices(
        settings.speakers,
        settings.seconds_per_speaker,
        settings.recorded_share,
        settings.seed,
    )
    hours = sum(len(v.wav) for v in voices) / speech.SAMPLE_RATE_HZ / 3600
    print(f"{len(voices)} voices, {hours:.2f} h of speech", flush=True)
    encoder = train(settings, voices)
    _add_priors(encoder, voices)
    arguments.out.mkdir(parents=True, exist_ok=True)
    halves = {k: v.half().contiguous() for k, v in encoder.state_dict().items()}
    save_file(halves, arguments.out / "encoder.safetensors")
    report = {
        "settings": asdict(settings),
        "hours": round(hours, 2),
        "held_out": evaluate(encoder),
        "held_out_causal": evaluate(encoder, causal=True),
    }
    (arguments.out / "training.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
