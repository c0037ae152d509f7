"""Whether a replica has room for another live session, and whether its frames keep up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from services.common.errors import ResourceExhausted

SESSIONS = Gauge("synctalk_render_live_sessions", "Live sessions")
REFUSED = Counter("synctalk_render_live_refused_total", "Live sessions refused: no room", ["why"])
FRAMES = Counter("synctalk_render_live_frames_total", "Frames of live sessions encoded")
LATE = Counter("synctalk_render_live_late_frames_total", "Of them, those after their time")
DROPPED = Counter("synctalk_render_live_dropped_frames_total", "Frames that interruptions dropped")
LATE_SHARE = Gauge("synctalk_render_live_late_share", "Share of late frames, 0 to 1, of late")
FRAME_S = Histogram(
    "synctalk_render_live_frame_seconds",
    "A frame of a live session from its features to its bytes",
    buckets=(0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2),
)

_WINDOW_S = 5.0
_LEAST_FRAMES = 50  # before a share means anything


class Admission:
    """Counts what is live here.

    Args:
        max_sessions: more are refused.
        max_late_share: a replica with more frames late than this takes no other session.
        clock: seconds, rising.
    """

    def __init__(
        self,
        max_sessions: int,
        max_late_share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._max_late_share = max_late_share
        self._clock = clock
        self._sessions = 0
        self._frames: deque[tuple[float, bool]] = deque()
        self._late = 0

    @property
    def sessions(self) -> int:
        """Sessions admitted and not ended."""
        return self._sessions

    @property
    def late_share(self) -> float:
        """Of the frames of the last 5 seconds, 0 to 1; 0 while there are few."""
        self._forget()
        return self._late / len(self._frames) if len(self._frames) >= _LEAST_FRAMES else 0.0

    @contextmanager
    def session(self) -> Iterator[None]:
        """A place for a session while the context is open.

        Raises:
            ResourceExhausted: ``RENDERER_FULL``.
        """
        if self._sessions >= self._max_sessions:
            raise _full("sessions", f"{self._sessions} sessions are live here already")
        if (share := self.late_share) > self._max_late_share:
            raise _full("late", f"{share:.0%} of the frames here are late")
        self._sessions += 1
        SESSIONS.set(self._sessions)
        try:
            yield
        finally:
            self._sessions -= 1
            SESSIONS.set(self._sessions)

    def frame(self, latency_s: float, late: bool) -> None:
        """Note a frame that is ready to be sent."""
        self._frames.append((self._clock(), late))
        self._late += late
        FRAMES.inc()
        LATE.inc(late)
        FRAME_S.observe(latency_s)
        LATE_SHARE.set(self.late_share)

    def _forget(self) -> None:
        before_s = self._clock() - _WINDOW_S
        while self._frames and self._frames[0][0] < before_s:
            self._late -= self._frames.popleft()[1]


def _full(why: str, message: str) -> ResourceExhausted:
    REFUSED.labels(why).inc()
    return ResourceExhausted(
        message, reason="RENDERER_FULL", remedy="Try another replica, or start one more."
    )
