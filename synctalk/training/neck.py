"""Where a frame's neck is, what of it the face hides, and what of it is to be restored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.dataset import FRAMES, MASKS, MATTE, PLATES, SubjectDataset, Tracks, keep_outside
from synctalk.face.parsing_frame import PartLabel
from synctalk.face.plates import erase_mask
from synctalk.face.topology import CHIN, FACE_OVAL, OUTER_EYE_CORNERS
from synctalk.media import VideoReader
from synctalk.render.torso import NeckWindow
from synctalk.training.inpainter import MULTIPLE
from synctalk.training.mattes import neck_tops, plate_matte

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.float32]

AROUND = 32.0
"""px at 512 of the window beside the jaw, and below the lowest that it may drop."""
OVAL_REACH = 12.0
"""px at 512 that a face is erased beyond its tracked outline."""
GAP = 8.0
"""px at 512: gaps in the neck as narrow as this are none."""
JAW = FACE_OVAL[11:26]
UPPER_LIP, LOWER_LIP = 13, 14
OPAQUE = 250


@dataclass(frozen=True)
class NeckView:
    """A frame in the neck's window [h,w].

    Args:
        index: of the frame.
        frame, plate: RGB, with and without the head.
        face: where the face was erased; hair is no part of it.
        body: where neck or clothes are seen.
        erased: where the head was.
        covers: how much of the plate is body: [h,w] in [0,1].
        down: x, y of the head's downward direction.
    """

    index: int
    frame: Image
    plate: Image
    face: Mask
    body: Mask
    erased: Mask
    covers: Float
    down: tuple[float, float]

    def hole(self, reach: float, drop: float = 0.0) -> Mask:
        """What is inpainted: hidden body, and what is seen of it within ``reach`` px of the face.

        Args:
            drop: px by which the jaw may be lower than it is.
        """
        face = self.face.astype(np.uint8)
        if drop > 0:
            move = np.array([[1, 0, drop * self.down[0]], [0, 1, drop * self.down[1]]])
            moved = cv2.warpAffine(face, move, face.shape[::-1], flags=cv2.INTER_NEAREST)
            face = np.maximum(face, moved)
        near = distance(face > 0) <= reach
        hole: Mask = (near & self.body) | (self.erased & (self.covers * 255 >= OPAQUE))
        return hole


def distance(to: Mask) -> Float:
    """px from each pixel to the nearest of ``to``; far where there is none."""
    if not to.any():
        return np.full(to.shape, 1e6, np.float32)
    away = (~to).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)


def neck_window(tracks: Tracks, shot: range, size: int) -> NeckWindow:
    """Where the neck is in every frame: one size for all, following the chin."""
    scale = size / 512
    mesh = tracks.mesh[shot.start : shot.stop]
    jaw, chin = mesh[:, list(JAW), :2], mesh[:, CHIN, :2]
    around = AROUND * scale
    half = float(np.abs(jaw[..., 0] - chin[:, None, 0]).max()) + around
    above = float((chin[:, None, 1] - jaw[..., 1]).max())
    below = most_drop(tracks, shot) + around
    width, height = (
        min(_rounded_up(v), size // MULTIPLE * MULTIPLE) for v in (2 * half, above + below)
    )
    at = tracks.mesh[:, CHIN, :2] - (width / 2, height - below)
    corners = np.clip(at, 0, (size - width, size - height)).astype(np.int64) // 2 * 2
    return NeckWindow(width, height, corners.astype(np.int32))


def _rounded_up(length: float) -> int:
    return int(-(-length // MULTIPLE) * MULTIPLE)


def openings(tracks: Tracks, shot: range) -> Float:
    """Distance of the inner lips, px, by frame of the shot."""
    mesh = tracks.mesh[shot.start : shot.stop, :, :2]
    return np.asarray(np.linalg.norm(mesh[:, LOWER_LIP] - mesh[:, UPPER_LIP], axis=-1), np.float32)


def most_drop(tracks: Tracks, shot: range) -> float:
    """px that the jaw drops at most; it moves about as far as the lips part."""
    opening = openings(tracks, shot)
    return float(np.percentile(opening, 99) - np.percentile(opening, 10))


@dataclass(frozen=True)
class FrameParts:
    """A frame of the dataset [S,S,...], and how far up its neck goes on behind the face."""

    index: int
    frame: Image
    plate: Image
    labels: Image
    head: Image
    neck_top: Float


def frame_parts(dataset: SubjectDataset, indices: Iterable[int]) -> Iterator[FrameParts]:
    """Frames by their ascending indices; those between are not converted, which costs most."""
    crop, size, folder = dataset.manifest.crop, dataset.manifest.size, dataset.path
    tops, erased = neck_tops(dataset.tracks.landmarks68, size), dataset.erased()
    with ExitStack() as opened:
        frames, plates, masks, mattes = (
            opened.enter_context(VideoReader(folder / name))
            for name in (FRAMES, PLATES, MASKS, MATTE)
        )
        for i in indices:
            frame = crop.cut(frames.read(i), size)
            plate = keep_outside(plates.read(i), frame, erased[i])
            yield FrameParts(i, frame, plate, masks.read_grey(i), mattes.read_grey(i), tops[i])


def neck_view(window: NeckWindow, tracks: Tracks, read: FrameParts) -> NeckView:
    """A frame in the neck's window."""
    index, size = read.index, len(read.frame)
    scale = size / 512
    erased = erase_mask(read.head, max(1, size // 512))
    erased_here = window.cut(erased, index) > 0
    part = window.cut(read.labels, index)
    seen = (part == PartLabel.FACE) | (part == PartLabel.NECK) | (part == PartLabel.TORSO)
    mesh = tracks.mesh[index, :, :2]
    oval = mesh[list(FACE_OVAL)] - window.corners[index]
    face = erased_here & (distance(_drawn(oval, part.shape)) <= OVAL_REACH * scale)
    across = mesh[OUTER_EYE_CORNERS[1]] - mesh[OUTER_EYE_CORNERS[0]]
    x, y = across / max(float(np.linalg.norm(across)), 1e-6)
    covers = window.cut(_covers(read, scale), index) * np.float32(1 / 255)
    return NeckView(
        index, window.cut(read.frame, index), window.cut(read.plate, index), face,
        seen & ~erased_here, erased_here, np.asarray(covers, np.float32), (-float(y), float(x)),
    )  # fmt: skip


def _drawn(outline: Float, shape: tuple[int, ...]) -> Mask:
    drawn = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(drawn, [np.round(outline * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    return np.asarray(drawn > 0)


def _covers(read: FrameParts, scale: float) -> Image:
    """The plate's matte [S,S], without gaps."""
    shown = np.where(read.labels != PartLabel.BACKGROUND, np.uint8(255), np.uint8(0))
    covers = plate_matte(shown, read.labels, read.head, read.neck_top)
    across = np.ones((1, 2 * round(GAP * scale) + 1), np.uint8)  # a stray hair ends a column
    return np.asarray(cv2.morphologyEx(covers, cv2.MORPH_CLOSE, across), np.uint8)
