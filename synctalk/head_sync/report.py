"""What the stabilizer tells about itself: errors and jitter before and after each step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepReport:
    """State of the poses after one step.

    Args:
        step: ``"motion"``, ``"bundle"``, ``"photometric"`` or ``"smooth"``.
        landmark_px: weighted rms reprojection error of the landmarks.
        points_px: median reprojection error of the tracked points before and after the step, or
            None where it does not use them.
        photometric: mean robust residual of the appearance before and after the step, grey levels
            of the key frames, or None.
        jitter_deg: mean |second difference| of rotation within shots, degrees.
        jitter_mm: mean |second difference| of translation within shots, mm.
    """

    step: str
    landmark_px: float
    points_px: tuple[float, float] | None
    photometric: tuple[float, float] | None
    jitter_deg: float
    jitter_mm: float


@dataclass(frozen=True)
class HeadSyncReport:
    """Report of the Head-Sync Stabilizer.

    Args:
        steps: one entry after each step, in order.
        focal_px: focal length used.
        interpolated: frames without a face, whose pose is interpolated.
        rejected: frames whose photometric alignment was not believed and fell back.
    """

    steps: tuple[StepReport, ...]
    focal_px: float
    interpolated: tuple[int, ...]
    rejected: tuple[int, ...]
