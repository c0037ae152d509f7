"""Another system's video as a method: its frames laid beside the footage they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.benchmark.actors import Shown
from synctalk.benchmark.scene import Scene
from synctalk.errors import InputError
from synctalk.evaluation.metrics import psnr
from synctalk.media import VideoReader, probe

FPS_TOLERANCE = 0.01
SHIFTS = range(-3, 4)
SHIFT_GAIN_DB = 1.0
"""A video whose frames fit those n frames away better than this is n frames out of step."""
SHIFT_FRAMES = 60
SHIFT_SIDE = 128

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class ImportedActor:
    """A video file, checked against a scene when it is shown.

    It may hold the scene alone or, under the footage's own sound, the whole footage; its frames are
    the crop's or the source's in size.
    """

    path: Path

    def show(self, scene: Scene) -> Iterator[Shown]:
        """The frames of a scene.

        Raises:
            MediaError: the file is no video.
            InputError: its frame rate, length or size is not the scene's, or it is out of step.
        """
        reader, first = self._checked(scene)
        crop, size = scene.dataset.manifest.crop, scene.dataset.manifest.size
        whole = reader.width != size or reader.height != size
        frames = reader.iter_rgb(first, first + len(scene))
        for frame, source in zip(frames, scene.frames(), strict=True):
            image = crop.cut(frame, size) if whole else frame
            yield Shown(image, image, source)

    def opening_mm(self, scene: Scene) -> None:
        """It does not say."""
        return None

    def _checked(self, scene: Scene) -> tuple[VideoReader, int]:
        """The open video and the frame at which the scene begins."""
        probe(self.path)
        reader = VideoReader(self.path)
        facts = scene.dataset.manifest
        if abs(reader.fps - facts.fps) > FPS_TOLERANCE:
            raise self._wrong(
                "IMPORT_FPS",
                f"{reader.fps:g} frames a second, the dataset has {facts.fps}",
                f"Convert it first: ffmpeg -i IN -r {facts.fps} OUT.",
            )
        sizes = {(facts.size, facts.size), (facts.source_width, facts.source_height)}
        if (reader.width, reader.height) not in sizes:
            wanted = " or ".join(f"{w}x{h}" for w, h in sorted(sizes))
            raise self._wrong(
                "IMPORT_SIZE",
                f"{reader.width}x{reader.height} px, {wanted} are wanted",
                "Render or scale it to the dataset's crop or to the whole source.",
            )
        lengths = {len(scene): 0}
        if scene.own:
            lengths[facts.n_frames] = int(scene.order[0])
        if len(reader) not in lengths:
            wanted = " or ".join(str(n) for n in sorted(lengths))
            raise self._wrong(
                "IMPORT_LENGTH",
                f"{len(reader)} frames, {wanted} are wanted",
                "Give the held-out part or the whole clip, frame for frame.",
            )
        first = lengths[len(reader)]
        if scene.own:
            self._check_step(reader, first, scene)
        return reader, first

    def _check_step(self, reader: VideoReader, first: int, scene: Scene) -> None:
        """Refuse a video that fits its source better some frames earlier or later."""
        n = min(SHIFT_FRAMES, len(scene))
        ours = [_small(frame) for frame in reader.iter_rgb(first, first + n)]
        theirs = [_small(frame) for frame in islice(scene.frames(), n)]
        fits = {shift: _fit(ours, theirs, shift) for shift in SHIFTS if abs(shift) < n // 2}
        best = max(fits, key=lambda shift: fits[shift])
        if best and fits[best] - fits[0] > SHIFT_GAIN_DB:
            way = "late" if best > 0 else "early"
            raise self._wrong(
                "IMPORT_SHIFTED",
                f"its frames are {abs(best)} {way} ({fits[best] - fits[0]:.1f} dB better so)",
                "Cut or pad its beginning so that frame 0 is the scene's first.",
            )

    def _wrong(self, reason: str, what: str, remedy: str) -> InputError:
        return InputError(f"{self.path}: {what}.", reason=reason, remedy=remedy)


def _small(image: Image) -> Image:
    size = (SHIFT_SIDE, SHIFT_SIDE)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _fit(ours: list[Image], theirs: list[Image], shift: int) -> float:
    """Mean PSNR, dB, of ours ``shift`` frames later beside theirs."""
    pairs = zip(ours[max(0, shift) :], theirs[max(0, -shift) :], strict=False)
    return float(np.mean([psnr(a, b) for a, b in pairs]))
