"""The 68-point tracker for GPUs: face-alignment's FAN networks (Bulat & Tzimiropoulos 2017).

Its own face detector is bypassed by ours. Its weights are its own download; without a network
connection the file can be laid into ``$TORCH_HOME/hub/checkpoints``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synctalk.errors import FootageError, MissingModelError
from synctalk.face.detection import Detection, FaceDetector
from synctalk.face.tracking import FaceTrack, FloatArray, Image, check_size
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

WEIGHTS = "2DFAN4-11f355bf06.pth.tar"
# FAN was trained on the tight box of the 68 points. BlazeFace's box is wider: measured on eight
# people, the tight box is inset by these parts of its width (left and right) and height (top).
INSET_X, INSET_TOP = 0.05, 0.11
MIN_HEATMAP = 0.2  # a lower mean peak is not a face


def weights_path() -> Path:
    """Where face-alignment looks for its weights before downloading them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def fan_box(detection: Detection) -> list[float]:
    """[x0, y0, x1, y1, score] as FAN expects it, from a BlazeFace detection; px."""
    x0, y0, x1, y1 = (float(v) for v in detection.box)
    inset = INSET_X * (x1 - x0)
    return [x0 + inset, y0 + INSET_TOP * (y1 - y0), x1 - inset, y1, detection.score]


def _load(device: str) -> Any:
    try:
        import face_alignment
    except ImportError as error:
        raise MissingModelError(
            f"The package face-alignment cannot be imported: {error}.",
            reason="FACE_ALIGNMENT_MISSING",
            remedy="Install it with `pip install --no-deps face-alignment==1.5.0 numba scikit-image"
            " tqdm`, or use the mesh tracker.",
        ) from error
    try:
        return face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device=device,
            face_detector="folder",  # finds nothing itself and loads nothing
            compile=False,
        )
    except (OSError, RuntimeError, EOFError, KeyError) as error:
        raise MissingModelError(
            f"face-alignment could not get its weights {WEIGHTS}: {error}.",
            reason="FACE_ALIGNMENT_WEIGHTS",
            remedy=f"Connect to the internet once, or put the file at {weights_path()}.",
        ) from error


class FaceAlignmentTracker:
    """68 landmarks a frame, no mesh; about 0.6 s a frame on a CPU, meant for CUDA.

    Args:
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        MissingModelError: the package or its weights are not on this machine.
    """

    def __init__(self, device: str = "cuda") -> None:
        """Load the detector and the landmark network."""
        self._network = _load(device)
        self._detector = FaceDetector()

    def track(
        self,
        frames: Iterable[Image],
        *,
        cuts: Sequence[int] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> FaceTrack:
        """Every frame on its own; see :class:`synctalk.face.tracking.FaceTracker`."""
        del cuts  # nothing is carried from frame to frame
        stage = StageProgress(progress, "track", length_hint(frames))
        points: list[FloatArray] = []
        scores: list[float] = []
        counts: list[int] = []
        size: list[tuple[int, int]] = []
        for index, frame in enumerate(frames):
            image = np.ascontiguousarray(frame)
            check_size(image, index, size)
            detections = self._detector(image)
            landmarks, score = self._landmarks(image, detections)
            points.append(landmarks)
            scores.append(score)
            counts.append(len(detections))
            stage.advance()
        if not points:
            raise FootageError(
                "The clip has no frame.", reason="NO_FRAMES", remedy="Check that it plays."
            )
        found = np.array(scores, np.float32)
        return FaceTrack(np.stack(points), None, found, np.array(counts, np.int32), size[0])

    def _landmarks(self, image: Image, detections: list[Detection]) -> tuple[FloatArray, float]:
        """[68, 2] px and the confidence of the largest face; zeros when there is none."""
        nothing = np.zeros((68, 2), np.float32)
        if not detections:
            return nothing, 0.0
        landmarks, peaks, _ = self._network.get_landmarks_from_image(
            image, detected_faces=[fan_box(detections[0])], return_landmark_score=True
        )
        score = float(np.clip(np.mean(peaks[0]), 0, 1))
        if score < MIN_HEATMAP:
            return nothing, 0.0
        return np.asarray(landmarks[0][:, :2], np.float32), score
