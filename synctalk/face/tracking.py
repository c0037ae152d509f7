"""What a face tracker gives: the ``FaceTracker`` protocol and its result, ``FaceTrack``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from synctalk.errors import FootageError
from synctalk.progress import ProgressCallback, ignore_progress

FloatArray = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FaceTrack:
    """The main face in every frame of a clip.

    All points are continuous pixel coordinates (the first pixel's centre is (0.5, 0.5)). Frames
    without a face have zeros everywhere and ``score`` 0.

    Args:
        landmarks68: [T, 68, 2] float32, px, iBUG order (0-16 jaw from the image's left, 17-26
            brows, 27-35 nose, 36-47 eyes, 48-59 outer lips, 60-67 inner lips).
        mesh: [T, 478, 3] float32 or None: x, y in px; z in px relative to the head's centre,
            smaller is nearer the camera. 468 face points, then 5 points of each iris.
        score: [T] float32 in [0, 1], confidence that a face is there; 0 where none was found.
        n_faces: [T] int32, faces seen in the frame (looked for at every detection, and carried
            forward between detections).
        size: (width, height) of the frames, px.
    """

    landmarks68: FloatArray
    mesh: FloatArray | None
    score: FloatArray
    n_faces: NDArray[np.int32]
    size: tuple[int, int]

    @property
    def found(self) -> NDArray[np.bool_]:
        """[T] bool, whether the frame has a face."""
        return np.asarray(self.score > 0)

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.score)


class FaceTracker(Protocol):
    """Finds the main face in every frame of a clip."""

    def track(
        self,
        frames: Iterable[Image],
        *,
        cuts: Sequence[int] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> FaceTrack:
        """Track the largest face.

        Args:
            frames: uint8 [H, W, 3] RGB images, all of one size; consumed once, never all held.
            cuts: indices of frames that begin a new shot; nothing is carried across them.
            progress: receives events of the stage ``"track"``; they know its end where ``frames``
                has a length.

        Raises:
            MissingModelError: a network's file is not on this machine.
            FootageError: frames of different sizes, or no frame at all.
        """
        ...


def check_size(image: Image, index: int, size: list[tuple[int, int]]) -> None:
    """Keep the first frame's size; every other frame must have it."""
    own = (image.shape[1], image.shape[0])
    if not size:
        size.append(own)
    if own != size[0]:
        raise FootageError(
            f"Frame {index} is {own[0]}x{own[1]} but the clip began as {size[0][0]}x{size[0][1]}.",
            reason="FRAME_SIZE_CHANGED",
            remedy="Re-encode the clip at one resolution.",
        )
