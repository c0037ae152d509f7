"""TFLite networks on ai-edge-litert, and the square crops they look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from synctalk.errors import MissingModelError
from synctalk.face.models import SETUP_REMEDY
from synctalk.face.tracking import FloatArray, Image


class Network:
    """One TFLite network. Not safe for concurrent calls: give each thread its own."""

    def __init__(self, model: Path | bytes) -> None:
        """Read the network from a file or its bytes; MissingModelError when it is not one."""
        content = model.read_bytes() if isinstance(model, Path) else model
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            name = model if isinstance(model, Path) else "the model"
            raise MissingModelError(
                f"{name} cannot be read as a network: {error}",
                reason="FACE_MODEL_UNREADABLE",
                remedy=SETUP_REMEDY,
            ) from error
        details = self._interpreter.get_input_details()
        self._inputs = [int(d["index"]) for d in details]
        self._outputs = [int(d["index"]) for d in self._interpreter.get_output_details()]
        self.input_shape = tuple(int(n) for n in details[0]["shape"])

    def __call__(self, *inputs: FloatArray) -> list[FloatArray]:
        """All outputs for the float32 inputs; the first is of ``input_shape``."""
        for index, value in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


@dataclass(frozen=True)
class Roi:
    """A rotated square in the image.

    Args:
        x, y: centre, continuous px.
        side: px.
        angle: radians, how far the face's horizontal axis is turned clockwise on the screen.
    """

    x: float
    y: float
    side: float
    angle: float

    def axes(self) -> NDArray[np.float64]:
        """[2, 2] the square's unit x and y axes as columns."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.array([[c, -s], [s, c]])

    def crop(self, image: Image, size: int) -> FloatArray:
        """[size, size, 3] float32 in [0, 1]; black outside the image."""
        step = self.axes() * (self.side / size)
        # Crop pixel i covers [i, i + 1]; cv2 wants the source of the pixels' centres, in
        # coordinates whose integers are centres.
        corner = np.array([self.x, self.y]) - step @ np.array([size / 2, size / 2])
        shift = corner + step @ np.array([0.5, 0.5]) - 0.5
        matrix = np.column_stack([step, shift])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        source = image
        if self.side > 2 * size:  # bilinear sampling would alias: shrink first
            factor = int(self.side // size)
            source, matrix = _shrink(image, matrix, factor)
        crop = cv2.warpAffine(source, matrix, (size, size), flags=flags)
        return np.asarray(np.multiply(crop, np.float32(1 / 255), dtype=np.float32))

    def to_image(self, points: FloatArray) -> FloatArray:
        """Map [N, 2|3] points in units of the square's side ([0, 1] inside) to image px."""
        out = np.empty_like(points)
        centred = (points[:, :2] - 0.5) * self.side
        out[:, :2] = centred @ self.axes().T + np.array([self.x, self.y])
        if points.shape[1] == 3:
            out[:, 2] = points[:, 2] * self.side
        return out


def _shrink(
    image: Image, matrix: NDArray[np.float64], factor: int
) -> tuple[Image, NDArray[np.float64]]:
    height, width = (n // factor for n in image.shape[:2])
    cropped = image[: height * factor, : width * factor]
    small = cv2.resize(cropped, (width, height), interpolation=cv2.INTER_AREA)
    scaled = matrix / factor
    scaled[:, 2] = (matrix[:, 2] + 0.5) / factor - 0.5
    return np.asarray(small, np.uint8), scaled
