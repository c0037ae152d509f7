"""What is measured while frames stream by, one meter for each computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.evaluation.quality.fid import Cloud, frechet_distance, inception_features
from synctalk.evaluation.quality.inception import InceptionV3
from synctalk.evaluation.quality.spec import Absent
from synctalk.evaluation.quality.syncnet import (
    FPS,
    LEAST_FRAMES,
    SAMPLE_RATE_HZ,
    WINDOW,
    LipSync,
    SyncNet,
    cut_face,
    judge,
)

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Series = NDArray[np.float64]

TOO_SHORT = Absent("CLIP_TOO_SHORT", "Score more frames of one shot.")


@dataclass(frozen=True)
class View:
    """A frame to be measured.

    Args:
        index: its place in the video.
        reference, frame: uint8 RGB [H,W,3].
        before: the pair one frame earlier in the same shot, reference first; None for the first.
        head, mouth: bool [H,W] or None.
    """

    index: int
    reference: Image
    frame: Image
    before: tuple[Image, Image] | None
    head: Mask | None
    mouth: Mask | None


@dataclass(frozen=True)
class Measured:
    """What a meter found: figures by metric, and [T] series of those that have one."""

    figures: Mapping[str, float | Absent]
    series: Mapping[str, Series]


class Meter(Protocol):
    """Measures frames as they come."""

    def add(self, view: View) -> None:
        """Take in the next frame."""
        ...

    def result(self, n_frames: int) -> Measured:
        """All that was measured in ``n_frames`` frames."""
        ...


class PerFrame:
    """Metrics that each frame has by itself; a clip's figure is the mean over its frames.

    Args:
        missing: the metrics, and what to say of each when no frame has it.
        measure: values of one frame; those it cannot have are left out.
        least_side: shortest side of a frame that can be measured.
        every: only one frame in so many is measured.
    """

    def __init__(
        self,
        missing: Mapping[str, Absent],
        measure: Callable[[View], Mapping[str, float]],
        *,
        least_side: int = 1,
        every: int = 1,
    ) -> None:
        """Nothing measured yet."""
        self._missing, self._measure = dict(missing), measure
        self._least, self._every = least_side, every
        self._values: dict[str, dict[int, float]] = {name: {} for name in missing}

    def add(self, view: View) -> None:
        """Measure the frame, if it is one of those."""
        if min(view.frame.shape[:2]) < self._least:
            self._missing = dict.fromkeys(self._missing, too_small(self._least))
        elif view.index % self._every == 0:
            for name, value in self._measure(view).items():
                self._values[name][view.index] = value

    def result(self, n_frames: int) -> Measured:
        """Means and series, NaN where a frame has no value."""
        figures: dict[str, float | Absent] = {}
        series: dict[str, Series] = {}
        for name, values in self._values.items():
            row = np.full(n_frames, np.nan)
            row[list(values)] = list(values.values())
            figures[name] = self._missing[name]
            if np.isfinite(row).any():
                figures[name], series[name] = float(np.nanmean(row)), row
        return Measured(figures, series)


def too_small(least: int) -> Absent:
    """Of a metric whose windows or blocks do not fit into the frames."""
    return Absent("FRAME_TOO_SMALL", f"Score frames whose sides are {least} px or more.")


class Fid:
    """FID of all frames so far."""

    def __init__(self, network: InceptionV3) -> None:
        """Nothing seen yet."""
        self._network = network
        self._clouds = Cloud(), Cloud()

    def add(self, view: View) -> None:
        """Take in both frames."""
        for cloud, image in zip(self._clouds, (view.reference, view.frame), strict=True):
            cloud.add(inception_features(self._network, image))

    def result(self, n_frames: int) -> Measured:
        """The distance of the two clouds."""
        if n_frames < 2:
            return Measured({"fid": TOO_SHORT}, {})
        return Measured({"fid": frechet_distance(*self._clouds)}, {})


class LipJudge:
    """LSE-C and LSE-D, shot by shot.

    Args:
        network: the published SyncNet.
        squares: [T,3] of ``syncnet.face_squares``.
        audio: [N] the sound of the whole video at 16 kHz.
        cuts: frames that begin a new shot.
    """

    def __init__(
        self, network: SyncNet, squares: Series, audio: NDArray[np.float32], cuts: tuple[int, ...]
    ) -> None:
        """Nothing seen yet."""
        self._network, self._squares, self._audio = network, squares, audio
        self._starts = frozenset(cuts)
        self._window: list[Tensor] = []
        self._lips: list[Tensor] = []
        self._first = 0
        self._found: list[LipSync] = []

    def add(self, view: View) -> None:
        """Look at the five frames that end here."""
        if view.index in self._starts:
            self._end(view.index)
        crop = cut_face(view.frame, self._squares[view.index])
        self._window = [*self._window, torch.from_numpy(crop)][-WINDOW:]
        if len(self._window) == WINDOW:
            crops = torch.stack(self._window).permute(3, 0, 1, 2)[None].float()
            self._lips.append(self._network.embed_lips(crops)[0])

    def result(self, n_frames: int) -> Measured:
        """Means over the shots of four seconds or more."""
        self._end(n_frames)
        if not self._found:
            return Measured({"lse_c": TOO_SHORT, "lse_d": TOO_SHORT}, {})
        confidence, distance, _ = np.mean(self._found, axis=0)
        return Measured({"lse_c": float(confidence), "lse_d": float(distance)}, {})

    def _end(self, at: int) -> None:
        """Judge the shot that ends before frame ``at``."""
        if at - self._first >= LEAST_FRAMES:
            rate = SAMPLE_RATE_HZ // FPS
            sound = self._audio[self._first * rate : at * rate]
            self._found.append(judge(self._network, torch.stack(self._lips), sound))
        self._window, self._lips, self._first = [], [], at
