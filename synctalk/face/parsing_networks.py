"""The two segmentation networks behind the parser: person (always) and hair (when configured).

Both are MediaPipe's (Apache-2.0) and run directly by LiteRT. An interpreter is not thread-safe,
so every thread that asks gets its own.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from synctalk.face.models import find_model, require_model
from synctalk.face.networks import Network
from synctalk.face.tracking import FloatArray, Image

PERSON_MODEL = "selfie_segmentation.tflite"
HAIR_MODEL = "hair_segmentation.tflite"
WORK_SIZE = 256
"""Side, px, of the square maps on which parts are told apart: the person network's own."""


class _PerThread:
    """One network, an instance per thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def run(self, batch: FloatArray) -> FloatArray:
        """First output, without its batch axis, for the batched input."""
        if not hasattr(self._local, "network"):
            self._local.network = Network(self._path)
        return np.asarray(self._local.network(batch)[0][0], np.float32)


class PersonSegmenter:
    """How likely each pixel is a person."""

    def __init__(self, path: Path | None = None) -> None:
        """Use the file at ``path``, else the one of this machine's model folders.

        Raises:
            MissingModelError: no file.
        """
        self._network = _PerThread(path or require_model(PERSON_MODEL))

    def __call__(self, frame: Image) -> FloatArray:
        """Probability, float32 [256, 256] in [0, 1], for an RGB frame of any square size."""
        small = cv2.resize(frame, (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA)
        return self._network.run(small[None].astype(np.float32) / np.float32(255))[..., 0]


class HairSegmenter:
    """How likely each pixel is hair. Its file is optional: see :meth:`find`."""

    def __init__(self, path: Path) -> None:
        """Use the file at ``path``."""
        self._network = _PerThread(path)

    @classmethod
    def find(cls) -> HairSegmenter | None:
        """The segmenter, when a model folder has ``hair_segmentation.tflite``; else None."""
        path = find_model(HAIR_MODEL)
        return cls(path) if path else None

    def __call__(self, frame: Image) -> FloatArray:
        """Probability, float32 [256, 256] in [0, 1], for an RGB frame of any square size."""
        tensor = np.zeros((1, 512, 512, 4), np.float32)  # 4th channel: a previous mask; none
        tensor[0, ..., :3] = cv2.resize(frame, (512, 512), interpolation=cv2.INTER_LINEAR)
        tensor /= 255
        logits = cv2.resize(
            self._network.run(tensor), (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA
        )
        return np.asarray(1 / (1 + np.exp(logits[..., 0] - logits[..., 1])), np.float32)
