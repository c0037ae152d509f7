"""What a cell found, as it lies on the disk."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synctalk.benchmark.effort import QUIET_CORES
from synctalk.errors import InputError, SyncTalkError
from synctalk.evaluation.quality import Absent, VideoScores

VERSION = 3
RESULT = "result.json"
Value = float | None


@dataclass(frozen=True)
class Scored:
    """Figures of one output.

    Args:
        figures: by metric; None where no frame had a value.
        absent: by metric, why it was not measured and how to get it.
        series: by metric, a value a frame; None where a frame has none.
    """

    figures: Mapping[str, Value]
    absent: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    series: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: VideoScores, keep: tuple[str, ...]) -> Scored:
        """What a scorer found; series of the metrics in ``keep`` alone."""
        known = {k: v for k, v in scores.figures.items() if not isinstance(v, Absent)}
        absent = {
            k: {"reason": v.reason, "remedy": v.remedy}
            for k, v in scores.figures.items()
            if isinstance(v, Absent)
        }
        series = {
            name: tuple(_number(float(v), 4) for v in scores.series[name])
            for name in keep
            if name in scores.series and np.isfinite(scores.series[name]).any()
        }
        return cls({k: _number(float(v)) for k, v in known.items()}, absent, series)


@dataclass(frozen=True)
class Worst:
    """One of the frames with the lowest PSNR; ``picture`` shows source and method."""

    frame: int
    psnr: float
    picture: str


@dataclass(frozen=True)
class Failure:
    """Why a cell has no figures."""

    reason: str
    message: str
    remedy: str

    @classmethod
    def of(cls, error: SyncTalkError) -> Failure:
        """From an error raised on purpose."""
        return cls(error.reason, error.message, error.remedy)


@dataclass(frozen=True)
class CellResult:
    """One cell of the tables.

    Args:
        digest: of all that it rests on.
        protocol, subject, method, kind, sound, role, seed: which cell.
        without: switches of the method.
        base: the method that it leaves something out of, or varies.
        public: whether the person may be shown.
        outputs: ``"plain"`` (as rendered) and ``"blended"`` (as delivered).
        run: figures of the run: ``train_s`` of the head, ``train_cpu_s`` of all its training,
            ``train_others_cores``, ``trained_steps``, ``trained_size``, ``fps_one_stream``, …
        curve: [n] of (training seconds, step, held-out PSNR) while it trained.
        points: what a protocol measures beside metrics; rows of a curve, or single figures.
        n_frames, first_frame, fps, side: of what was scored.
        video: file of the shown frames, with sound.
        worst: lowest PSNR first.
        machine: as ``Machine.as_dict``.
        others_cores: cores that other processes used meanwhile; None where that cannot be told.
        made_at: ISO time, UTC.
        wall_s: seconds that measuring took, training not counted.
        failure: why there are no figures.
    """

    digest: str
    protocol: str
    subject: str
    method: str
    kind: str
    sound: str = ""
    role: str = ""
    seed: int = 0
    without: tuple[str, ...] = ()
    base: str = ""
    public: bool = False
    outputs: Mapping[str, Scored] = field(default_factory=dict)
    run: Mapping[str, Value] = field(default_factory=dict)
    curve: tuple[tuple[float, float, float], ...] = ()
    points: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    n_frames: int = 0
    first_frame: int = 0
    fps: int = 25
    side: int = 0
    video: str = ""
    worst: tuple[Worst, ...] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    others_cores: Value = None
    made_at: str = ""
    wall_s: float = 0.0
    failure: Failure | None = None
    version: int = VERSION

    @property
    def timed_while_busy(self) -> bool:
        """Whether others worked while it was measured: its frame rates are bounds."""
        return (self.others_cores or 0.0) > QUIET_CORES

    @property
    def trained_while_busy(self) -> bool:
        """Whether others worked while it was trained: its training time is a bound."""
        return (self.run.get("train_others_cores") or 0.0) > QUIET_CORES

    def figure(self, name: str, output: str = "plain") -> Value:
        """A metric of an output, or of the run; None where it is not there."""
        scored = self.outputs.get(output)
        if scored is not None and name in scored.figures:
            return scored.figures[name]
        return self.run.get(name)

    def to_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str, where: Path) -> CellResult:
        """The inverse of :meth:`to_json`.

        Raises:
            InputError: it is none, or of another version.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["version"] != VERSION:
                raise ValueError(f"version {raw['version']}")
            raw["outputs"] = {k: _scored(v) for k, v in raw["outputs"].items()}
            raw["worst"] = tuple(Worst(**w) for w in raw["worst"])
            raw["curve"] = tuple(tuple(point) for point in raw["curve"])
            raw["points"] = {k: tuple(v) for k, v in raw["points"].items()}
            raw["without"] = tuple(raw["without"])
            raw["failure"] = Failure(**raw["failure"]) if raw["failure"] else None
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}: not a result of this release ({error}).",
                reason="BENCH_RESULT",
                remedy="Delete its folder and run the benchmark again.",
            ) from error


def _scored(raw: Mapping[str, Any]) -> Scored:
    series = {name: tuple(values) for name, values in raw["series"].items()}
    return Scored(raw["figures"], raw["absent"], series)


def _number(value: float, digits: int = 6) -> Value:
    return round(value, digits) if math.isfinite(value) else None
