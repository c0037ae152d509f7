"""OOD Audio Expression Generator (S §III-E; METHOD row 12): its interface.

No generator is built yet: dubbing plays the source footage's own upper face under the new speech.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExpressionGenerator"]


class ExpressionGenerator(Protocol):
    """Speech to facial expression, in the target subject's own range."""

    def generate(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """ARKit blendshapes [T,52] in [0,1] of audio-visual features [T,D], one row a frame."""
        ...
