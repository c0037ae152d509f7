"""Fifteen mouth shapes that speech sounds share, and the sounds that make them.

The classes are the usual fifteen of talking avatars: silence, nine consonant and five vowel
shapes. ``PP`` (p, b, m) is the one that closes the lips.
"""

from __future__ import annotations

import unicodedata

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")
SILENCE = VISEMES.index("sil")
BILABIAL = VISEMES.index("PP")

_IPA = {
    "PP": "pbmɓʙ",
    "FF": "fvɸβʋɱⱱ",
    "TH": "θð",
    "DD": "tdʈɖɗɾ",
    "kk": "kɡgxɣqɢχhħɦŋɴcɟʝʕɠʛʔ",
    "CH": "ʃʒɕʑʂʐ",
    "SS": "sz",
    "nn": "nlɲɳʎɭɫɬɮ",
    "RR": "ɹrʀʁɽɻɺɝɚɜ",
    "aa": "aɑɐʌɒ",
    "E": "eɛæəɘɵœ",
    "I": "iɪyjɨʏɯʲᵻ",
    "O": "oɔɤøɞ",
    "U": "uʊwʉɥʍ",
}
_BY_LETTER = {letter: VISEMES.index(name) for name, letters in _IPA.items() for letter in letters}
# Front rounded vowels look like back rounded ones: the lips round, the tongue is hidden.
for _letter, _name in {"y": "U", "ʏ": "U", "ø": "O", "œ": "O"}.items():
    _BY_LETTER[_letter] = VISEMES.index(_name)

_ARPABET = {
    "aa": "aa", "ae": "E", "ah": "aa", "ao": "O", "aw": "aa U", "ax": "E", "ay": "aa I",
    "b": "PP", "ch": "DD CH", "d": "DD", "dh": "TH", "eh": "E", "er": "RR", "ey": "E I",
    "f": "FF", "g": "kk", "hh": "kk", "ih": "I", "iy": "I", "jh": "DD CH", "k": "kk", "l": "nn",
    "m": "PP", "n": "nn", "ng": "kk", "ow": "O U", "oy": "O I", "p": "PP", "r": "RR", "s": "SS",
    "sh": "CH", "t": "DD", "th": "TH", "uh": "U", "uw": "U", "v": "FF", "w": "U", "y": "I",
    "z": "SS", "zh": "CH", "pau": "sil",
}  # fmt: skip

# Festival's Italian, Catalan, Czech and Finnish voices, without stress and length marks; their
# Czech differs from the others in "ch" (x) and c (ts), Finnish in "@" (a with dots) and 7 (o).
_FESTIVAL = {
    **{letter: VISEMES[_BY_LETTER[letter]] for letter in "abdefgijklmnoprstuvwz"},
    "E": "E", "O": "O", "S": "CH", "Z": "CH", "J": "nn", "L": "nn", "N": "kk", "h": "kk",
    "ts": "DD SS", "dz": "DD SS", "tS": "DD CH", "dZ": "DD CH", "tts": "DD SS", "ddz": "DD SS",
    "ttS": "DD CH", "ddZ": "DD CH", "c": "DD SS", "c~": "DD CH", "d~": "DD", "t~": "DD",
    "n~": "nn", "n*": "kk", "r~": "CH", "r~*": "CH", "s~": "CH", "z~": "CH", "ch": "kk",
    "dz~": "DD CH", "rr": "RR", "ax": "E", "uax": "U", "iax": "I", "T": "TH", "B": "PP",
    "D": "TH", "G": "kk", "7": "O", "@": "E", "y": "U", "_": "sil", "#": "sil", "pau": "sil",
}  # fmt: skip

_RUSSIAN = {
    "aa": "aa", "a": "aa", "ae": "E", "ay": "E", "ee": "E", "e": "E", "ii": "I", "i": "I",
    "yy": "I", "y": "I", "oo": "O", "uu": "U", "u": "U", "ur": "U", "p": "PP", "b": "PP", "m": "PP",
    "f": "FF", "v": "FF", "t": "DD", "d": "DD", "k": "kk", "g": "kk", "h": "kk", "c": "DD SS",
    "ch": "DD CH", "s": "SS", "z": "SS", "sh": "CH", "sch": "CH", "zh": "CH", "n": "nn", "l": "nn",
    "r": "RR", "j": "I", "pau": "sil",
}  # fmt: skip


def from_ipa(symbol: str) -> tuple[int, ...]:
    """Visemes of one IPA phoneme in order (two for diphthongs and affricates); () if unknown.

    Marks of length, tone, stress and place are ignored. Pauses (empty or ``_``) are silence.
    """
    text = unicodedata.normalize("NFD", symbol)
    if not text or text[0] == "_":
        return (SILENCE,)
    found = [_BY_LETTER[letter] for letter in text if letter in _BY_LETTER]
    ends = [v for i, v in enumerate(found) if i == 0 or v != found[i - 1]]
    return tuple(ends[:2])


def from_arpabet(symbol: str) -> tuple[int, ...]:
    """Visemes of one phoneme in flite's lower-case ARPAbet."""
    return tuple(VISEMES.index(name) for name in _ARPABET.get(symbol, "").split())


def from_festival(symbol: str) -> tuple[int, ...]:
    """Visemes of one phoneme of Festival's Italian, Catalan, Czech and Finnish voices."""
    name = symbol.rstrip("1234:") or symbol
    return tuple(VISEMES.index(v) for v in _FESTIVAL.get(name, "").split())


def from_russian(symbol: str) -> tuple[int, ...]:
    """Visemes of one phoneme of Festival's Russian voice; doubled consonants are soft ones."""
    name = symbol if symbol in _RUSSIAN else symbol[: len(symbol) // 2]
    return tuple(VISEMES.index(v) for v in _RUSSIAN.get(name, "").split())
