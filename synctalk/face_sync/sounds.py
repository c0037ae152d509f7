"""Thirty-nine speech sounds that the teachers' languages share, and the mouth shape of each.

The encoder names sounds; mouth shapes are sums over them. Fifteen shapes alone are too few to teach
with: GRID speakers' mouth openings from another speaker's true shapes correlate at 0.65, from true
sounds at 0.71 (docs/research/face-sync.md). Every notation is spelt in this inventory.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from synctalk.face_sync.visemes import VISEMES

_BY_VISEME = {
    "sil": ("sil",), "PP": "pbm", "FF": "fv", "TH": "θ", "DD": "td", "kk": "kɡŋh", "CH": "ʃʒ",
    "SS": "sz", "nn": "nl", "RR": "ɹrɜ", "aa": "aɑʌ", "E": "eɛæə", "I": "iɪj", "O": "ɔoø",
    "U": "uʊyw",
}  # fmt: skip
SOUNDS = tuple(sound for sounds in _BY_VISEME.values() for sound in sounds)
VISEME_OF = tuple(VISEMES.index(name) for name, sounds in _BY_VISEME.items() for _ in sounds)

_ALIKE = {
    "b": "ɓʙ", "f": "ɸ", "v": "βʋⱱɱ", "θ": "ð", "t": "ʈ", "d": "ɖɗɾ", "k": "qcʔ", "ɡ": "gɟʕɠɢʛ",
    "ŋ": "ɴ", "h": "xɣχħɦʝ", "ʃ": "ɕʂ", "ʒ": "ʑʐ", "n": "ɲɳ", "l": "ɭʎɫɬɮ", "ɹ": "ɻ", "r": "ʀʁɽɺ",
    "ɜ": "ɝɚ", "ɑ": "ɒ", "ʌ": "ɐ", "ə": "ɘɵ", "ɪ": "ɨɯᵻʲ", "ø": "œɞ", "o": "ɤ", "u": "ʉ", "y": "ʏ",
    "w": "ʍɥ",
}  # fmt: skip
_BY_LETTER = {sound: SOUNDS.index(sound) for sound in SOUNDS if len(sound) == 1}
_BY_LETTER |= {letter: SOUNDS.index(sound) for sound, alike in _ALIKE.items() for letter in alike}
_SIL = (SOUNDS.index("sil"),)

_ARPABET = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "θ", "eh": "ɛ", "er": "ɜ", "ey": "eɪ", "f": "f", "g": "ɡ",
    "hh": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ",
    "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ",
    "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ", "pau": "_",
}  # fmt: skip

# Festival's Italian, Catalan, Czech and Finnish voices, without stress and length marks.
_FESTIVAL = {
    **{letter: letter for letter in "abdefijklmnoprstuvwz"},
    "g": "ɡ", "h": "h", "E": "ɛ", "O": "ɔ", "S": "ʃ", "Z": "ʒ", "J": "n", "L": "l", "N": "ŋ",
    "ts": "ts", "dz": "dz", "tS": "tʃ", "dZ": "dʒ", "tts": "ts", "ddz": "dz", "ttS": "tʃ",
    "ddZ": "dʒ", "c": "ts", "c~": "tʃ", "d~": "d", "t~": "t", "n~": "n", "n*": "ŋ", "r~": "ʒ",
    "r~*": "ʃ", "s~": "ʃ", "z~": "ʒ", "ch": "h", "dz~": "dʒ", "rr": "r", "ax": "ə", "uax": "ʊ",
    "iax": "ɪ", "T": "θ", "B": "b", "D": "θ", "G": "ɡ", "7": "ø", "@": "æ", "y": "y", "_": "_",
    "#": "_", "pau": "_",
}  # fmt: skip

_RUSSIAN = {
    "aa": "a", "a": "a", "ae": "ə", "ay": "ə", "ee": "ɛ", "e": "e", "ii": "i", "i": "ɪ",
    "yy": "ɪ", "y": "ɪ", "oo": "o", "uu": "u", "u": "ʊ", "ur": "ʊ", "p": "p", "b": "b", "m": "m",
    "f": "f", "v": "v", "t": "t", "d": "d", "k": "k", "g": "ɡ", "h": "h", "c": "ts", "ch": "tʃ",
    "s": "s", "z": "z", "sh": "ʃ", "sch": "ʃ", "zh": "ʒ", "n": "n", "l": "l", "r": "r", "j": "j",
    "pau": "_",
}  # fmt: skip


def from_ipa(symbol: str) -> tuple[int, ...]:
    """Sounds of one IPA phoneme in order (two for diphthongs and affricates); () if unknown.

    Marks of length, tone, stress and place are ignored. Pauses (empty or ``_``) are silence.
    """
    text = unicodedata.normalize("NFD", symbol.replace("ç", "x"))  # or its cedilla is lost
    if not text or text[0] == "_":
        return _SIL
    found = [_BY_LETTER[letter] for letter in text if letter in _BY_LETTER]
    ends = [v for i, v in enumerate(found) if i == 0 or v != found[i - 1]]
    return tuple(ends[:2])


def from_arpabet(symbol: str) -> tuple[int, ...]:
    """Sounds of one phoneme in lower-case ARPAbet (flite, Festival, PocketSphinx)."""
    return _spelt(_ARPABET, symbol)


def from_festival(symbol: str) -> tuple[int, ...]:
    """Sounds of one phoneme of Festival's Italian, Catalan, Czech and Finnish voices."""
    return _spelt(_FESTIVAL, symbol.rstrip("1234:") or symbol)


def from_russian(symbol: str) -> tuple[int, ...]:
    """Sounds of one phoneme of Festival's Russian voice; doubled consonants are soft ones."""
    return _spelt(_RUSSIAN, symbol if symbol in _RUSSIAN else symbol[: len(symbol) // 2])


def _spelt(table: Mapping[str, str], symbol: str) -> tuple[int, ...]:
    return from_ipa(table[symbol]) if symbol in table else ()
