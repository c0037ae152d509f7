"""Scores of one video against another, frame by frame, so that no clip is ever held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import InputError
from synctalk.evaluation.landmarks import mouth_mask
from synctalk.evaluation.metrics import check_pair
from synctalk.evaluation.quality.actions import OpenFacePair
from synctalk.evaluation.quality.choose import Inputs, choose_meters
from synctalk.evaluation.quality.faces import (
    PAIRED,
    SINGLE,
    measure_actions,
    measure_faces,
)
from synctalk.evaluation.quality.follow import Follower
from synctalk.evaluation.quality.meters import View
from synctalk.evaluation.quality.models import QualityModels
from synctalk.evaluation.quality.spec import METRICS, Absent
from synctalk.evaluation.quality.syncnet import SAMPLE_RATE_HZ
from synctalk.face.tracking import FaceTrack, FaceTracker

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Series = NDArray[np.float64]

AUDIO_SLACK_S = 0.25
"""Codecs pad sound; more than this apart it belongs to other frames."""
LOUDEST = 2.0


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
        metrics: names of those wanted, of kind ``video``; None for all. Networks cost time, see
            docs/metrics.md.
        models: where networks and parameters are searched.
        source: track of the source frames, in full: it says where the face and the mouth are.
        tracker: finds the face in the rendered frames, in a thread of its own; nobody else may use
            it meanwhile.
        audio: [N] float32 at 16 kHz in [-1,1], the sound the frames are to follow.
        openface: what OpenFace says of the two videos.
        fps: frames per second.
        cuts: frames that begin a new shot; no difference in time is taken across one.

    Raises:
        InputError: a metric is unknown, or not one of a video; the sound is of another kind.
        MissingModelError: a model file is there but cannot be used.
    """

    def __init__(
        self,
        *,
        metrics: Iterable[str] | None = None,
        models: QualityModels | None = None,
        source: FaceTrack | None = None,
        tracker: FaceTracker | None = None,
        audio: NDArray[np.float32] | None = None,
        openface: OpenFacePair | None = None,
        fps: int = 25,
        cuts: Sequence[int] = (),
    ) -> None:
        """Nothing seen yet."""
        self._names = _checked(metrics)
        _check_sound(audio)
        self._inputs = Inputs(models or QualityModels(), source, audio, fps, tuple(cuts))
        self._openface = openface
        self._meters, self._absent = choose_meters(self._names, self._inputs)
        follows = tracker is not None and any(name in (*PAIRED, *SINGLE) for name in self._names)
        self._follower = Follower(tracker, self._inputs.cuts) if tracker and follows else None
        self._before: tuple[Image, Image] | None = None
        self._n = 0

    def __enter__(self) -> VideoScorer:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the tracker's thread."""
        self.close()

    def close(self) -> None:
        """End the tracker's thread where no result is asked for."""
        if self._follower:
            self._follower.close()

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
            head, mouth: bool [H,W] for the figures of these regions. Without a mouth mask the box
                around the lips of the source track is taken.

        Raises:
            InputError: the two differ in shape or type, or in size from the frames before; the
                source track is shorter.
        """
        self._check_frame(reference, frame)
        for mask in (head, mouth):
            if mask is not None and (mask.dtype != np.bool_ or mask.shape != frame.shape[:2]):
                raise InputError(
                    f"The mask of frame {self._n} is {mask.dtype}{list(mask.shape)}, not "
                    f"bool{list(frame.shape[:2])}.",
                    reason="MASK_SHAPE",
                )
        if mouth is None and self._inputs.source is not None:
            mouth = mouth_mask(self._inputs.source.landmarks68[self._n], *frame.shape[:2])
        before = None if self._n in self._inputs.cuts else self._before
        view = View(self._n, reference, frame, before, head, mouth)
        for meter in self._meters:
            meter.add(view)
        if self._follower:
            self._follower.add(frame)
        self._before = reference.copy(), frame.copy()
        self._n += 1

    def add_all(self, references: Iterable[Image], frames: Iterable[Image]) -> None:
        """Score two videos.

        Raises:
            InputError: as :meth:`add`, or one of them is longer.
        """
        for reference, frame in zip_longest(references, frames):
            if reference is None or frame is None:
                raise InputError(
                    f"The {'source' if reference is None else 'rendered video'} ends after "
                    f"{self._n} frames, the other does not.",
                    reason="LENGTHS_DIFFER",
                    remedy="Cut both to the same frames.",
                )
            self.add(reference, frame)

    def result(self) -> VideoScores:
        """Scores of all frames; to be asked for once, at the end.

        Raises:
            InputError: no frame was added; the source track, the sound or OpenFace's tables are of
                another length.
        """
        self._check_lengths()
        track = self._follower.finish() if self._follower else None
        parts = [meter.result(self._n) for meter in self._meters]
        parts.append(measure_faces(self._names, self._inputs, track))
        parts.append(measure_actions(self._openface, self._n))
        figures: dict[str, float | Absent] = {**self._absent}
        series: dict[str, Series] = {}
        for part in parts:
            figures |= part.figures
            series |= part.series
        return VideoScores(
            {name: figures[name] for name in self._names},
            {name: series[name] for name in self._names if name in series},
            self._n,
        )

    def _check_frame(self, reference: Image, frame: Image) -> None:
        check_pair(frame, reference)
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(f"Frame {self._n} is {list(frame.shape)}.", reason="IMAGE_SHAPE")
        if self._before is not None and self._before[1].shape != frame.shape:
            raise InputError(
                f"Frame {self._n} is {list(frame.shape)}, those before it "
                f"{list(self._before[1].shape)}.",
                reason="FRAME_SIZE_CHANGED",
                remedy="Score frames of one size.",
            )
        source = self._inputs.source
        if source is not None and self._n >= len(source):
            raise _lengths_differ("The source's track", len(source), self._n + 1)
        if source is not None and source.size != (frame.shape[1], frame.shape[0]):
            raise InputError(
                f"The source was tracked at {source.size[0]}x{source.size[1]}, frame {self._n} is "
                f"{frame.shape[1]}x{frame.shape[0]}.",
                reason="FRAME_SIZE_CHANGED",
                remedy="Track the very frames that are scored.",
            )

    def _check_lengths(self) -> None:
        if not self._n:
            raise InputError("No frame was scored.", reason="NO_FRAMES")
        source, audio = self._inputs.source, self._inputs.audio
        if source is not None and len(source) != self._n:
            raise _lengths_differ("The source's track", len(source), self._n)
        if audio is not None:
            sound_s, video_s = len(audio) / SAMPLE_RATE_HZ, self._n / self._inputs.fps
            if abs(sound_s - video_s) > AUDIO_SLACK_S:
                raise InputError(
                    f"The sound lasts {sound_s:.2f} s, the frames {video_s:.2f} s.",
                    reason="LENGTHS_DIFFER",
                    remedy="Give the sound of these frames, at 16 kHz.",
                )


def _check_sound(audio: NDArray[np.float32] | None) -> None:
    """Lossy codecs overshoot 1 a little; numbers of 16 bits are far beyond."""
    if audio is not None and (
        audio.ndim != 1
        or audio.dtype != np.float32
        or not np.isfinite(audio).all()
        or np.abs(audio).max(initial=0) > LOUDEST
    ):
        raise InputError(
            f"The sound is {audio.dtype}{list(audio.shape)} or out of range.",
            reason="BAD_WAVEFORM",
            remedy="Decode to mono 16 kHz float32 in [-1, 1] first.",
        )


def _lengths_differ(what: str, found: int, n_frames: int) -> InputError:
    return InputError(
        f"{what} has {found} frames, the scored video {n_frames} or more.",
        reason="LENGTHS_DIFFER",
        remedy="Track the very frames that are scored.",
    )


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
