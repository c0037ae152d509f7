"""Phoneme times of real speech whose words are known: forced alignment by PocketSphinx.

PocketSphinx (``pip install pocketsphinx``; BSD licence, its US English model included) is needed to
pre-train on recordings and to measure closures, not to use synctalk.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError, MissingModelError

_FRAME_S = 0.01
_GRID_WORDS: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {},
    {
        "z": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six",
        "7": "seven", "8": "eight", "9": "nine",
    },
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)  # fmt: skip


class Phone(NamedTuple):
    """A sound in ARPAbet (lower case, ``pau`` for a pause) and when it is heard."""

    name: str
    start_s: float
    end_s: float


def grid_words(path: Path) -> str:
    """The sentence of a clip of the GRID corpus, which its name spells: ``bbaf2n`` and so on.

    Raises:
        InputError: the name spells no GRID sentence.
    """
    code = path.stem[-6:]
    if len(code) != len(_GRID_WORDS):
        raise _not_grid(path)
    try:
        words = [
            table[letter] if table else letter
            for table, letter in zip(_GRID_WORDS, code, strict=True)
        ]
    except KeyError as error:
        raise _not_grid(path) from error
    return " ".join(words)


def align(wav: NDArray[np.float32], words: str) -> list[Phone]:
    """When each sound of ``words`` is spoken.

    Args:
        wav: [n] mono audio at 16 kHz in [-1, 1].
        words: what is said, lower case; each must be in the CMU dictionary.

    Returns:
        Sounds in order, without gaps; empty if the words do not fit the sound.

    Raises:
        MissingModelError: PocketSphinx is not installed.
    """
    try:
        pocketsphinx = importlib.import_module("pocketsphinx")
    except ImportError as error:
        raise MissingModelError(
            "PocketSphinx is not installed.",
            reason="NO_POCKETSPHINX",
            remedy="pip install pocketsphinx",
        ) from error
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", bestpath=False)
    decoder.set_align_text(words)
    samples = (wav * 32767.0).clip(-32768, 32767).astype(np.int16).tobytes()
    try:
        _decode(decoder, samples)
        decoder.set_alignment()
        _decode(decoder, samples)
    except RuntimeError:  # how it says that the words do not fit
        return []
    return [
        Phone(
            _plain(phone.name),
            phone.start * _FRAME_S,
            (phone.start + phone.duration) * _FRAME_S,
        )
        for word in decoder.get_alignment()
        for phone in word
    ]


def _decode(decoder: Any, samples: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()


def _plain(name: str) -> str:
    return "pau" if name in ("SIL", "+SPN+", "+NSN+") else name.lower()


def _not_grid(path: Path) -> InputError:
    return InputError(
        f"{path.name} is not named like a clip of the GRID corpus.",
        reason="NOT_A_GRID_CLIP",
        remedy="Give the corpus's own files, e.g. bbaf2n.mpg.",
    )
