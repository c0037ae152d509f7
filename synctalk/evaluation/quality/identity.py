"""Whether it is still the same person: cosine of face embeddings (SFace, Zhong et al. 2021).

The network is OpenCV's ``face_recognition_sface`` (Apache-2.0). Both frames are aligned by the
source's landmarks, as both show the head in one pose.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.evaluation.quality.loading import unusable
from synctalk.evaluation.quality.models import SFACE, QualityModels
from synctalk.evaluation.quality.spec import Absent

Image = NDArray[np.uint8]

SUBJECTS_RIGHT_EYE, SUBJECTS_LEFT_EYE = slice(36, 42), slice(42, 48)
NOSE_TIP, MOUTH_CORNERS = 30, (48, 54)


class Identity:
    """Compares two faces.

    Args:
        recogniser: OpenCV's, with its network loaded.
    """

    def __init__(self, recogniser: cv2.FaceRecognizerSF) -> None:
        """Keep it."""
        self._recogniser = recogniser

    @classmethod
    def load(cls, models: QualityModels) -> Identity | Absent:
        """The recogniser, or how to get its network.

        Raises:
            MissingModelError: a file is there but cannot be used.
        """
        path = models.find(SFACE)
        if isinstance(path, Absent):
            return path
        try:
            return cls(cv2.FaceRecognizerSF.create(str(path), ""))
        except cv2.error as error:
            raise unusable(path, error) from error

    def similarity(self, a: Image, b: Image, landmarks68: NDArray[np.floating]) -> float:
        """Cosine in [-1,1] of two uint8 RGB images [H,W,3] of a face at ``landmarks68`` [68,2]."""
        first, second = (self._embedding(image, landmarks68) for image in (a, b))
        return float(self._recogniser.match(first, second, cv2.FaceRecognizerSF_FR_COSINE))

    def _embedding(self, image: Image, landmarks68: NDArray[np.floating]) -> NDArray[np.float32]:
        eyes = [landmarks68[eye].mean(0) for eye in (SUBJECTS_RIGHT_EYE, SUBJECTS_LEFT_EYE)]
        points = np.array([*eyes, landmarks68[NOSE_TIP], *landmarks68[list(MOUTH_CORNERS)]])
        points -= 0.5  # OpenCV's pixels have their centres at whole numbers
        low, high = points.min(0), points.max(0)
        row = np.array([*low, *(high - low), *points.ravel(), 1.0], np.float32)[None]
        aligned = self._recogniser.alignCrop(np.ascontiguousarray(image[..., ::-1]), row)
        return np.array(self._recogniser.feature(aligned))
