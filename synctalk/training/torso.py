"""OOD Torso Restorer (S §III-F; METHOD row 13): the neck that a closed mouth would have left.

A jaw that is lower in the source than in the dub covers neck that the dub must show, and what is
just below it, its edge and its shadow, is wrong there too. Both are taken out and inpainted by a
network that has seen this person's neck under closed mouths. What comes of it depends on the source
frame alone, so it is made here, once, and dubbing merely lays it in: the paper runs its network on
every frame of the result.

Pairs are made of frames whose mouth is closed. Their hole is grown by a random reach and by the way
the jaw may have dropped; what it then covers was seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.bundle import TorsoPlates
from synctalk.dataset import SubjectDataset, Tracks
from synctalk.face.parsing_frame import PartLabel
from synctalk.face.parsing_matte import fill_coarsely, smoothstep
from synctalk.face.plates import erase_mask
from synctalk.face.topology import CHIN, FACE_OVAL, OUTER_EYE_CORNERS
from synctalk.media.cuts import longest_shot
from synctalk.progress import ProgressCallback, StageProgress
from synctalk.render.torso import NeckWindow
from synctalk.training.inpainter import (
    MULTIPLE,
    UNSEEN_WEIGHT,
    Inpainter,
    fit_inpainter,
)
from synctalk.training.mattes import neck_tops, plate_matte

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.float32]

REACH = 5.0
"""px at 512: how far below and beside the jaw the source is replaced. The paper's 15 px take true
collar away to put blurred one there (docs/research/torso.md)."""
REACHES = (3.0, 12.0)
"""and in training."""
FEATHER = 3.0
"""px at 512 over which the source comes back."""
EDGE = 2.0
"""px at 512 next to the jaw that nothing is learnt from: its own edge shows there."""
OVAL_REACH = 12.0
"""px at 512 that a face is erased beyond its tracked outline."""
GAP = 8.0
"""px at 512: gaps in the neck as narrow as this are none."""
JAW = FACE_OVAL[11:26]
UPPER_LIP, LOWER_LIP = 13, 14
CLOSED_SHARE = 0.4
"""Share of the frames, those of the most closed mouths, that are learnt from."""
VIEWS = 160
BATCH = 2
TURN_DEG, ZOOM, LIGHT = 8.0, 0.05, 0.06
OPAQUE = 250


@dataclass(frozen=True)
class NeckView:
    """A frame in the neck's window [h,w].

    Args:
        frame, plate: RGB, with and without the head.
        face: where the face was erased; hair is no part of it.
        body: where neck or clothes are seen.
        hidden: how much of the plate's body, behind the head, shows: [h,w] in [0,1].
        covers: the plate's matte, [h,w] in [0,1].
        down: x, y of the head's downward direction.
    """

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
        near = _distance(face > 0) <= reach
        hole: Mask = (near & self.body) | (self.erased & (self.covers * 255 >= OPAQUE))
        return hole


def _distance(to: Mask) -> Float:
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
    around = 32 * scale
    half = float(np.abs(jaw[..., 0] - chin[:, None, 0]).max()) + around
    above = float((chin[:, None, 1] - jaw[..., 1]).max())
    below = _most_drop(tracks, shot) + around
    width, height = (
        min(_rounded_up(v), size // MULTIPLE * MULTIPLE) for v in (2 * half, above + below)
    )
    at = tracks.mesh[:, CHIN, :2] - (width / 2, height - below)
    corners = np.clip(at, 0, (size - width, size - height)).astype(np.int64) // 2 * 2
    return NeckWindow(width, height, corners.astype(np.int32))


def _rounded_up(length: float) -> int:
    return int(-(-length // MULTIPLE) * MULTIPLE)


def _openings(tracks: Tracks, shot: range) -> Float:
    """Distance of the inner lips, px, by frame of the shot."""
    mesh = tracks.mesh[shot.start : shot.stop, :, :2]
    return np.asarray(np.linalg.norm(mesh[:, LOWER_LIP] - mesh[:, UPPER_LIP], axis=-1), np.float32)


def _most_drop(tracks: Tracks, shot: range) -> float:
    """px that the jaw drops at most; it moves about as far as the lips part."""
    opening = _openings(tracks, shot)
    return float(np.percentile(opening, 99) - np.percentile(opening, 10))


def _views(
    dataset: SubjectDataset, window: NeckWindow, shot: range, wanted: Collection[int] | None = None
) -> Iterator[NeckView]:
    """The shot's frames in order, all or those ``wanted``."""
    tracks, size = dataset.tracks, dataset.manifest.size
    tops = neck_tops(tracks.landmarks68, size)
    streams = zip(
        dataset.frames_and_plates(shot.start),
        dataset.masks(shot.start),
        dataset.mattes(shot.start),
        strict=False,
    )
    for index, ((frame, plate), labels, head) in zip(shot, streams, strict=False):
        if wanted is not None and index not in wanted:
            continue
        yield _view(window, index, frame, plate, labels, head, tops[index], tracks)


def _view(
    window: NeckWindow, index: int, frame: Image, plate: Image, labels: Image, head: Image,
    neck_top: Float, tracks: Tracks,
) -> NeckView:  # fmt: skip
    size = len(frame)
    scale = size / 512
    mesh = tracks.mesh[index]
    shown = np.where(labels != PartLabel.BACKGROUND, np.uint8(255), np.uint8(0))
    covers = window.cut(plate_matte(shown, labels, head, neck_top), index)
    across = np.ones((1, 2 * round(GAP * scale) + 1), np.uint8)  # a stray hair ends a column
    covers = cv2.morphologyEx(covers, cv2.MORPH_CLOSE, across)
    erased = window.cut(erase_mask(head.astype(np.float32), max(1, size // 512)), index) > 0
    oval = (mesh[list(FACE_OVAL), :2] - window.corners[index]) * 16
    drawn = np.zeros(erased.shape, np.uint8)
    cv2.fillPoly(drawn, [np.round(oval).astype(np.int32)], 1, cv2.LINE_8, 4)
    face = erased & (_distance(drawn > 0) <= OVAL_REACH * scale)
    part = window.cut(labels, index)
    seen = (part == PartLabel.FACE) | (part == PartLabel.NECK) | (part == PartLabel.TORSO)
    eyes = mesh[OUTER_EYE_CORNERS[1], :2] - mesh[OUTER_EYE_CORNERS[0], :2]
    eyes = eyes / max(float(np.linalg.norm(eyes)), 1e-6)
    return NeckView(
        window.cut(frame, index), window.cut(plate, index), face, seen & ~erased, erased,
        covers.astype(np.float32) * np.float32(1 / 255), (-float(eyes[1]), float(eyes[0])),
    )  # fmt: skip


def _asked(view: NeckView, hole: Mask) -> Float:
    """The network's input [h,w,4]: the plate, its hole filled smoothly from neck and clothes."""
    colours = view.plate.astype(np.float32) * np.float32(1 / 255)
    around = (view.body & ~hole).astype(np.float32)
    smooth = fill_coarsely(colours, around)
    mask = hole[..., None].astype(np.float32)
    return np.concatenate([colours + (smooth - colours) * mask, mask], -1)


@dataclass(frozen=True)
class _Pairs:
    """Closed mouths, and holes as open ones would leave them."""

    views: list[NeckView]
    most_drop: float
    scale: float
    seed: int

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.default_rng((self.seed, step))
        pairs = [self._pair(random) for _ in range(BATCH)]
        return tuple(  # type: ignore[return-value]
            torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2).contiguous(
                memory_format=torch.channels_last
            )
            for part in zip(*pairs, strict=True)
        )  # fmt: skip

    def _pair(self, random: np.random.Generator) -> tuple[Float, Float, Float]:
        view = self._moved(self.views[random.integers(len(self.views))], random)
        hole = view.hole(random.uniform(*REACHES) * self.scale, random.uniform(0, self.most_drop))
        clear = _distance(view.erased) > EDGE * self.scale
        seen = hole & view.body & clear
        truth = view.frame.astype(np.float32) * np.float32(1 / 255)
        truth = np.where(seen[..., None], truth, _continued(truth, view.body & clear))
        known = seen + UNSEEN_WEIGHT * (hole & ~seen)
        return _asked(view, hole), truth, known[..., None].astype(np.float32)

    def _moved(self, view: NeckView, random: np.random.Generator) -> NeckView:
        """The view turned, scaled and lit a little otherwise."""
        height, width = view.face.shape
        turn = random.uniform(-TURN_DEG, TURN_DEG)
        zoom = random.uniform(1 - ZOOM, 1 + ZOOM)
        move = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
        gain = np.float32(1 + random.uniform(-LIGHT, LIGHT))

        def picture(image: Image) -> Image:
            warped = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT)
            return np.asarray(np.clip(warped * gain, 0, 255), np.uint8)

        def mask(image: NDArray[np.bool_]) -> Mask:
            byte = image.astype(np.uint8)
            return np.asarray(cv2.warpAffine(byte, move, (width, height), flags=0) > 0)

        covers = cv2.warpAffine(view.covers, move, (width, height))
        down = move[:, :2] @ np.asarray(view.down)
        return NeckView(
            picture(view.frame), picture(view.plate), mask(view.face), mask(view.body),
            mask(view.erased), covers, (float(down[0]), float(down[1])),
        )  # fmt: skip


def _continued(colours: Float, seen: Mask) -> Float:
    """Each column's highest seen colour carried on upwards, [h,w,3]."""
    first = seen.argmax(0)
    top = colours[first, np.arange(seen.shape[1])]
    smooth = cv2.blur(top[None], (9, 1))
    return np.asarray(np.broadcast_to(smooth, colours.shape), np.float32)


def restore_torso(
    dataset: SubjectDataset, steps: int, seed: int, progress: ProgressCallback
) -> TorsoPlates:
    """Learn the subject's neck and inpaint it in every frame of the longest shot.

    Args:
        steps: of the optimiser.
        seed: of everything random.
        progress: receives events of the stages ``torso`` (now) and ``torso plates`` (while the
            result's frames are read, once).
    """
    manifest = dataset.manifest
    shot = longest_shot(manifest.n_frames, manifest.cuts)
    window = neck_window(dataset.tracks, shot, manifest.size)
    learnt = _closed_frames(dataset, shot)
    stage = StageProgress(progress, "torso", steps)
    pairs = _Pairs(
        list(_views(dataset, window, shot, learnt)),
        _most_drop(dataset.tracks, shot),
        manifest.size / 512,
        seed,
    )
    network = fit_inpainter(pairs.batch, steps, seed, lambda loss: stage.advance())
    return TorsoPlates(window, shot, _plates(dataset, window, shot, network, progress))


def _closed_frames(dataset: SubjectDataset, shot: range) -> set[int]:
    tracks, openings = dataset.tracks, _openings(dataset.tracks, shot)
    usable = np.array(
        [i for i in shot if tracks.valid[i] and i not in dataset.held_out_range], np.int64
    )
    if len(usable) == 0:
        usable = np.array(shot, np.int64)
    closed = openings[usable - shot.start]
    n = max(1, round(CLOSED_SHARE * len(usable)))
    chosen = np.sort(usable[np.argsort(closed, kind="stable")[:n]])
    return {int(i) for i in chosen[np.linspace(0, n - 1, min(n, VIEWS)).astype(int)]}


def _plates(
    dataset: SubjectDataset,
    window: NeckWindow,
    shot: range,
    network: Inpainter,
    progress: ProgressCallback,
) -> Iterator[tuple[Image, Image]]:
    """Picture [h,w,3] and weight [h,w] of every frame of the shot."""
    scale = dataset.manifest.size / 512
    stage = StageProgress(progress, "torso plates", len(shot))
    for view in stage.wrap(islice(_views(dataset, window, shot), len(shot))):
        yield restored(view, network, scale)


@torch.no_grad()
def restored(view: NeckView, network: Inpainter, scale: float) -> tuple[Image, Image]:
    """What to lay into a frame's plate: picture [h,w,3], and weight [h,w], 255 all of it."""
    hole = view.hole(REACH * scale)
    x = torch.from_numpy(_asked(view, hole)).permute(2, 0, 1)[None]
    filled = network(x.contiguous(memory_format=torch.channels_last))[0].permute(1, 2, 0).numpy()
    back = smoothstep(_distance(view.body & ~hole), 0.0, FEATHER * scale)
    weight = hole * back * view.covers
    picture = np.round(255 * np.clip(filled, 0, 1)).astype(np.uint8)
    return picture, np.round(255 * weight).astype(np.uint8)
