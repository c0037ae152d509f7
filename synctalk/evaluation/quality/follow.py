"""A face tracker that is handed its frames one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from queue import Full, Queue
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from synctalk.face.tracking import FaceTrack, FaceTracker

Image = NDArray[np.uint8]

_AHEAD = 4  # frames that wait for the tracker: bounds memory
_LOOK_S = 0.2  # how often a full queue looks whether the tracker has failed


class Follower:
    """Runs ``tracker.track`` in a thread of its own on the frames that are added.

    Args:
        tracker: used by nobody else until :meth:`finish` or :meth:`close`.
        cuts: frames that begin a new shot.
    """

    def __init__(self, tracker: FaceTracker, cuts: Sequence[int]) -> None:
        """Begin to wait for frames."""
        self._frames: Queue[Image | None] = Queue(_AHEAD)
        self._track: Future[FaceTrack] = Future()
        # a daemon, so that a scorer that nobody closes cannot keep the process alive
        Thread(target=self._run, args=(tracker, tuple(cuts)), name="follow", daemon=True).start()

    def add(self, frame: Image) -> None:
        """Hand over the next frame, uint8 RGB [H,W,3]; it is copied.

        Raises:
            SyncTalkError: whatever the tracker failed with.
        """
        self._put(frame.copy())

    def finish(self) -> FaceTrack:
        """The track of all frames.

        Raises:
            SyncTalkError: whatever the tracker failed with.
        """
        self._put(None)
        return self._track.result()

    def close(self) -> None:
        """End without a result; harmless after :meth:`finish`."""
        while not self._track.done():
            try:
                self._frames.put(None, timeout=_LOOK_S)
                wait([self._track], _LOOK_S)
            except Full:
                continue

    def _put(self, frame: Image | None) -> None:
        while True:
            if self._track.done():
                self._track.result()
            try:
                self._frames.put(frame, timeout=_LOOK_S)
            except Full:
                continue
            return

    def _run(self, tracker: FaceTracker, cuts: tuple[int, ...]) -> None:
        try:
            self._track.set_result(tracker.track(self._given(), cuts=cuts))
        except BaseException as error:  # whoever adds or finishes gets it
            self._track.set_exception(error)

    def _given(self) -> Iterator[Image]:
        while (frame := self._frames.get()) is not None:
            yield frame
