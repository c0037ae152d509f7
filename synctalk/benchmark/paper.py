"""Tables I to IV, VI and VII of the SyncTalk++ paper, as printed: its own footage, one RTX 4090.

Our copy of the paper is text: what it lost (formulas that named rows) is said in the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Cell = float | None


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Args:
        number, caption: as in the paper.
        metrics: names of ``evaluation.quality.METRICS`` by column; in Table III with the audio
            before them.
        rows: figures by row; None where the paper has a dash.
        ours: rows that are the paper's own method.
    """

    number: str
    caption: str
    metrics: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    ours: tuple[str, ...] = ()


_COLUMNS_I = "psnr lpips ms_ssim fid niqe brisque lmd aue lse_c train_s fps"
_TABLE_I = """
Wav2Lip 33.4385 0.0697 0.9781 16.0228 14.5367 44.2659 4.9630 2.9029 9.2387 - 21.26
VideoReTalking 31.7923 0.0488 0.9680 9.2063 14.2410 43.0465 5.8575 3.3308 7.9683 - 0.76
DINet 31.6475 0.0443 0.9640 9.4300 14.6850 40.3650 4.3725 3.6875 6.5653 - 23.74
TalkLip 32.5154 0.0782 0.9697 18.4997 14.6385 46.6717 5.8605 2.9579 5.9472 - 3.41
IP-LAP 35.1525 0.0443 0.9803 8.2125 14.6400 42.0750 3.3350 2.8400 4.9541 - 3.27
AD-NeRF 26.7291 0.1536 0.9111 28.9862 14.9091 55.4667 2.9995 5.5481 4.4996 16.4h 0.14
RAD-NeRF 31.7754 0.0778 0.9452 8.6570 13.4433 44.6892 2.9115 5.0958 5.5219 5.2h 53.87
GeneFace 24.8165 0.1178 0.8753 21.7084 13.3353 46.5061 4.2859 5.4527 5.1950 12.3h 7.79
ER-NeRF 32.5216 0.0334 0.9501 5.2936 13.7048 34.7361 2.8137 4.1873 5.7749 3.1h 55.41
TalkingGaussian 33.1178 0.0333 0.9610 7.5019 13.9055 41.6166 2.6974 2.6686 6.1842 1.2h 105.36
GaussianTalker 32.7476 0.0523 0.9541 6.3916 14.0236 43.2154 2.8308 4.0350 6.2074 2.8h 85.03
SyncTalk 35.3542 0.0235 0.9769 3.9247 13.1333 33.2954 2.5714 2.5796 8.1331 3.2h 52.18
SyncTalk++ 36.3779 0.0201 0.9826 3.8771 13.7215 39.3769 2.5331 2.5211 7.8298 1.5h 101.20
"""


def _parsed(text: str) -> dict[str, tuple[Cell, ...]]:
    """Rows of a name and figures; times in hours, as seconds."""
    rows = [line.split() for line in text.strip().splitlines()]
    return {name: tuple(_value(each) for each in values) for name, *values in rows}


def _value(text: str) -> Cell:
    if text == "-":
        return None
    return 3600.0 * float(text[:-1]) if text.endswith("h") else float(text)


TABLE_I = PaperTable(
    "I",
    "Head reconstruction: own audio, the last 1/11 of the frames",
    tuple(_COLUMNS_I.split()),
    _parsed(_TABLE_I),
    ("SyncTalk++",),
)
TABLE_II = PaperTable(
    "II",
    "Portrait mode: the face blended into the source frame",
    ("psnr", "lpips", "ms_ssim", "fid"),
    {
        "SyncTalk (w/o Portrait)": (35.3542, 0.0235, 0.9768, 3.9247),
        "SyncTalk (Portrait)": (37.4016, 0.0113, 0.9841, 2.7070),
        "SyncTalk++ (w/o Portrait)": (36.3779, 0.0201, 0.9826, 3.8771),
        "SyncTalk++ (Portrait)": (39.5748, 0.0097, 0.9905, 2.1958),
    },
    ("SyncTalk++ (w/o Portrait)", "SyncTalk++ (Portrait)"),
)
TABLE_III = PaperTable(
    "III",
    "Lip synchronisation under other people's speech",
    ("Audio A lse_d", "Audio A lse_c", "Audio B lse_d", "Audio B lse_c"),
    {
        "DINet": (8.5031, 5.6956, 8.2038, 5.1134),
        "TalkLip": (8.7615, 5.7449, 8.7019, 5.5359),
        "IP-LAP": (9.8037, 3.8578, 9.1102, 4.389),
        "GeneFace": (9.5451, 4.2933, 9.6675, 3.7342),
        "ER-NeRF": (11.813, 2.4076, 10.7338, 3.0242),
        "TalkingGaussian": (9.3027, 4.8452, 9.699, 4.2032),
        "GaussianTalker": (10.1228, 4.2625, 10.0872, 3.8152),
        "SyncTalk++": (8.0808, 6.4633, 8.0217, 6.0733),
    },
    ("SyncTalk++",),
)
TABLE_IV = PaperTable(
    "IV",
    "What the canonical head is initialised from",
    ("psnr", "lpips", "lmd", "lse_c"),
    {
        "row 1 (its formula is lost in our copy)": (31.468, 0.053, 2.799, 8.904),
        "row 2: SH and opacity, the paper's choice": (33.759, 0.032, 2.772, 9.373),
        "row 3 (its formula is lost in our copy)": (30.905, 0.071, 2.849, 8.307),
        "random init": (29.902, 0.089, 2.905, 8.105),
    },
    ("row 2: SH and opacity, the paper's choice",),
)
TABLE_VI = PaperTable(
    "VI",
    "Ablation on one subject (the paper's “May”)",
    ("psnr", "lpips", "lmd"),
    {
        "full": (39.093, 0.0110, 2.715),
        "w/o Audio-Visual Encoder": (37.638, 0.0194, 3.250),
        "w/o Facial Animation Capturer": (37.264, 0.0249, 3.058),
        "w/o Head-Sync Stabilizer": (29.193, 0.0749, 3.264),
        "w/o Portrait-Sync Generator": (33.759, 0.0321, 2.772),
        "w/o Semantic Weighting": (34.526, 0.0252, 3.104),
    },
    ("full",),
)
TABLE_VII = PaperTable(
    "VII",
    "The torso restorer under other people's speech",
    ("niqe", "brisque", "hyperiqa"),
    {
        "SyncTalk++ (w/o Torso Restorer)": (15.2476, 33.2916, 62.0307),
        "SyncTalk++ (w/ Torso Restorer)": (14.3012, 25.4147, 66.1958),
    },
    ("SyncTalk++ (w/ Torso Restorer)",),
)
TABLES: Mapping[str, PaperTable] = MappingProxyType(
    {t.number: t for t in (TABLE_I, TABLE_II, TABLE_III, TABLE_IV, TABLE_VI, TABLE_VII)}
)
"""By number."""
