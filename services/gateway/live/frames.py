"""Encoded frames between their arrival and their turn. No input or output of its own.

Frames come in *chains*: a chain begins with a key frame, and every further frame of it needs the
one before. A session changes from chain to chain when its renderer, its size or its speech does.
A new chain takes over at its first key frame whose turn has come.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Frame:
    """An encoded video frame.

    Args:
        slot: which frame of the session it is.
        data: one access unit, H.264 in Annex B form.
        width_px, height_px: of the picture.
        arrived_s: when it came.
    """

    slot: int
    data: bytes
    key: bool
    width_px: int
    height_px: int
    arrived_s: float


@dataclass
class _Chain:
    number: int
    begun: bool = False
    frames: dict[int, Frame] = field(default_factory=dict)

    def first_key(self, low: int, high: int) -> int | None:
        """The first slot in [low, high] that has a key frame."""
        return min((n for n, f in self.frames.items() if f.key and low <= n <= high), default=None)


class FrameQueue:
    """Gives out every chain's frames in order, each when its turn has come."""

    def __init__(self) -> None:
        self.next_slot = 0
        self._chains: list[_Chain] = []
        self._made = 0

    @property
    def active(self) -> int:
        """The chain that is shown."""
        return self._chains[0].number if self._chains else -1

    @property
    def last_slot(self) -> int:
        """The last frame that has come."""
        waiting = (slot for chain in self._chains for slot in chain.frames)
        return max(waiting, default=self.next_slot - 1)

    def new_chain(self) -> int:
        """The number of a chain that will take over from those before it."""
        self._chains.append(_Chain(self._made))
        self._made += 1
        return self._made - 1

    def void(self) -> None:
        """Forget all chains with all frames that were not given out."""
        self._chains.clear()

    def put(self, chain: int, frame: Frame) -> bool:
        """Keep a frame of a chain; whether it is of any use.

        It is not when its chain is gone, or when it begins a chain after its turn has passed:
        then the chain needs another key frame.
        """
        found = next((each for each in self._chains if each.number == chain), None)
        if found is None:
            return False
        if frame.slot < self.next_slot:
            return False
        found.frames[frame.slot] = frame
        return True

    def take(self, due: int) -> list[Frame]:
        """Frames that are to leave now, in order.

        Args:
            due: the newest slot whose turn has come.
        """
        taken = list[Frame]()
        while self.next_slot <= due:
            self._take_over(self.next_slot, self.next_slot)
            frame = self._next_of_active()
            if frame is None:
                if not self._take_over(self.next_slot, due):
                    break
                continue
            taken.append(frame)
            self.next_slot = frame.slot + 1
        return taken

    def _next_of_active(self) -> Frame | None:
        if not self._chains:
            return None
        chain = self._chains[0]
        if not chain.begun:
            return None
        return chain.frames.pop(self.next_slot, None)

    def _take_over(self, low: int, high: int) -> bool:
        """Change to the newest chain that can begin in [low, high]."""
        for index in range(len(self._chains) - 1, -1, -1):
            chain = self._chains[index]
            if index == 0 and chain.begun:
                return False
            slot = chain.first_key(low, high)
            if slot is not None:
                del self._chains[:index]
                chain.begun = True
                chain.frames = {n: f for n, f in chain.frames.items() if n >= slot}
                self.next_slot = slot
                return True
        return False
