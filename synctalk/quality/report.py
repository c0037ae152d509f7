"""What the quality check says, for programs and for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["good", "warn", "refuse"]
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Verdict:
    """One check.

    Args:
        name: stable identifier, e.g. ``"sharpness"``.
        value: what was measured; None where it could not be.
        unit: of ``value``; empty for ratios.
        level: ``"refuse"`` stops preprocessing.
        message: what was found, one sentence.
        remedy: what to do about it; empty where all is well.
    """

    name: str
    value: float | None
    unit: str
    level: Level
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Sample:
    """A frame worth showing: its number, why, and the picture, uint8 [h, w, 3] RGB, scaled."""

    index: int
    label: str
    image: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True)
class QualityReport:
    """All verdicts, most of them about the footage, none about the person.

    Args:
        verdicts: in the order of the checks.
        samples: frames for the picture; not part of the JSON.
        sound_late_ms: estimated offset, None where it could not be told.
        sound_shift_ms: by which the sound has to be moved, 0 where it is in step or not known.
    """

    verdicts: tuple[Verdict, ...]
    samples: tuple[Sample, ...] = ()
    sound_late_ms: float | None = None
    sound_shift_ms: float = 0.0

    @property
    def refusals(self) -> tuple[Verdict, ...]:
        """What makes the footage unusable."""
        return tuple(v for v in self.verdicts if v.level == "refuse")

    @property
    def warnings(self) -> tuple[Verdict, ...]:
        """What will show in the avatar."""
        return tuple(v for v in self.verdicts if v.level == "warn")

    def verdict(self, name: str) -> Verdict:
        """The verdict called ``name``.

        Raises:
            KeyError: there is no such check.
        """
        return {v.name: v for v in self.verdicts}[name]

    def to_json(self) -> str:
        """``{"schema_version": 1, "level": worst, "verdicts": [...]}``."""
        worst = "refuse" if self.refusals else "warn" if self.warnings else "good"
        verdicts = [asdict(v) for v in self.verdicts]
        content = {"schema_version": SCHEMA_VERSION, "level": worst, "verdicts": verdicts}
        return json.dumps(content, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> QualityReport:
        """Inverse of :meth:`to_json`; without samples."""
        return cls(tuple(Verdict(**v) for v in json.loads(text)["verdicts"]))
