"""Festival's voices, spliced from recordings, and the recordings of its Russian one.

Festival is a program of its own; its voices are free software (see ``weights/MODEL_CARD.md``). The
Russian voice's package holds what it was made of: a person reading for an hour and a half, with
phoneme times. Nothing teaches an encoder real mouths as real speech does.
"""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synctalk.errors import MissingModelError
from synctalk.face_sync.sounds import from_arpabet, from_festival, from_russian
from synctalk.face_sync.teachers import Utterance, level_utterance

PACKAGES = (
    "festival festvox-kdlpc16k festvox-italp16k festvox-itapc16k festvox-czech-dita "
    "festvox-czech-krb festvox-czech-machac festvox-czech-ph festvox-suopuhe-lj "
    "festvox-suopuhe-mv festvox-ca-ona-hts festvox-ru"
)
RUSSIAN = Path("/usr/share/festival/voices/russian/msu_ru_nsh_clunits")
_SCRIPT = """(let ((u (utt.synth (eval (list 'Utterance 'Text "{text}")))))
 (utt.wave.resample u 16000) (utt.save.wave u "{path}" 'riff)
 (mapcar (lambda (s) (format t "%s %f " (item.name s) (item.feat s 'end)))
  (utt.relation.items u 'Segment))
 (format t "\\nEND {index}\\n"))
"""


@dataclass(frozen=True)
class FestivalVoice:
    """A voice: its name, the language whose sentences it reads, its text encoding, its sounds."""

    name: str
    language: str
    encoding: str
    sounds: Callable[[str], tuple[int, ...]] = from_festival


VOICES = (
    FestivalVoice("ked_diphone", "en", "latin-1", from_arpabet),
    FestivalVoice("lp_diphone", "it", "latin-1"),
    FestivalVoice("pc_diphone", "it", "latin-1"),
    FestivalVoice("czech_dita", "cs", "iso-8859-2"),
    FestivalVoice("czech_krb", "cs", "iso-8859-2"),
    FestivalVoice("czech_machac", "cs", "iso-8859-2"),
    FestivalVoice("czech_ph", "cs", "iso-8859-2"),
    FestivalVoice("suo_fi_lj_diphone", "fi", "latin-1"),
    FestivalVoice("hy_fi_mv_diphone", "fi", "latin-1"),
    FestivalVoice("upc_ca_ona_hts", "es", "latin-1"),
)


def festival(voice: FestivalVoice, texts: Sequence[str], *, stretch: float) -> list[Utterance]:
    """Let a voice read texts; those it cannot say are left out.

    Args:
        voice: one of :data:`VOICES`.
        texts: what to say.
        stretch: duration relative to the voice's own.

    Raises:
        MissingModelError: Festival or the voice is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice.name})\n(Parameter.set 'Duration_Stretch {stretch:.2f})\n"]
        for index, text in enumerate(texts):
            plain = text.replace('"', "").replace("\\", "")
            path = Path(folder, f"{index}.wav")
            lines.append(_SCRIPT.format(text=plain, path=path, index=index))
        script = Path(folder, "say.scm")
        script.write_bytes("".join(lines).encode(voice.encoding, "ignore"))
        try:
            done = subprocess.run(
                ["festival", "-b", str(script)],
                check=False,
                capture_output=True,
                timeout=600,
            )
        except OSError as error:
            raise _missing("festival is not installed.") from error
        found = list(_spoken(voice, done.stdout.decode("latin-1"), Path(folder)))
    if not found:
        raise _missing(f"Festival's voice {voice.name} said nothing.")
    return found


def _spoken(voice: FestivalVoice, printed: str, folder: Path) -> Iterator[Utterance]:
    for segments, index in re.findall(r"([^\n]*)\nEND (\d+)\n", printed):
        pairs = [(name, float(end)) for name, end in re.findall(r"(\S+) ([\d.]+)", segments)]
        path = folder / f"{index}.wav"
        if pairs and path.exists():
            yield level_utterance(_read(path), pairs, voice.sounds, f"festival-{voice.name}")


def russian(rng: random.Random, seconds: float) -> list[Utterance]:
    """Recordings of the Russian voice's speaker, any ``seconds`` of them.

    Raises:
        MissingModelError: the voice is not installed.
    """
    names = sorted(path.stem for path in (RUSSIAN / "lab").glob("*.lab"))
    if not names:
        raise _missing("Festival's Russian voice is not installed.")
    found: list[Utterance] = []
    while sum(len(u.wav) for u in found) < seconds * 16_000:
        name = rng.choice(names)
        rows = (RUSSIAN / "lab" / f"{name}.lab").read_text().split("#\n", 1)[1].splitlines()
        pairs = [(row.split()[2], float(row.split()[0])) for row in rows if len(row.split()) == 3]
        samples = _read(RUSSIAN / "wav" / f"{name}.wav")
        found.append(level_utterance(samples, pairs, from_russian, "msu-ru-nsh"))
    return found


def _read(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)


def _missing(what: str) -> MissingModelError:
    return MissingModelError(what, reason="NO_FESTIVAL", remedy=f"apt-get install {PACKAGES}")
