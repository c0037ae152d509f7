"""The footage at a small size in memory, and random rays and patches of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.dataset import SubjectDataset
from synctalk.errors import FootageError
from synctalk.face.parsing_frame import PartLabel
from synctalk.face.topology import LIPS_OUTER
from synctalk.progress import ProgressCallback, StageProgress

AROUND_HEAD = 0.06
"""How far rays are drawn beyond the head's box, share of its side."""
AROUND_MOUTH = 0.35
VISIBLE = 8
"""Matte value from which a pixel belongs to the head."""


@dataclass(frozen=True)
class Footage:
    """F frames of s x s pixels.

    Args:
        index: [F] frame numbers in the dataset.
        rgb, plate: uint8 [F,s,s,3]; matte: uint8 [F,s,s].
        head, mouth: float32 [F,4] boxes x0, y0, x1, y1, px.
        neck: mean RGB of the bare neck in 0..1 [3], NaN where none is seen.
    """

    index: Tensor
    rgb: Tensor
    plate: Tensor
    matte: Tensor
    head: Tensor
    mouth: Tensor
    neck: Tensor

    def __len__(self) -> int:
        return len(self.index)

    @property
    def size(self) -> int:
        """Side of the frames, px."""
        return self.rgb.shape[1]


def load_footage(
    dataset: SubjectDataset,
    wanted: NDArray[np.int64],
    size: int,
    progress: ProgressCallback,
) -> Footage:
    """Read the ``wanted`` (sorted) frames at ``size`` px.

    Raises:
        FootageError: the head's matte is empty in all of them.
    """
    stage = StageProgress(progress, "load frames", len(wanted))
    rgb = np.empty((len(wanted), size, size, 3), np.uint8)
    plate, matte = np.empty_like(rgb), np.empty(rgb.shape[:3], np.uint8)
    necks: list[NDArray[np.float64]] = []
    slot = {int(frame): i for i, frame in enumerate(wanted)}
    first, last = int(wanted[0]), int(wanted[-1])
    streams = zip(
        dataset.frames_and_plates(first), dataset.mattes(first), dataset.masks(first), strict=False
    )
    for number, ((frame, empty), alpha, labels) in enumerate(streams, start=first):
        if number > last:
            break
        if number in slot:
            i = slot[number]
            rgb[i], plate[i], matte[i] = (_small(image, size) for image in (frame, empty, alpha))
            neck = frame[labels == PartLabel.NECK]
            necks += [neck.mean(0)] if len(neck) else []
            stage.advance()
    mouths = dataset.tracks.mesh[wanted][:, LIPS_OUTER, :2] * (size / dataset.manifest.size)
    seen = (matte > VISIBLE).any((1, 2))
    if not seen.any():
        raise FootageError(
            f"{dataset.path}: the head's mask is empty in every frame.",
            reason="NO_HEAD",
            remedy="Film one person from the front, with the whole head in the picture.",
        )
    heads = np.stack([_box(alpha > VISIBLE) for alpha in matte[seen]])
    boxes = np.stack([mouths.min(1), mouths.max(1)], 1).reshape(-1, 4)[seen]
    index, colours, plates, mattes = (
        torch.from_numpy(a) for a in (wanted[seen], rgb[seen], plate[seen], matte[seen])
    )
    return Footage(
        index,
        colours,
        plates,
        mattes,
        head=torch.from_numpy(_grown(heads, AROUND_HEAD, size)),
        mouth=torch.from_numpy(_grown(boxes, AROUND_MOUTH, size)),
        neck=torch.tensor(np.mean(necks, 0) / 255 if necks else [np.nan] * 3).float(),
    )


def _small(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _box(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _grown(boxes: NDArray[np.float32], share: float, size: int) -> NDArray[np.float32]:
    side = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) * share
    low, high = np.floor(boxes[:, :2] - side), np.ceil(boxes[:, 2:] + side)
    return np.asarray(np.clip(np.concatenate([low, high], 1), 0, size), np.float32)


@dataclass(frozen=True)
class Pixels:
    """P pixels of the footage.

    Args:
        frame: int64 [P] numbers in ``Footage``.
        x, y: int64 [P] px.
    """

    frame: Tensor
    x: Tensor
    y: Tensor

    def positions(self) -> Tensor:
        """Their centres, continuous px [P,2]."""
        return torch.stack([self.x, self.y], 1).float() + 0.5

    def of(self, images: Tensor) -> Tensor:
        """Their values in uint8 images [F,s,s,...], as float in 0..1."""
        return images[self.frame, self.y, self.x].float() / 255.0


def random_pixels(
    footage: Footage, n: int, mouth_share: float, generator: torch.Generator
) -> Pixels:
    """``n`` pixels of all frames around the heads, a share of them around mouths."""
    frame = torch.randint(len(footage), (n,), generator=generator)
    in_mouth = torch.arange(n) < mouth_share * n
    box = torch.where(in_mouth[:, None], footage.mouth[frame], footage.head[frame])
    at = box[:, :2] + torch.rand(n, 2, generator=generator) * (box[:, 2:] - box[:, :2])
    x, y = at.long().clamp(0, footage.size - 1).unbind(1)
    return Pixels(frame, x, y)


def random_patches(
    footage: Footage, n: int, side: int, mouth_share: float, generator: torch.Generator
) -> Pixels:
    """Pixels [n*side*side] of ``n`` square patches, row by row."""
    middle = random_pixels(footage, n, mouth_share, generator)
    limit = footage.size - side
    along = torch.arange(side)
    left, top = ((c - side // 2).clamp(0, limit) for c in (middle.x, middle.y))
    shape = (n, side, side)
    x, y = left[:, None, None] + along, top[:, None, None] + along[:, None]
    frame = middle.frame[:, None, None]
    return Pixels(*(c.expand(shape).reshape(-1) for c in (frame, x, y)))
