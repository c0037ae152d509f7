"""Portrait parsing: part labels, a soft matte of the head, and a torso plate for every frame.

Two passes. ``fit`` looks at a few dozen frames and learns what stays the same: the clean
background, the subject's colours, the shape of the head. ``parse`` then streams the clip. A network
says where the person is; landmarks say where the jaw is; the subject's own colours tell hair from
skin from clothes; the known background sharpens the silhouette down to strands of hair. Filtering
over time stays within a shot.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.errors import FootageError
from synctalk.face.parsing_appearance import Observation, fit_appearance, observe
from synctalk.face.parsing_frame import (
    ParsedFrame,
    ParsingConfig,
    PartLabel,
    SceneModel,
    SeenFrame,
    Window,
    parse_frame,
    surely_background,
)
from synctalk.face.parsing_geometry import HeadOutline, HeadShape, head_outline, head_shape
from synctalk.face.parsing_jaw import measure_jaw
from synctalk.face.parsing_networks import WORK_SIZE, HairSegmenter, PersonSegmenter
from synctalk.face.plates import fit_background
from synctalk.face.tracking import FaceTrack, Image
from synctalk.progress import ProgressCallback, StageProgress, ignore_progress

__all__ = [
    "ParsedClip",
    "ParsedFrame",
    "ParsingConfig",
    "PartLabel",
    "PortraitParser",
    "SceneModel",
    "parse_frames",
]

FramesFactory = Callable[[], Iterable[Image]]

HAIR_EVERY = 2
"""The hair network sees every n-th frame of a shot; between, its map moves with the head."""
IN_FLIGHT = 4
_A = TypeVar("_A")
_B = TypeVar("_B")


def _shots(n_frames: int, cuts: Sequence[int]) -> NDArray[np.int64]:
    """Number of the shot of each frame, [T]."""
    starts = np.zeros(n_frames, np.int64)
    starts[[c for c in cuts if 0 < c < n_frames]] = 1
    return np.cumsum(starts)


def _face_frames(track: FaceTrack, cuts: Sequence[int]) -> NDArray[np.int64]:
    """For each frame the nearest one of its shot in which a face was found; -1 if none, [T]."""
    shots = _shots(len(track), cuts)
    nearest = np.full(len(track), -1)
    for shot in range(int(shots[-1]) + 1 if len(track) else 0):
        members = np.flatnonzero(shots == shot)
        found = members[track.found[members]]
        if len(found):
            nearest[members] = found[np.abs(members[:, None] - found).argmin(1)]
    return nearest


class PortraitParser:
    """Tells face, hair, neck, torso and background apart in one person's footage."""

    def __init__(
        self,
        person: PersonSegmenter,
        hair: HairSegmenter | None = None,
        config: ParsingConfig | None = None,
    ) -> None:
        """Use the ``person`` network and, if there, the ``hair`` network."""
        self._person = person
        self._hair = hair
        self._config = config or ParsingConfig()

    def fit(
        self,
        frames: FramesFactory,
        track: FaceTrack,
        progress: ProgressCallback = ignore_progress,
    ) -> SceneModel:
        """Learn the scene from ``config.fit_frames`` frames spread over the clip.

        Args:
            frames: gives the clip's frames anew, each uint8 [S, S, 3] RGB.
            track: the face in each of them.

        Raises:
            FootageError: no face in any frame.
        """
        found = np.flatnonzero(track.found)
        if not len(found):
            raise FootageError(
                "No frame of the clip has a face.",
                reason="NO_FACE",
                remedy="Use footage that shows one person's face throughout.",
            )
        shape = head_shape(track.landmarks68[found], track.mesh is not None)
        at = found[np.linspace(0, len(found) - 1, self._config.fit_frames).astype(int)]
        images = _pick(frames, sorted(set(at.tolist())), progress)
        outlines = [_outline(track, index, shape) for index in images]
        offsets = measure_jaw(list(images.values()), outlines, shape)
        shape = dataclasses.replace(shape, jaw_offsets=offsets)
        views = [self._observe(image, track, index, shape) for index, image in images.items()]
        clear = [surely_background(view.person) for view in views]
        background = fit_background(list(images.values()), clear)
        return SceneModel(background, shape, fit_appearance(views, shape.chin_v))

    def _observe(self, frame: Image, track: FaceTrack, index: int, shape: HeadShape) -> Observation:
        seen = self._see(frame, track, index, shape, True)
        assert seen.outline is not None
        return observe(seen.small, seen.person, seen.hair, seen.outline)

    def _see(
        self, frame: Image, track: FaceTrack, index: int, shape: HeadShape, with_hair: bool
    ) -> SeenFrame:
        small = cv2.resize(frame, (WORK_SIZE, WORK_SIZE), interpolation=cv2.INTER_AREA)
        hair = self._hair(frame) if self._hair and with_hair else None
        outline = None
        if index >= 0:
            outline = _outline(track, index, shape).scaled(WORK_SIZE / frame.shape[0])
        return SeenFrame(frame, small, self._person(frame), hair, outline)

    def parse(
        self,
        frames: FramesFactory,
        track: FaceTrack,
        scene: SceneModel,
        cuts: Sequence[int] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> Iterator[ParsedFrame]:
        """Parse every frame, in order; a handful of frames are in memory at any time.

        Args:
            frames: gives the clip's frames anew, each uint8 [S, S, 3] RGB.
            track: the face in each of them; a frame without one borrows the nearest of its shot.
            scene: from :meth:`fit`.
            cuts: indices of frames that begin a new shot; no result depends on another shot's
                frames but through ``scene``.
            progress: receives events of the stage ``"parse"``.
        """
        bar = StageProgress(progress, "parse", len(track))
        shots, faces = _shots(len(track), cuts), _face_frames(track, cuts)

        def see(item: tuple[int, Image]) -> SeenFrame:
            index, frame = item
            in_shot = index - int(np.searchsorted(shots, shots[index]))
            with_hair = in_shot % HAIR_EVERY == 0
            return self._see(frame, track, int(faces[index]), scene.shape, with_hair)

        with ThreadPoolExecutor(2) as pool:
            seen = _in_order(pool, see, enumerate(frames()))
            windows = _within_shots(seen, shots)
            parsed = _in_order(pool, lambda w: parse_frame(w, scene, self._config), windows)
            yield from bar.wrap(parsed)


def _outline(track: FaceTrack, index: int, shape: HeadShape) -> HeadOutline:
    mesh = None if track.mesh is None else track.mesh[index]
    return head_outline(track.landmarks68[index], mesh, shape)


def _pick(frames: FramesFactory, wanted: list[int], progress: ProgressCallback) -> dict[int, Image]:
    """The frames of the indices ``wanted``, ascending."""
    bar = StageProgress(progress, "scene", len(wanted))
    picked: dict[int, Image] = {}
    for index, frame in enumerate(itertools.islice(frames(), wanted[-1] + 1)):
        if index == wanted[len(picked)]:
            picked[index] = frame
            bar.advance()
    return picked


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_A], _B], items: Iterable[_A]
) -> Iterator[_B]:
    """``map(work, items)`` on the pool, a few items ahead of the consumer."""
    queue: deque[Future[_B]] = deque()
    for item in items:
        queue.append(pool.submit(work, item))
        if len(queue) > IN_FLIGHT:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def _within_shots(seen: Iterator[SeenFrame], shots: NDArray[np.int64]) -> Iterator[Window]:
    """Each frame with its neighbours, None where a neighbour belongs to another shot."""
    previous: SeenFrame | None = None
    current = next(seen, None)
    index = 0
    while current is not None:
        following = next(seen, None)
        same_before = index > 0 and shots[index - 1] == shots[index]
        same_after = following is not None and shots[index + 1] == shots[index]
        yield Window(previous if same_before else None, current, following if same_after else None)
        previous, current, index = current, following, index + 1


@dataclass(frozen=True)
class ParsedClip:
    """A clip's scene, and, by iterating, its parsed frames in order (parsed as one asks)."""

    scene: SceneModel
    frames: Iterator[ParsedFrame]

    @property
    def background(self) -> Image:
        """The clean background, uint8 [S, S, 3] RGB."""
        return self.scene.background.image

    @property
    def coverage(self) -> float:
        """Part of the background that was seen in the clip, 0..1; the rest is continued."""
        return self.scene.background.coverage

    def __iter__(self) -> Iterator[ParsedFrame]:
        """The parsed frames; once."""
        return self.frames


def parse_frames(
    frames: FramesFactory,
    track: FaceTrack,
    *,
    cuts: Sequence[int] = (),
    config: ParsingConfig | None = None,
    progress: ProgressCallback = ignore_progress,
) -> ParsedClip:
    """Parse a portrait clip with the networks found on this machine (hair's is optional).

    Args:
        frames: gives the clip's frames anew, each uint8 [S, S, 3] RGB; called twice.
        track: the face in each of them.
        cuts: indices of frames that begin a new shot.
        config: settings.
        progress: receives events of the stages ``"scene"`` and ``"parse"``.

    Raises:
        MissingModelError: the person network is not on this machine.
        FootageError: no face in any frame.
    """
    parser = PortraitParser(PersonSegmenter(), HairSegmenter.find(), config)
    scene = parser.fit(frames, track, progress)
    return ParsedClip(scene, parser.parse(frames, track, scene, cuts, progress))
