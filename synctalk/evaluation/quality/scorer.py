"""Scores of one video against another, frame by frame, so that no clip is ever held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.evaluation.metrics import psnr, similarities
from synctalk.evaluation.quality.models import QualityModels
from synctalk.evaluation.quality.spec import METRICS, Absent
from synctalk.face.tracking import FaceTracker

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Series = NDArray[np.float64]

_MASKED = ("psnr_head", "psnr_mouth", "ssim_mouth")
_IMAGE = ("psnr", "ssim", "ms_ssim")


@dataclass(frozen=True)
class VideoScores(Mapping[str, "float | Absent"]):
    """What a :class:`VideoScorer` found, by the metrics' names, in the order of ``METRICS``.

    Args:
        figures: of the whole video, or why there is none.
        series: [T] value of every frame for metrics that have one; NaN where a frame has none.
        n_frames: T.
    """

    figures: Mapping[str, float | Absent]
    series: Mapping[str, Series]
    n_frames: int

    def __getitem__(self, name: str) -> float | Absent:
        return self.figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.figures)

    def __len__(self) -> int:
        return len(self.figures)


class VideoScorer:
    """Measures rendered frames against their source frames as they come.

    Args:
        metrics: names of those wanted, of kind ``video``; None for all. Networks cost time: LPIPS
            and FID some 50 ms a frame and core each.
        models: where the networks and parameters are searched.
        tracker: finds the face in both videos, for what METRICS says needs it. None leaves these
            absent.
        audio: [N] float32 at 16 kHz, the sound the frames are to follow, from the first frame on.
        fps: frames per second.
        cuts: frames that begin a new shot; no difference in time is taken across one.

    Raises:
        InputError: a metric is unknown, or not one of a video.
    """

    def __init__(
        self,
        *,
        metrics: Iterable[str] | None = None,
        models: QualityModels | None = None,
        tracker: FaceTracker | None = None,
        audio: NDArray[np.float32] | None = None,
        fps: int = 25,
        cuts: Sequence[int] = (),
    ) -> None:
        """Nothing seen yet."""
        self._names = _checked(metrics)
        self._models = models or QualityModels()
        self._tracker, self._audio, self._fps, self._cuts = tracker, audio, fps, tuple(cuts)
        self._rows: dict[str, list[float]] = {name: [] for name in (*_IMAGE, *_MASKED)}
        self._size: tuple[int, ...] | None = None

    def add(
        self,
        reference: Image,
        frame: Image,
        *,
        head: Mask | None = None,
        mouth: Mask | None = None,
    ) -> None:
        """Score the next frame.

        Args:
            reference, frame: uint8 RGB [H,W,3].
            head, mouth: bool [H,W] for the figures of these regions; all or none of the frames.

        Raises:
            InputError: the two differ in shape or type, or in size from the frames before.
        """
        if self._size not in (None, frame.shape):
            raise InputError(
                f"Frame {len(self._rows['psnr'])} is {list(frame.shape)}, those before it "
                f"{list(self._size or ())}.",
                reason="FRAME_SIZE_CHANGED",
                remedy="Score frames of one size.",
            )
        self._rows["psnr"].append(psnr(frame, reference))
        found = similarities(frame, reference, mouth)
        self._rows["ssim"].append(found.ssim)
        self._rows["ms_ssim"].append(found.ms_ssim)
        if head is not None:
            value = psnr(frame, reference, head) if head.any() else np.nan
            self._rows["psnr_head"].append(value)
        if mouth is not None:
            value = psnr(frame, reference, mouth) if mouth.any() else np.nan
            self._rows["psnr_mouth"].append(value)
            self._rows["ssim_mouth"].append(found.ssim_masked)
        self._size = frame.shape

    def result(self) -> VideoScores:
        """Scores of all frames so far.

        Raises:
            InputError: no frame was added.
        """
        n_frames = len(self._rows["psnr"])
        if not n_frames:
            raise InputError("No frame was scored.", reason="NO_FRAMES")
        series = {k: np.array(v) for k, v in self._rows.items() if v and k in self._names}
        values: dict[str, float | Absent] = {
            name: float(np.nanmean(series[name]))
            if name in series
            else Absent("NOT_WRITTEN", "This metric's code has not landed yet.")
            for name in self._names
        }
        return VideoScores(values, series, n_frames)


def _checked(metrics: Iterable[str] | None) -> tuple[str, ...]:
    videos = tuple(name for name, spec in METRICS.items() if spec.kind == "video")
    wanted = set(videos if metrics is None else metrics)
    if unknown := sorted(wanted - set(videos)):
        raise InputError(
            f"Not a metric of a video: {', '.join(unknown)}.",
            reason="UNKNOWN_METRIC",
            remedy=f"Known are {', '.join(videos)}.",
        )
    return tuple(name for name in videos if name in wanted)
