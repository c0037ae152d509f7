"""The synthetic speakers' recordings that the encoder learns phonetics from."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.face_sync import speech
from synctalk.face_sync.sentences import SENTENCES
from synctalk.face_sync.teachers import Espeak, Utterance, flite
from synctalk.face_sync.visemes import SILENCE

VARIANTS = [
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "Andy", "Annie", "Alex", "Alicia", "Mike"),
    *("belinda", "linda", "edward", "john", "max", "michel", "steph", "travis", "victor"),
    *("adam", "anika", "benjamin", "caleb", "david", "aunty", "quincy", "rob", "norbert"),
]
FLITE_TEACHERS = ("rms", "kal16", "kal")
FLITE_WEIGHTS = (0.5, 0.3, 0.2)
LATIN = (
    "cs",
    "de",
    "en",
    "es",
    "fi",
    "fr",
    "hu",
    "id",
    "it",
    "nl",
    "pl",
    "pt",
    "ro",
    "sv",
    "sw",
    "tr",
)
ONSETS = "p b m p b m f v w t d n l r s z k g h sh ch j th y st pr bl fl gr".split()  # noqa: SIM905
VOWELS = "a e i o u a e i o u oo ee ai ow au".split()  # noqa: SIM905
CODAS = "p b m t d n l r s k g f v sh ng mp st".split()  # noqa: SIM905
_LABEL_S = 0.01


@dataclass(frozen=True)
class Voice:
    """One speaker's recording: [n] audio and [n / 160] viseme every 10 ms."""

    wav: Tensor
    visemes: Tensor


def make_voices(speakers: int, seconds: float, recorded_share: float, seed: int) -> list[Voice]:
    """Let synthetic speakers read sentences with pauses between them.

    Args:
        speakers: how many.
        seconds: of speech from each, at least.
        recorded_share: share of flite's recorded voices; the rest is espeak-ng's.
        seed: of texts, voices and pauses.

    Raises:
        MissingModelError: espeak-ng is not installed.
    """
    rng = random.Random(seed)
    espeak = Espeak()
    voices = []
    for _ in range(speakers):
        recorded: list[Utterance] = []
        if rng.random() < recorded_share:
            voice = rng.choices(FLITE_TEACHERS, FLITE_WEIGHTS)[0]
            while _seconds(recorded) < seconds:
                text = _text("en", rng)
                recorded.append(flite(voice, text, stretch=rng.uniform(0.85, 1.3)))
        else:
            language = "en" if rng.random() < 0.25 else rng.choice(sorted(SENTENCES))
            voice = f"{language}+{rng.choice(VARIANTS)}"
            pace, pitch = rng.randint(120, 230), rng.randint(15, 85)
            while _seconds(recorded) < seconds:
                recorded.append(
                    espeak.speak(
                        voice,
                        _text(language, rng),
                        words_per_minute=pace + rng.randint(-15, 15),
                        pitch=pitch,
                        pitch_range=rng.randint(20, 90),
                    )
                )
        voices.append(join(recorded, rng))
    return voices


def _text(language: str, rng: random.Random) -> str:
    """A sentence as written, words of two in any order, or words that no language has.

    The latter two give each sound new neighbours: with sentences alone the network learns words.
    """
    sentences = SENTENCES[language]
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(sentences)
    if kind < 0.75 and language in LATIN:
        return " ".join(_pseudo_word(rng) for _ in range(rng.randint(4, 8)))
    words = f"{rng.choice(sentences)} {rng.choice(sentences)}".split()
    return " ".join(rng.sample(words, min(len(words), rng.randint(4, 9))))


def _pseudo_word(rng: random.Random) -> str:
    """One to three syllables that any Latin-script voice can say, rich in lip sounds."""
    return "".join(
        rng.choice(ONSETS) + rng.choice(VOWELS) + (rng.choice(CODAS) if rng.random() < 0.4 else "")
        for _ in range(rng.randint(1, 3))
    )


def _seconds(recorded: list[Utterance]) -> float:
    return sum(len(u.wav) for u in recorded) / speech.SAMPLE_RATE_HZ


def join(recorded: list[Utterance], rng: random.Random) -> Voice:
    """Utterances one after another with pauses of faint noise, and their labels every 10 ms."""
    wavs: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    for utterance in recorded:
        steps = len(utterance.wav) // speech.HOP
        pause = rng.randint(5, 80)
        wavs += [
            utterance.wav[: steps * speech.HOP],
            np.zeros(pause * speech.HOP, dtype=np.float32),
        ]
        times = (np.arange(steps) + 0.5) * _LABEL_S
        index = np.searchsorted(utterance.starts, times, side="right") - 1
        labels += [utterance.visemes[index], np.full(pause, SILENCE)]
    return Voice(torch.from_numpy(np.concatenate(wavs)), torch.from_numpy(np.concatenate(labels)))
