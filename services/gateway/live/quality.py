"""When to send smaller pictures, and when larger ones again."""

from __future__ import annotations

from collections import deque

SCALES = (1.0, 0.75, 0.5)
_WINDOW = 50  # frames, 2 s
_MANY = 10
_SETTLE = 125
_FIRST_CALM = 750
_LONGEST_CALM = 12_000


class Quality:
    """Looks at every frame's turn and chooses a step of :data:`SCALES`.

    One step down when a fifth of the last 50 frames were not there in time; one up after 30 s
    without a single one, and twice as long after each step up that did not hold.
    """

    def __init__(self) -> None:
        self.step = 0
        self._held: deque[bool] = deque(maxlen=_WINDOW)
        self._calm = 0
        self._needed_calm = _FIRST_CALM
        self._settling = 0
        self._was_raised = False

    @property
    def scale(self) -> float:
        """Of the avatar's full size."""
        return SCALES[self.step]

    def look(self, *, held: bool) -> bool:
        """Whether the step changes with this frame."""
        self._held.append(held)
        self._calm = 0 if held else self._calm + 1
        if self._settling:
            self._settling -= 1
            return False
        if sum(self._held) >= _MANY and self.step + 1 < len(SCALES):
            if self._was_raised:
                self._needed_calm = min(2 * self._needed_calm, _LONGEST_CALM)
            return self._change(1)
        if self.step and self._calm >= self._needed_calm:
            return self._change(-1)
        return False

    def settle(self) -> None:
        """What just happened says nothing of speed: the renderer changed, or speech did."""
        self._held.clear()
        self._settling = max(self._settling, _WINDOW)

    def _change(self, by: int) -> bool:
        self.step += by
        self._was_raised = by < 0
        self._held.clear()
        self._calm, self._settling = 0, _SETTLE
        return True


def scaled(size_px: int, scale: float) -> int:
    """An even number of pixels."""
    return max(2, 2 * round(size_px * scale / 2))
