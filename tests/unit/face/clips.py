"""Footage for the face tests: decoding and pieces of the virtual subject's truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def read_frames(path: Path, start: int = 0, count: int | None = None) -> list[Image]:
    frames: list[Image] = []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if count is not None and len(frames) == count:
                break
            if index >= start:
                frames.append(np.ascontiguousarray(frame.to_ndarray(format="rgb24")))
    return frames


@dataclass(frozen=True)
class Truth:
    """The first frames' truth: points px (centres at +0.5), visibility, coefficients by name."""

    landmarks: NDArray[np.float64]
    visible: NDArray[np.bool_]
    coeffs: dict[str, NDArray[np.float64]]
    R: NDArray[np.float64]

    @property
    def eye_distance(self) -> NDArray[np.float64]:
        """[T] px between the outer eye corners."""
        return np.linalg.norm(self.landmarks[:, 36] - self.landmarks[:, 45], axis=-1)


def read_truth(path: Path, count: int) -> Truth:
    with np.load(path, allow_pickle=False) as data:
        names = [str(name) for name in data["coeff_names"]]
        columns = data["coeffs"][:count].astype(np.float64)
        return Truth(
            data["lm2d"][:count] + 0.5,
            data["lm_visible"][:count],
            dict(zip(names, columns.T, strict=True)),
            data["R_head"][:count],
        )
