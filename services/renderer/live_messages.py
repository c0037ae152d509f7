"""What goes into a live session and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

from services.renderer.live_encoding import Packet
from services.renderer.moments import LiveFeatures


@dataclass(frozen=True)
class Interrupt:
    """Frames that have not been sent are dropped; features go on from ``resume_at``."""

    resume_at: int


@dataclass(frozen=True)
class WantKeyFrame:
    """The next frame is to be a key frame."""


@dataclass(frozen=True)
class End:
    """No more features."""


Input = LiveFeatures | Interrupt | WantKeyFrame | End


@dataclass(frozen=True)
class Timing:
    """Where a frame's time went, seconds."""

    look_ahead_s: float
    waiting_s: float
    render_s: float
    encode_s: float


@dataclass(frozen=True)
class LiveFrame:
    """A frame of the session."""

    frame: int
    packet: Packet
    timing: Timing


@dataclass(frozen=True)
class Interrupted:
    """Frames from ``resume_at`` on that came out before this are void."""

    resume_at: int
    dropped: int


@dataclass(frozen=True)
class Leave:
    """This replica is about to go, and so should the session."""

    time_left_s: float


@dataclass(frozen=True)
class Summary:
    """The last output: frames that came out, and that interruptions dropped."""

    frames: int
    dropped: int


Output = LiveFrame | Interrupted | Leave | Summary
