"""An avatar live: one frame at a time, from wherever in its footage it is (DESIGN §1, flow 3).

The frames are those of :func:`synctalk.dubbing.dubbed_frames` for the same coefficients. What costs
most of them, decoding the footage, does not wait for speech: a session walks through it a little
ahead, and sessions share what they have decoded.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterator
from itertools import count, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synctalk.avatar import Avatar, Driving, Scene
from synctalk.backdrop import Backdrop
from synctalk.bundle import BUNDLE_PLATES, MATTE, PLATE_MATTE, SOURCE
from synctalk.dubbing import play_order
from synctalk.media import Yuv420
from synctalk.media.reader import VideoReader
from synctalk.render.compositing import Cutout
from synctalk.render.torso import Neck, lay_neck

PIECE = 25
"""Source frames decoded together: as many as from one key frame of a bundle to the next."""
_STRIDE = 10_000

Image = NDArray[np.uint8]
Coefficients = NDArray[np.float32]


class Still(NamedTuple):
    """What one source frame has under a rendered head. Shared: never written to.

    Args:
        number: of the source frame.
        source: [H,W] planes; plate: [S,S] planes of its crop without the head.
        neck: restored, unweighted; None where the avatar has none.
        mattes: [H,W] and [S,S] of the person, where they are wanted.
    """

    number: int
    source: Yuv420
    plate: Yuv420
    neck: Neck | None
    mattes: tuple[Image, Image] | None

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        planes: list[Image] = [*self.source, *self.plate, *(self.mattes or ())]
        if self.neck is not None:
            planes += [*self.neck.picture, self.neck.weight]
        return sum(plane.nbytes for plane in planes)


class FootageCache:
    """Decoded footage of the avatars that are live, within a budget; for many threads.

    Args:
        budget_bytes: what it may hold. Whoever walks holds up to two pieces of 25 frames beside it.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._pieces: OrderedDict[tuple[Path, bool, int], _Piece] = OrderedDict()  # oldest first
        self._walkers: Counter[tuple[Path, bool]] = Counter()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        with self._lock:
            return sum(piece.size_bytes for piece in self._pieces.values())

    def walk(
        self, person: Avatar, first: int, mattes: bool = False
    ) -> Generator[Still, None, None]:
        """Stills from frame ``first`` of the play order on, without end.

        Every step decodes a frame or two at most, but the first one, which has to find its place.
        When the last walker of an avatar is closed, what was decoded for it is let go.
        """
        shot, film = person.manifest.played, (person.bundle.path, mattes)
        with self._lock:
            self._walkers[film] += 1
        try:
            for begin in count(first, _STRIDE):
                order = play_order(shot, _STRIDE + 1, begin)
                for now, then in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
                    yield self._still(person, mattes, now)
                    base = now - now % PIECE
                    if then < now and base > shot.start:  # its piece is decoded from the other end
                        self._piece(person, mattes, base - PIECE).reach(PIECE - 1 - now % PIECE)
        finally:
            self._leave(film)

    def _still(self, person: Avatar, mattes: bool, index: int) -> Still:
        still = self._piece(person, mattes, index - index % PIECE).reach(index % PIECE)
        self._make_room()
        return still

    def _piece(self, person: Avatar, mattes: bool, base: int) -> _Piece:
        key = (person.bundle.path, mattes, base)
        with self._lock:
            piece = self._pieces.get(key)
            if piece is None:
                piece = self._pieces[key] = _Piece(_decode(person, base, mattes))
            self._pieces.move_to_end(key)
            return piece

    def _make_room(self) -> None:
        with self._lock:
            used = sum(piece.size_bytes for piece in self._pieces.values())
            while used > self._budget and len(self._pieces) > 2:
                used -= self._pieces.popitem(last=False)[1].size_bytes

    def _leave(self, film: tuple[Path, bool]) -> None:
        with self._lock:
            self._walkers[film] -= 1
            if not self._walkers[film]:
                del self._walkers[film]
                for key in [key for key in self._pieces if key[:2] == film]:
                    del self._pieces[key]


class _Piece:
    """Up to 25 source frames, decoded as far as anyone has needed them."""

    def __init__(self, decoder: Iterator[Still]) -> None:
        self._decoder = decoder
        self._stills: list[Still] = []
        self._lock = threading.Lock()
        self.size_bytes = 0

    def reach(self, offset: int) -> Still:
        with self._lock:
            while len(self._stills) <= offset:
                self._stills.append(next(self._decoder))
                self.size_bytes += self._stills[-1].size_bytes
            return self._stills[offset]


def _decode(person: Avatar, base: int, mattes: bool) -> Iterator[Still]:
    folder, stop = person.bundle.path, min(base + PIECE, person.manifest.n_frames)
    order = np.arange(base, stop)
    grey: Iterator[tuple[Image, Image] | None] = repeat(None, len(order))
    if mattes:
        pair = (VideoReader(folder / name).iter_grey(base, stop) for name in (MATTE, PLATE_MATTE))
        grey = zip(*pair, strict=True)
    sources = VideoReader(folder / SOURCE).iter_yuv(base, stop)
    plates = VideoReader(folder / BUNDLE_PLATES).iter_yuv(base, stop)
    necks = person.whole_necks(order)
    for row in zip(order.tolist(), sources, plates, necks, grey, strict=True):
        yield Still(*row)


class LiveView:
    """What an avatar looks like, frame by frame.

    Args:
        person: the avatar.
        backdrop: what stands behind it, not transparent; None: what was filmed.
    """

    def __init__(self, person: Avatar, backdrop: Backdrop | None = None) -> None:
        self.person = person
        self._backdrop = backdrop

    def walk(self, cache: FootageCache, first: int) -> Generator[Still, None, None]:
        """What :meth:`frame` needs, from frame ``first`` of the play order on, without end."""
        return cache.walk(self.person, first, self._backdrop is not None)

    def frame(self, still: Still, lip: Coefficients, expression: Coefficients | None) -> Yuv420:
        """The frame [H,W] over ``still`` with lips [K] and brows and lids [E].

        Args:
            expression: None keeps the source's.
        """
        person, index = self.person, still.number
        moves = person.source[slice(index, index + 1)]
        upper = moves.expression if expression is None else expression[None]
        source, plate = _copy(still.source), _copy(still.plate)
        neck = person.weigh_neck(still.neck, index, lip)
        if neck is not None:
            lay_neck(plate, neck)
        if self._backdrop is not None:
            assert still.mattes is not None
            behind = zip((source, plate), still.mattes, strict=True)
            self._backdrop.replace_behind(*(Cutout(p, matte.copy()) for p, matte in behind))
        driving = Driving(lip[None], upper, moves.R, moves.t)
        (frame,) = person.render_portraits(driving, [Scene(index, source, plate, neck)])
        return frame


def _copy(picture: Yuv420) -> Yuv420:
    return Yuv420(*(plane.copy() for plane in picture))
