"""The synthetic speakers' recordings that the encoder learns phonetics from."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.face_sync import speech
from synctalk.face_sync.festival import VOICES as FESTIVAL_VOICES
from synctalk.face_sync.festival import festival, russian
from synctalk.face_sync.sentences import SENTENCES
from synctalk.face_sync.sounds import SOUNDS
from synctalk.face_sync.teachers import Espeak, Utterance, flite
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

VARIANTS = [
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "Andy", "Annie", "Alex", "Alicia", "Mike"),
    *(
        "belinda",
        "linda",
        "edward",
        "john",
        "max",
        "michel",
        "steph",
        "travis",
        "victor",
    ),
    *(
        "adam",
        "anika",
        "benjamin",
        "caleb",
        "david",
        "aunty",
        "quincy",
        "rob",
        "norbert",
    ),
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
    """One speaker's recording: [n] audio and [n / 160] sound (``sounds.SOUNDS``) every 10 ms."""

    wav: Tensor
    sounds: Tensor


@dataclass(frozen=True)
class Shares:
    """Shares of the speakers that each kind of teacher stands for; they sum to 1."""

    formant: float = 0.3  # espeak-ng: any language and voice, no recording behind it
    flite: float = 0.12
    festival: float = 0.23
    recorded: float = 0.35  # a person reading
    english: float = 0.25  # of the formant speakers; the rest speaks any language
    english_spliced: float = 0.0  # of Festival's speakers


def make_voices(
    speakers: int,
    seconds: float,
    shares: Shares,
    seed: int,
    progress: ProgressCallback = ignore_progress,
) -> list[Voice]:
    """Let synthetic and recorded speakers read sentences with pauses between them.

    Args:
        speakers: how many.
        seconds: of speech from each, at least.
        shares: of the kinds of speakers.
        seed: of texts, voices and pauses.
        progress: called with each speaker.

    Raises:
        MissingModelError: espeak-ng, flite or Festival is not installed.
    """
    rng = random.Random(seed)
    speakers_of = {
        _formant_speaker(Espeak(), shares.english): shares.formant,
        _flite_speaker: shares.flite,
        _festival_speaker(shares.english_spliced): shares.festival,
        russian: shares.recorded,
    }
    kinds = rng.choices(list(speakers_of), list(speakers_of.values()), k=speakers)
    shown = StageProgress(progress, "voices", speakers)
    voices = []
    for speak in kinds:
        voices.append(join(speak(rng, seconds), rng))
        shown.advance()
    return voices


def _formant_speaker(
    espeak: Espeak, english: float
) -> Callable[[random.Random, float], list[Utterance]]:
    def speak(rng: random.Random, seconds: float) -> list[Utterance]:
        recorded: list[Utterance] = []
        language = "en" if rng.random() < english else rng.choice(sorted(SENTENCES))
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
        return recorded

    return speak


def _flite_speaker(rng: random.Random, seconds: float) -> list[Utterance]:
    recorded: list[Utterance] = []
    voice = rng.choices(FLITE_TEACHERS, FLITE_WEIGHTS)[0]
    while _seconds(recorded) < seconds:
        recorded.append(flite(voice, _text("en", rng), stretch=rng.uniform(0.85, 1.3)))
    return recorded


def _festival_speaker(
    english: float,
) -> Callable[[random.Random, float], list[Utterance]]:
    def speak(rng: random.Random, seconds: float) -> list[Utterance]:
        native = english > 0.0 and rng.random() < english
        voice = FESTIVAL_VOICES[0] if native else rng.choice(FESTIVAL_VOICES)
        texts = [_text(voice.language, rng) for _ in range(round(seconds / 2.5))]
        recorded = festival(voice, texts, stretch=rng.uniform(0.85, 1.3))
        kept = next(
            (i for i in range(1, len(recorded)) if _seconds(recorded[:i]) >= seconds),
            len(recorded),
        )
        return recorded[:kept]

    return speak


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
        labels += [utterance.sounds[index], np.full(pause, SOUNDS.index("sil"))]
    return Voice(torch.from_numpy(np.concatenate(wavs)), torch.from_numpy(np.concatenate(labels)))
