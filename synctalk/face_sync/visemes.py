"""Fifteen mouth shapes that speech sounds share; which sound makes which is in ``sounds.py``.

The classes are the usual fifteen of talking avatars: silence, nine consonant and five vowel
shapes. ``PP`` (p, b, m) is the one that closes the lips.
"""

VISEMES = (
    "sil",
    "PP",
    "FF",
    "TH",
    "DD",
    "kk",
    "CH",
    "SS",
    "nn",
    "RR",
    "aa",
    "E",
    "I",
    "O",
    "U",
)
SILENCE = VISEMES.index("sil")
BILABIAL = VISEMES.index("PP")
