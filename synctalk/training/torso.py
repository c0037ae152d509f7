"""OOD Torso Restorer (S §III-F; METHOD row 13): the neck that a closed mouth would have left.

A jaw that is lower in the source than in the dub covers neck that the dub must show, and what is
just below it, its edge and its shadow, is wrong there too. Both are taken out and filled by what a
frame with a closed mouth shows there (``filmed_neck``), and by a network that has seen this
person's neck under closed mouths. What comes of it depends on the source frame alone, so it is made
here, once, and dubbing merely lays it in: the paper runs its network on every frame of the result.

Pairs are made of frames whose mouth is closed. Their hole is grown by a random reach and by the way
the jaw may have dropped; what it then covers was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synctalk.bundle import TorsoPlates
from synctalk.dataset import SubjectDataset
from synctalk.face.parsing_matte import fill_coarsely, smoothstep
from synctalk.progress import ProgressCallback, StageProgress
from synctalk.render.torso import NeckWindow
from synctalk.training.filmed_neck import EDGE, ClosedNecks, Filmed
from synctalk.training.inpainter import (
    UNSEEN_WEIGHT,
    Inpainter,
    fit_inpainter,
)
from synctalk.training.mattes import THREADS, in_order
from synctalk.training.neck import (
    NeckView,
    distance,
    frame_parts,
    most_drop,
    neck_view,
    neck_window,
    openings,
)

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
RIM = (1.5, 4.0)
"""px at 512 from what stands beside the body over which the source comes back: at that rim a pixel
is half of it."""
CLOSED_SHARE = 0.4
"""Share of the frames, those of the most closed mouths, that are learnt from."""
VIEWS = 160
BATCH = 2
TURN_DEG, ZOOM, LIGHT = 8.0, 0.05, 0.06
APART = 12
"""Frames between a neck and the one that fills its hole, so that learning is as hard as using."""
ALIKE = 4
"""Frames that a hole may be filled from while learning."""


def _asked(view: NeckView, hole: Mask, filmed: Filmed | None) -> Float:
    """The network's input [h,w,5]: the plate, its hole filled by what was filmed elsewhere and
    smoothly beyond that; the hole; and how much of it was filmed.
    """
    colours = view.plate.astype(np.float32) * np.float32(1 / 255)
    around = (view.body & ~hole).astype(np.float32)
    fill = fill_coarsely(colours, around)
    mask = hole[..., None].astype(np.float32)
    weight = np.zeros_like(mask)
    if filmed is not None:
        weight = filmed.weight[..., None] * mask
        fill += (filmed.colours - fill) * weight
    return np.concatenate([colours + (fill - colours) * mask, mask, weight], -1)


@dataclass(frozen=True)
class _Pairs:
    """Closed mouths, and holes as open ones would leave them."""

    necks: ClosedNecks
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
        view = self.necks.views[int(random.integers(len(self.necks.views)))]
        hole = view.hole(random.uniform(*REACHES) * self.scale, random.uniform(0, self.most_drop))
        clear = distance(view.erased) > EDGE * self.scale
        seen = hole & view.body & clear
        truth = view.frame.astype(np.float32) * np.float32(1 / 255)
        truth = np.where(seen[..., None], truth, _continued(truth, view.body & clear))
        known = seen + UNSEEN_WEIGHT * (hole & ~seen)
        asked = _asked(view, hole, self._filmed(view, hole, random))
        return _moved(view, (asked, truth, known[..., None].astype(np.float32)), random)

    def _filmed(self, view: NeckView, hole: Mask, random: np.random.Generator) -> Filmed | None:
        """What one of a few alike frames shows, of those not of the same moment."""
        apart = np.flatnonzero(np.abs(self.necks.indices - view.index) >= APART)
        if not len(apart):
            return None
        differ = self.necks.differences(view, hole)[apart]
        alike = apart[np.argsort(differ, kind="stable")[:ALIKE]]
        return self.necks.laid(view, hole, int(random.choice(alike)))


def _moved(
    view: NeckView, pair: tuple[Float, Float, Float], random: np.random.Generator
) -> tuple[Float, Float, Float]:
    """Input, truth and weights turned, scaled and lit a little otherwise."""
    height, width = view.face.shape
    turn = random.uniform(-TURN_DEG, TURN_DEG)
    zoom = random.uniform(1 - ZOOM, 1 + ZOOM)
    move = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    gain = np.float32(1 + random.uniform(-LIGHT, LIGHT))

    def warped(image: Float, flags: int = cv2.INTER_LINEAR) -> Float:
        out = cv2.warpAffine(
            image, move, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        return np.asarray(out.reshape(image.shape), np.float32)

    asked, truth, known = pair
    colours, truth = (np.clip(warped(c) * gain, 0, 1) for c in (asked[..., :3], truth))
    asked = np.concatenate(
        [colours, warped(asked[..., 3:4], cv2.INTER_NEAREST), warped(asked[..., 4:])], -1
    )
    return asked, truth, warped(known, cv2.INTER_NEAREST)


def _continued(colours: Float, seen: Mask) -> Float:
    """Each column's highest seen colour carried on upwards, [h,w,3]."""
    first = seen.argmax(0)
    top = colours[first, np.arange(seen.shape[1])]
    smooth = cv2.blur(top[None], (9, 1))
    return np.asarray(np.broadcast_to(smooth, colours.shape), np.float32)


def restore_torso(
    dataset: SubjectDataset, steps: int, seed: int, progress: ProgressCallback
) -> TorsoPlates:
    """Learn the subject's neck and inpaint it in every frame that dubbing plays.

    Args:
        steps: of the optimiser.
        seed: of everything random.
        progress: receives events of the stages ``torso`` (now) and ``torso plates`` (while the
            result's frames are read, once).
    """
    size, shot = dataset.manifest.size, dataset.played
    window = neck_window(dataset.tracks, shot, size)
    learnt = _closed_frames(dataset, shot)
    stage = StageProgress(progress, "torso", steps)
    views = [neck_view(window, dataset.tracks, f) for f in frame_parts(dataset, learnt)]
    necks = ClosedNecks(views, window, size)
    pairs = _Pairs(necks, most_drop(dataset.tracks, shot), size / 512, seed)
    network = fit_inpainter(pairs.batch, steps, seed, lambda loss: stage.advance())
    return TorsoPlates(window, shot, _plates(dataset, window, shot, necks, network, progress))


def _closed_frames(dataset: SubjectDataset, shot: range) -> list[int]:
    tracks = dataset.tracks
    usable = np.array(
        [i for i in shot if tracks.valid[i] and i not in dataset.held_out_range], np.int64
    )
    if len(usable) == 0:
        usable = np.array(shot, np.int64)
    opening = openings(tracks, shot)[usable - shot.start]
    n = max(1, round(CLOSED_SHARE * len(usable)))
    chosen = np.sort(usable[np.argsort(opening, kind="stable")[:n]])
    return [int(i) for i in chosen[np.linspace(0, n - 1, min(n, VIEWS)).astype(int)]]


def _plates(
    dataset: SubjectDataset,
    window: NeckWindow,
    shot: range,
    necks: ClosedNecks,
    network: Inpainter,
    progress: ProgressCallback,
) -> Iterator[tuple[Image, Image]]:
    """Picture [h,w,3] and weight [h,w] of every frame of the shot."""
    scale = dataset.manifest.size / 512

    def asked() -> Iterator[tuple[NeckView, Mask, int | None]]:
        number = None
        for read in frame_parts(dataset, shot):
            view = neck_view(window, dataset.tracks, read)
            hole = view.hole(REACH * scale)
            number = necks.chosen(view, hole, number)
            yield view, hole, number

    def restore(one: tuple[NeckView, Mask, int | None]) -> tuple[Image, Image]:
        view, hole, number = one
        filmed = None if number is None else necks.laid(view, hole, number)
        return restored(view, hole, filmed, network, scale)

    stage = StageProgress(progress, "torso plates", len(shot))
    with ThreadPoolExecutor(THREADS, "torso") as pool:
        yield from stage.wrap(in_order(pool, restore, asked()))


@torch.no_grad()
def restored(
    view: NeckView, hole: Mask, filmed: Filmed | None, network: Inpainter, scale: float
) -> tuple[Image, Image]:
    """What to lay into a frame's plate: picture [h,w,3], and weight [h,w], 255 all of it."""
    x = torch.from_numpy(_asked(view, hole, filmed)).permute(2, 0, 1)[None]
    filled = network(x.contiguous(memory_format=torch.channels_last))[0].permute(1, 2, 0).numpy()
    back = smoothstep(distance(view.body & ~hole), 0.0, FEATHER * scale)
    away = smoothstep(distance(~view.body & ~view.erased), RIM[0] * scale, RIM[1] * scale)
    weight = hole * back * away * view.covers
    picture = np.round(255 * np.clip(filled, 0, 1)).astype(np.uint8)
    return picture, np.round(255 * weight).astype(np.uint8)
