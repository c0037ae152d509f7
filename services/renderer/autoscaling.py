"""How many replicas of the renderer live sessions want; knows nothing of who starts them.

Sessions come one by one and stay for minutes, so replicas are counted by the streams they hold.
But what a stream costs differs by avatar, size and machine: where frames are late although the
count says that all is well, there are too few replicas whatever the count says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LATE_TOO_OFTEN = 0.05
"""Share of late frames on any replica that asks for another one."""
LATE_SELDOM = 0.01
"""Share up to which a replica may be taken away."""


@dataclass(frozen=True)
class LiveLoad:
    """What a group of replicas does now.

    Args:
        replicas: that run.
        streams: open or waiting for a replica, in all.
        worst_late_share: share of late frames, 0 to 1, of the replica that has the largest.
    """

    replicas: int
    streams: float
    worst_late_share: float


def wanted_replicas(load: LiveLoad, streams_per_replica: float) -> int:
    """Replicas that would do, at least 1; limits and delays are the caller's.

    Args:
        load: as measured.
        streams_per_replica: that one is to hold.
    """
    by_count = max(1, math.ceil(load.streams / streams_per_replica))
    if load.streams == 0:
        return by_count  # nobody is left to be late for
    if load.worst_late_share > LATE_TOO_OFTEN:
        return max(by_count, load.replicas + 1)
    if load.worst_late_share > LATE_SELDOM:
        return max(by_count, load.replicas)
    return by_count
