"""What Prometheus is told of live sessions."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 1, 2, 5)

SESSIONS = Gauge("synctalk_live_sessions", "Live sessions of this process")
CONNECTIONS = Gauge("synctalk_live_connections", "Open connections of sessions", ["transport"])
FRAMES = Counter("synctalk_live_frames", "Video frames that left")
SKIPPED = Counter(
    "synctalk_live_skipped_frames",
    "Frames never shown: too late, or dropped by an interruption or with a renderer",
)
HELD = Counter("synctalk_live_held_frames", "Frames not there in time: the last one stood longer")
INSERTED_S = Counter(
    "synctalk_live_inserted_silence_seconds", "Silence put in because audio came too late"
)
HELD_UP_S = Counter(
    "synctalk_live_held_up_seconds", "Time that sessions stood still: this process had no CPU"
)
MOVES = Counter("synctalk_live_moves", "Sessions taken up by another renderer", ["why"])
SIZES = Counter("synctalk_live_size_changes", "Changes of resolution", ["to"])
CATCH_UPS = Counter(
    "synctalk_live_catch_ups", "Times that frames were left out: the picture stayed behind"
)
INTERRUPTIONS = Counter("synctalk_live_interruptions", "Interruptions")
REFUSED = Counter("synctalk_live_refused", "Sessions that were not opened", ["reason"])
ENDED = Counter("synctalk_live_ended", "Sessions that ended", ["reason"])
STAGE_S = Histogram(
    "synctalk_live_stage_seconds", "Time of a frame in each stage", ["stage"], buckets=_BUCKETS
)
