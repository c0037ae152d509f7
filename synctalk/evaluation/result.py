"""What an evaluation finds, before it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from synctalk.bundle import CurvePoint
from synctalk.evaluation.machine import Machine

Image = NDArray[np.uint8]
Series = NDArray[np.float64]


@dataclass(frozen=True)
class FrameScores:
    """Image metrics of T frames, each [T]; NaN where a region is empty in that frame.

    Args:
        psnr, psnr_head, psnr_mouth: dB; full frame, head mask, mouth box.
        ssim, ssim_mouth: full frame, mouth box.
        ms_ssim: full frame.
    """

    psnr: Series
    psnr_head: Series
    psnr_mouth: Series
    ssim: Series
    ssim_mouth: Series
    ms_ssim: Series

    def means(self) -> dict[str, float]:
        """Mean of every metric over the frames that have it; NaN where none has."""
        return {f.name: mean(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True)
class Example:
    """One frame to look at.

    Args:
        index: frame of the clip.
        psnr: dB of the rendered frame.
        source, rendered: uint8 [s,s,3], reduced in size.
    """

    index: int
    psnr: float
    source: Image
    rendered: Image


@dataclass(frozen=True)
class Drive:
    """The held-out frames rendered with the lips driven in one way.

    Args:
        plain: scores of the rendered head on its plate.
        portrait: scores after blending the face into the source frame.
        lmd: [T] landmark distance, px at 512; NaN where the tracker lost a face.
        lip_gap: [T] inner lips' distance re-tracked in the rendered frames, px at 512, or NaN.
        mouth_opening_mm: [T] mouth opening that the driving coefficients ask for.
        video: name of the file that shows source and rendered side by side.
        examples: evenly spread over the frames.
        worst: lowest PSNR first.
    """

    plain: FrameScores
    portrait: FrameScores
    lmd: Series
    lip_gap: Series
    mouth_opening_mm: Series
    video: str
    examples: tuple[Example, ...]
    worst: tuple[Example, ...]


@dataclass(frozen=True)
class Timings:
    """Where the time went.

    Args:
        preprocess_s, train_s: seconds per stage, from the manifests of dataset and avatar.
        frame_ms: milliseconds per frame by stage, each measured alone (``stages.py``).
    """

    preprocess_s: Mapping[str, float]
    train_s: Mapping[str, float]
    frame_ms: Mapping[str, float]


@dataclass(frozen=True)
class EvaluationResult:
    """Own-audio reconstruction of the held-out frames of one clip.

    Args:
        subject: name of the footage.
        preset: training preset of the avatar.
        tracker: face tracker of the dataset.
        size: side of the compared frames, px.
        fps: frames per second.
        n_frames: frames of the whole clip.
        first: first held-out frame; all after it are held out too.
        cuts: first frame of every shot but the first.
        tracked: lips from tracked landmarks of the held-out frames themselves (the oracle).
        audio: lips from the clip's own audio.
        source_lip_gap: [T] as ``Drive.lip_gap``, of the source.
        pose_deg: [n_frames,3] tracked yaw, pitch and roll of the head.
        curve: held-out PSNR while the avatar trained.
    """

    subject: str
    preset: str
    tracker: str
    size: int
    fps: int
    n_frames: int
    first: int
    cuts: tuple[int, ...]
    tracked: Drive
    audio: Drive
    source_lip_gap: Series
    pose_deg: Series
    timings: Timings
    curve: tuple[CurvePoint, ...]
    machine: Machine


def mean(values: Series) -> float:
    """Mean of the values that are there; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def correlation(a: Series, b: Series) -> float:
    """Pearson correlation over the frames that both have; NaN for fewer than two or a constant."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 2 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])
