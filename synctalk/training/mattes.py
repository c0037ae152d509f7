"""Who stands before the background: what a dub needs to put another one behind the person.

The dataset knows the parts of the crop and the soft edge of the head. Here the whole person gets
a soft edge, over the whole frame, by the same means as the parser's: a coarse map, drawn sharply by
the image, solved for against the known background where that differs. Beyond the crop the coarse
map is the person network's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, repeat
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.bundle import FrameMattes, Mattes
from synctalk.dataset import FRAMES, MASKS, SubjectDataset
from synctalk.face.parsing_frame import (
    PartLabel,
    guided_edge,
    solved_edge,
    surely_background,
)
from synctalk.face.parsing_matte import smoothstep
from synctalk.face.parsing_networks import WORK_SIZE, PersonSegmenter
from synctalk.face.plates import Background, background_now, erase_mask, fit_background
from synctalk.media import VideoReader
from synctalk.progress import ProgressCallback, StageProgress

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
InT = TypeVar("InT")
OutT = TypeVar("OutT")

FIT_FRAMES = 64
FIT_BYTES = 256 << 20
"""What the frames that the background is learnt from may take."""
FEATHER = 12
"""Working px over which the crop's labels give way to the network beyond it."""
EDGE_PX = 0.7
"""Softness of an edge of which the colours say nothing, px of the crop (standard deviation)."""
TOLERANCE = 0.35
"""How far a pixel may be off every mix of person and scene, share of the distance of those."""
STILL = 6.0
"""Grey levels by which a still pixel differs from frame to frame."""
STILLNESS = np.exp(-np.square(np.arange(256, dtype=np.float32) / STILL))
"""[256] of a pixel that differs by so many."""
REACH = 0.025
"""How far beyond what was seen a plain background is taken to go on, share of the height."""
PLAIN = (4.0, 14.0)
"""Standard deviation, grey levels, of a background that is plain, and of one that is not."""
EYES, CHIN = slice(36, 48), 8
NECK_TOP = 0.72
"""Where the neck ends behind the face: from the eyes (0) to the chin (1)."""
LEAST_REACH = 0.016
"""How far clothes and hair go on behind the head, share of the crop's side."""
THREADS = 2


def person_mattes(dataset: SubjectDataset, progress: ProgressCallback) -> Mattes:
    """The empty scene of a dataset's footage, and the person's matte in every frame.

    Of the frames alone that dubbing plays: other shots may show another scene, and their mattes are
    empty.
    """
    matter = _Matter(dataset)
    return Mattes(matter.scene.image, matter.frames(progress))


@dataclass(frozen=True)
class _Seen:
    """A frame's alpha [H,W] on its own, its grey image, and what was read of it."""

    alpha: Float
    look: Image
    labels: Image
    head: Image
    neck_top: Float


class _Matter:
    def __init__(self, dataset: SubjectDataset) -> None:
        manifest = dataset.manifest
        self._dataset = dataset
        self._shot = dataset.played
        self._crop = manifest.crop
        self._scale = WORK_SIZE / manifest.crop.side
        shape = (manifest.source_height, manifest.source_width)
        self._small = tuple(max(1, round(n * self._scale)) for n in shape)
        self._inside = self._crop_weight()
        self._network = None if self._inside.min() == 1 else PersonSegmenter()
        self.scene = self._fit()

    def frames(self, progress: ProgressCallback) -> Iterator[FrameMattes]:
        """The mattes of every frame, in order, a few at a time in parallel."""
        dataset, manifest, shot = self._dataset, self._dataset.manifest, self._shot
        empty = FrameMattes(
            np.zeros((manifest.source_height, manifest.source_width), np.uint8),
            np.zeros((manifest.size, manifest.size), np.uint8),
        )
        yield from repeat(empty, shot.start)
        tops = neck_tops(dataset.tracks.landmarks68, manifest.size)[shot.start :]
        inputs = zip(
            dataset.source_frames(shot.start),
            dataset.masks(shot.start),
            dataset.mattes(shot.start),
            tops,
            strict=True,
        )
        stage = StageProgress(progress, "mattes", len(shot))
        with ThreadPoolExecutor(THREADS, "mattes") as pool:
            seen = in_order(pool, self._see, islice(inputs, len(shot)))
            yield from stage.wrap(in_order(pool, self._mattes, _neighbours(seen)))
        yield from repeat(empty, manifest.n_frames - shot.stop)

    def _see(self, read: tuple[Image, Image, Image, Float]) -> _Seen:
        frame, labels, head, neck_top = read
        small, person = self._coarse(frame, labels)
        offset = background_now(small, self.scene, surely_background(person))
        edge = self._edge(frame, labels, small, person)
        alpha = solved_edge(edge, frame, small, person, offset, self.scene, TOLERANCE)
        look = cv2.blur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (5, 5))
        return _Seen(alpha, look, labels, head, neck_top)

    def _mattes(self, window: tuple[_Seen, _Seen, _Seen]) -> FrameMattes:
        now = window[1]
        source = np.round(255 * _steady(window)).astype(np.uint8)
        inner = self._crop.cut(source, len(now.labels))
        return FrameMattes(source, plate_matte(inner, now.labels, now.head, now.neck_top))

    def _fit(self) -> Background:
        dataset = self._dataset
        manifest = dataset.manifest
        frame_bytes = 3 * manifest.source_width * manifest.source_height
        n = int(np.clip(FIT_BYTES // frame_bytes, 8, FIT_FRAMES))
        frames, visible = [], []
        with (
            VideoReader(dataset.path / FRAMES) as video,
            VideoReader(dataset.path / MASKS) as masks,
        ):
            for index in np.linspace(self._shot[0], self._shot[-1], n).astype(int):
                frames.append(video.read(int(index)))
                person = self._coarse(frames[-1], masks.read_grey(int(index)))[1]
                visible.append(surely_background(person))
        return trust_beyond(fit_background(frames, visible))

    def _coarse(self, frame: Image, labels: Image) -> tuple[Image, Float]:
        """The frame at working size [h,w,3] and where the person is in it [h,w] in [0,1]."""
        height, width = self._small
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        shown = (labels != PartLabel.BACKGROUND).astype(np.float32)
        known = cv2.resize(shown, (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA)
        if self._network is None:
            return small, known
        person = _asked(self._network, small)
        inside = _placed(known, self._corner, (height, width))
        return small, person + (inside - person) * self._inside

    def _edge(self, frame: Image, labels: Image, small: Image, person: Float) -> Float:
        """The person's alpha before colours are looked at, [H,W]: sharp as the labels know it."""
        crop = self._crop
        shown = (labels != PartLabel.BACKGROUND).astype(np.float32)
        known: Float = cv2.resize(cv2.GaussianBlur(shown, (0, 0), EDGE_PX), (crop.side, crop.side))
        if self._network is None:
            return known
        alpha = guided_edge(frame, small, person)
        window = slice(crop.y, crop.y + crop.side), slice(crop.x, crop.x + crop.side)
        inside = cv2.resize(self._inside, frame.shape[1::-1])[window]
        alpha[window] += (known - alpha[window]) * inside
        return alpha

    @property
    def _corner(self) -> tuple[float, float]:
        return self._crop.x * self._scale, self._crop.y * self._scale

    def _crop_weight(self) -> Float:
        """[h,w] in [0,1]: 1 in the crop, less near those of its edges that the frame goes past."""
        height, width = self._small
        left, top = self._corner
        return np.outer(_ramp(top, height), _ramp(left, width)).astype(np.float32)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[InT], OutT], items: Iterable[InT]
) -> Iterator[OutT]:
    """Results of ``work`` in the order of the items, a few of which are under way at once."""
    pending: deque[Future[OutT]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) > 2 * THREADS:
            yield pending.popleft().result()
    for last in pending:
        yield last.result()


def _neighbours(items: Iterable[InT]) -> Iterator[tuple[InT, InT, InT]]:
    """Each item with the one before and the one after it; at the ends itself stands for them."""
    every = iter(items)
    before = now = next(every)
    for after in every:
        yield before, now, after
        before, now = now, after
    yield before, now, now


def _steady(window: tuple[_Seen, _Seen, _Seen]) -> Float:
    """The middle frame's alpha, averaged with its neighbours' where nothing moves: no flicker."""
    now = window[1]
    total, weight = 2 * now.alpha, np.float32(2)
    for other in (window[0], window[2]):
        still = cv2.LUT(cv2.absdiff(now.look, other.look), STILLNESS)
        total, weight = total + still * other.alpha, weight + still
    return np.asarray(total / weight, np.float32)


def _ramp(first: float, length: int) -> Float:
    """[length] in [0,1]: a crop from ``first`` on, fading at its ends where the frame goes on."""
    at = np.arange(length, dtype=np.float32) + np.float32(0.5 - first)
    ramp = np.full(length, FEATHER, np.float32)
    if at[0] < -0.5:
        ramp = np.minimum(ramp, at)
    if at[-1] > WORK_SIZE + 0.5:
        ramp = np.minimum(ramp, WORK_SIZE - at)
    return smoothstep(ramp, 0, FEATHER)


def trust_beyond(scene: Background) -> Background:
    """The scene, trusted a little way behind the person too, where it is plain.

    A head that hardly moves hides the same rim of the scene in every frame, and that rim is where
    its soft edge lies. What goes on there is what is seen beside it, if that has no detail.
    """
    reach = len(scene.image) * REACH
    box = (2 * round(reach) + 1,) * 2
    seen = scene.seen.astype(np.float32)
    image = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    weight = np.maximum(cv2.blur(seen, box), 1e-3)
    mean = cv2.blur(image * seen, box) / weight
    spread = np.sqrt(np.maximum(cv2.blur(image * image * seen, box) / weight - mean * mean, 0))
    plain = 1 - smoothstep(spread, *PLAIN)
    distance = cv2.distanceTransform((~scene.seen).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    near = 1 - smoothstep(distance, reach, 2 * reach)
    beside = np.minimum(cv2.blur(scene.trust, box) / weight, 1)
    trust = np.where(scene.seen, scene.trust, plain * near * beside)
    return Background(scene.image, scene.seen, trust.astype(np.float32))


def neck_tops(landmarks: Float, size: int) -> Float:
    """How far up the neck goes on behind the face in plates: y of each column, [T,S] px.

    Args:
        landmarks: [T,68,2] px.
    """
    eyes, chin = landmarks[:, EYES].mean(1), landmarks[:, CHIN]
    down = chin - eyes
    at = eyes + NECK_TOP * down
    slope = -down[:, 0] / np.where(np.abs(down[:, 1]) < 1, 1, down[:, 1])
    x = np.arange(size, dtype=np.float32) + np.float32(0.5)
    return np.asarray(at[:, 1, None] + slope[:, None] * (x - at[:, :1]), np.float32)


def plate_matte(person: Image, labels: Image, head: Image, neck_top: Float) -> Image:
    """The person's matte in a plate, where the head is taken out: [S,S] uint8.

    As in the plate itself, the neck goes on behind the jaw, and other parts of the body a little
    way.

    Args:
        person: [S,S] matte of the frame; labels: [S,S] its parts; head: [S,S] the head's matte.
        neck_top: [S] y up to which the neck goes on, px.
    """
    size = len(person)
    matte: Image = cv2.multiply(person, 255 - head, scale=1 / 255)
    erased = erase_mask(head, max(1, size // 512))
    x, y, width, height = cv2.boundingRect(erased)
    if not width:
        return matte
    # one pixel more all round, for the blur
    box = (
        slice(max(y - 1, 0), min(y + height + 1, size)),
        slice(max(x - 1, 0), min(x + width + 1, size)),
    )
    inside = erased[box] > 0
    rows, columns = np.arange(size)[box[0], None], np.arange(size)[box[1]]
    lowest = np.where(inside, rows, -1).max(0)
    under = np.minimum(lowest + 2, size - 1)
    is_body = person[under, columns] * (lowest >= 0)
    neck = labels[under, columns] == PartLabel.NECK
    top = np.where(neck, neck_top[box[1]], size)
    top = np.minimum(top, lowest - LEAST_REACH * size)
    up = is_body[None] * ((rows >= top) & (rows <= lowest))
    filled = np.where(inside, up, matte[box]).astype(np.float32)
    matte[box] = np.where(inside, cv2.blur(filled, (3, 3)), filled).round().astype(np.uint8)
    return matte


def _asked(network: PersonSegmenter, small: Image) -> Float:
    """The network's map of a picture of any shape [h,w]: it is shown a square."""
    height, width = small.shape[:2]
    side = max(height, width)
    square = cv2.copyMakeBorder(small, 0, side - height, 0, side - width, cv2.BORDER_REPLICATE)
    found = cv2.resize(network(square), (side, side))
    return np.ascontiguousarray(found[:height, :width])


def _placed(crop: Float, corner: tuple[float, float], shape: tuple[int, int]) -> Float:
    """A crop's map [s,s] where it lies in a picture [h,w]; zero beyond it."""
    move = np.array([[1, 0, corner[0]], [0, 1, corner[1]]], np.float32)
    return np.asarray(cv2.warpAffine(crop, move, shape[::-1]), np.float32)
