"""Synthetic speech with exact phoneme times: espeak-ng (formant synthesis) and flite (recorded).

Needs the system packages ``espeak-ng`` and ``flite`` (Debian: ``apt-get install espeak-ng flite``).
Used by ``pretrain.py`` only; both run as programs or a library beside ours, nothing of theirs is
shipped.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from synctalk.errors import MissingModelError
from synctalk.face_sync.sounds import SOUNDS, from_arpabet, from_ipa
from synctalk.face_sync.speech import SAMPLE_RATE_HZ

_SILENT = (SOUNDS.index("sil"),)
_STOPS = tuple("pbtdkgɡqʈɖ")
_STOP_LEAD_S = 0.05  # espeak-ng reports a stop at its release; the closure is about 50 ms earlier
_PHONEME_EVENT = 7
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER


@dataclass(frozen=True)
class Utterance:
    """Speech whose sounds are known.

    Args:
        wav: [n] float32 at 16 kHz, peak about 0.5.
        starts: [S] seconds at which each sound begins, increasing.
        sounds: [S] indices into ``sounds.SOUNDS``.
        speaker: voice that spoke it.
    """

    wav: NDArray[np.float32]
    starts: NDArray[np.float64]
    sounds: NDArray[np.int64]
    speaker: str


class Espeak:
    """libespeak-ng by ctypes: its command line gives no phoneme times. One instance a process."""

    def __init__(self) -> None:
        """Load the library.

        Raises:
            MissingModelError: it is not installed.
        """
        try:
            self._lib = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise MissingModelError(
                "libespeak-ng.so.1 is not installed.",
                reason="NO_ESPEAK",
                remedy="apt-get install espeak-ng flite",
            ) from error
        self.rate_hz = int(self._lib.espeak_Initialize(2, 0, None, 3))
        self._audio: list[NDArray[np.int16]] = []
        self._events: list[tuple[float, str]] = []
        self._callback = _CALLBACK(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def speak(
        self,
        voice: str,
        text: str,
        *,
        words_per_minute: int,
        pitch: int,
        pitch_range: int,
    ) -> Utterance:
        """Synthesise ``text``.

        Args:
            voice: language and variant, e.g. ``"de+f3"``.
            text: what to say.
            words_per_minute: speaking rate, 80 to 450.
            pitch: 0 to 100.
            pitch_range: liveliness, 0 to 100.
        """
        self._audio.clear()
        self._events.clear()
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise MissingModelError(f"espeak-ng has no voice {voice}.", reason="NO_VOICE")
        for parameter, value in (
            (_RATE, words_per_minute),
            (_PITCH, pitch),
            (_RANGE, pitch_range),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
        wav = _resampled(np.concatenate(self._audio), self.rate_hz)
        return _utterance(wav, _espeak_segments(self._events), voice)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._audio.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == _PHONEME_EVENT:
                name = bytes(events[index].id.string).split(b"\0")[0].decode("utf8", "ignore")
                self._events.append((events[index].sample / self.rate_hz, name))
            index += 1
        return 0


class _EventId(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def flite(voice: str, text: str, *, stretch: float) -> Utterance:
    """Synthesise English with a flite voice.

    Args:
        voice: ``kal``, ``rms``, …
        text: what to say.
        stretch: duration relative to the voice's own.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.wav")
        command = [
            "flite",
            "-voice",
            voice,
            "--setf",
            f"duration_stretch={stretch}",
            "-psdur",
        ]
        done = subprocess.run(
            [*command, "-t", text, "-o", str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
            wav = _resampled(samples, file.getframerate())
    pairs = [(name, float(end)) for name, end in re.findall(r"(\w+):([\d.]+)", done.stdout)]
    return _from_ends(wav, pairs, from_arpabet, f"flite-{voice}")


def level_utterance(
    samples: NDArray[np.int16],
    pairs: Sequence[tuple[str, float]],
    sounds: Callable[[str], tuple[int, ...]],
    speaker: str,
) -> Utterance:
    """Speech at 16 kHz whose phonemes come each with the second at which it ends."""
    return _from_ends(_resampled(samples, SAMPLE_RATE_HZ), pairs, sounds, speaker)


def _from_ends(
    wav: NDArray[np.float32],
    pairs: Sequence[tuple[str, float]],
    sounds: Callable[[str], tuple[int, ...]],
    speaker: str,
) -> Utterance:
    begins = [0.0, *(end for _, end in pairs)]
    segments = [(b, sounds(name)) for b, (name, _) in zip(begins, pairs, strict=False)]
    return _utterance(wav, _split([*segments, (begins[-1], _SILENT)]), speaker)


def _espeak_segments(events: Sequence[tuple[float, str]]) -> list[tuple[float, int]]:
    sounds = [(t, name) for t, name in events if not name.startswith("(")]
    segments: list[tuple[float, tuple[int, ...]]] = [(0.0, _SILENT)]
    for time, name in sounds:
        found = from_ipa(name)
        if not found:
            continue
        start = time - _STOP_LEAD_S if name.startswith(_STOPS) else time
        segments.append((max(start, segments[-1][0] + 0.01), found))
    return _split([*segments, (events[-1][0] if events else 0.0, _SILENT)])


def _split(
    segments: Sequence[tuple[float, tuple[int, ...]]],
) -> list[tuple[float, int]]:
    """Diphthongs and affricates become two halves; unknown sounds lengthen their neighbour."""
    halves: list[tuple[float, int]] = []
    for i, (start, sounds) in enumerate(segments):
        stop = segments[i + 1][0] if i + 1 < len(segments) else start
        for k, sound in enumerate(sounds):
            halves.append((start + (stop - start) * k / len(sounds), sound))
    return halves


def _utterance(
    wav: NDArray[np.float32], segments: list[tuple[float, int]], speaker: str
) -> Utterance:
    starts = np.maximum.accumulate(np.array([s for s, _ in segments], dtype=np.float64))
    return Utterance(wav, starts, np.array([v for _, v in segments], dtype=np.int64), speaker)


def _resampled(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.float32]:
    """Int16 at any rate to float32 at 16 kHz with a peak of 0.5."""
    shared = gcd(rate_hz, SAMPLE_RATE_HZ)
    wav = samples.astype(np.float32)
    if rate_hz != SAMPLE_RATE_HZ:
        wav = scipy.signal.resample_poly(wav, SAMPLE_RATE_HZ // shared, rate_hz // shared)
    peak = float(np.abs(wav).max()) if len(wav) else 0.0
    return np.asarray(wav * (0.5 / max(peak, 1.0)), dtype=np.float32)
