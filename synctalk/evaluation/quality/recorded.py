"""Figures of a run that no frame shows: they are noted by who trains or renders.

``docs/metrics.md`` defines the four ways of counting frames per second.
"""

from __future__ import annotations

import resource

from synctalk.errors import InputError

SECONDS_PER_MINUTE, MINUTES_PER_HOUR = 60, 60


def peak_memory_mb() -> float:
    """Most memory this process ever had resident, MB (10^6 bytes); its children not counted."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux gives KiB


def cost_per_minute(price_per_hour: float, fps_end_to_end: float, fps: int = 25) -> float:
    """What a minute of finished video costs on a machine of this price.

    Args:
        price_per_hour: of the whole machine, in any currency.
        fps_end_to_end: finished frames a second with all that the machine runs at once.
        fps: of the video.

    Returns:
        ``price_per_hour / 60 * fps / fps_end_to_end``, in that currency.

    Raises:
        InputError: a rate is not positive, or the price negative.
    """
    if price_per_hour < 0 or not fps_end_to_end > 0 or not fps > 0:
        raise InputError(
            f"A price of {price_per_hour} at {fps_end_to_end} of {fps} fps is no cost.",
            reason="BAD_RATE",
        )
    return price_per_hour / MINUTES_PER_HOUR * fps / fps_end_to_end
