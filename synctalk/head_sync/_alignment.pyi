from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def align(
    levels: Sequence[NDArray[np.float32]],
    origin: tuple[int, int],
    octave: int,
    K: NDArray[np.float64],
    points: NDArray[np.float64],
    weights: NDArray[np.float64],
    outline: NDArray[np.bool_],
    intensity: NDArray[np.float64],
    pose: NDArray[np.float64],
    schedule: Sequence[tuple[int, int]],
    expose: bool,
    system: NDArray[np.float64],
) -> float: ...
