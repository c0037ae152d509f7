"""The session's stream to the expression service: blocks in, features of the session's frames out.

A stream that breaks is opened anew and hears the last second again, so that the encoder knows
what came before and nothing of the session's sound is missed. In lasting silence nothing is sent:
features stay as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from services.common import logs
from services.common.errors import Unavailable
from services.gateway.live.clock import Clock
from services.gateway.live.ports import Expression, Features
from services.gateway.live.sound import SILENCE
from synctalk.errors import SyncTalkError

log = logs.logger(__name__)
_RECENT_BLOCKS = 50
_LASTING_BLOCKS = 100  # of silence, half a second after which the mouth rests
_AHEAD = 125
_AGAIN_S, _TRIES = 0.25, 40


class Hearing:
    """One session's ear.

    Args:
        on_features: gets every frame's features once, in order.
        on_lost: gets the error when the service stays away.
    """

    def __init__(
        self,
        expression: Expression,
        tenant: str,
        clock: Clock,
        on_features: Callable[[Features], None],
        on_lost: Callable[[SyncTalkError], None],
    ) -> None:
        self._expression = expression
        self._tenant = tenant
        self._clock = clock
        self._on_features = on_features
        self._on_lost = on_lost
        self._version = ""
        self._first_block = 0
        self._last_slot = -1
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=_RECENT_BLOCKS)
        self._queue = asyncio.Queue[bytes](_AHEAD)
        self._fed = 0
        self._odd = b""
        self._silent = 0
        self._next_block = 0
        self._resting: Sequence[float] | None = None
        self._maps: list[tuple[int, int]] = []  # (frame of the stream, frame of the session)
        self._scope = asyncio.timeout(None)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> str:
        """The encoder's version. Raises :class:`SyncTalkError` when the service does."""
        opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(opened))
        return await opened

    async def close(self) -> None:
        """End the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def feed(self, block: int, pcm: bytes) -> None:
        """Hear a block of the session; those that an interruption has skipped are not heard."""
        if block < self._first_block:
            return
        self._recent.append((block, pcm))
        self._next_block = block + 1
        self._silent = self._silent + 1 if pcm == SILENCE else 0
        if self._resting is None:
            self._put(block, pcm)
        elif self._silent:
            self._rest(self._resting)
        else:
            self._wake()

    def restart_at(self, slot: int, next_block: int) -> None:
        """Hear silence from a frame on, and forget what was not yet answered.

        Args:
            slot: the frame.
            next_block: the block that :meth:`feed` will get next.
        """
        self._resting = None
        self._go_on_at(slot)
        self._last_slot = slot - 1
        self._first_block = 2 * slot
        self._recent.clear()
        for block in range(2 * slot, next_block):
            self.feed(block, SILENCE)

    def _rest(self, row: Sequence[float]) -> None:
        """Answer for the service, when it would have heard enough."""
        while 2 * (self._last_slot + 1) + 2 < self._next_block:
            self._last_slot += 1
            self._on_features(Features(self._last_slot, row))

    def _wake(self) -> None:
        """Let the service hear from the first frame that has no features yet."""
        self._resting = None
        first = self._last_slot + 1
        self._go_on_at(first)
        for block, pcm in self._recent:
            if block >= 2 * first:
                self._put(block, pcm)

    def _go_on_at(self, slot: int) -> None:
        """What is put next begins this frame."""
        if self._fed % 2:
            self._put(0, SILENCE)
        if self._fed:
            self._maps.append((self._fed // 2, slot))

    def _put(self, block: int, pcm: bytes) -> None:
        if not self._fed:
            if block % 2:
                return  # a stream begins with a whole frame
            self._maps = [(0, block // 2)]
        # No frame is complete with an odd block: it goes with the next one.
        self._odd, pcm = (pcm, b"") if self._fed % 2 else (b"", self._odd + pcm)
        self._fed += 1
        try:
            if pcm:
                self._queue.put_nowait(pcm)
        except asyncio.QueueFull:  # the service stands still: leave this stream, if there is one
            with contextlib.suppress(RuntimeError):
                self._scope.reschedule(0)

    async def _run(self, opened: asyncio.Future[str]) -> None:
        failures = 0
        while True:
            before = self._last_slot
            error = await self._listen(opened)
            failures = failures + 1 if self._last_slot == before else 0
            if not opened.done():
                opened.set_exception(error)
                return
            if failures > _TRIES:
                self._on_lost(error)
                return
            log.warning("features broke off", reason=error.reason, error=error.message)
            if failures:
                await self._clock.sleep_until(self._clock.now_s() + _AGAIN_S)
            self._rewind()

    async def _listen(self, opened: asyncio.Future[str]) -> SyncTalkError:
        """Serve one stream until it ends; why it did."""
        try:
            self._scope = asyncio.timeout(None)
            async with (
                self._scope,
                self._expression.listen(self._tenant, self._blocks(self._queue)) as (
                    version,
                    heard,
                ),
            ):
                if not opened.done():
                    self._version = version
                    opened.set_result(version)
                elif version != self._version:
                    return Unavailable(
                        "the expression service has changed its encoder",
                        reason="ENCODER_MISMATCH",
                        remedy="Open a new session.",
                    )
                async for features in heard:
                    self._answer(features.frame, features.row)
        except SyncTalkError as error:
            return error
        except TimeoutError:
            pass
        return Unavailable(
            "the stream of features ended early", reason="FEATURES_INCOMPLETE", remedy="Try again."
        )

    def _answer(self, frame: int, row: Sequence[float]) -> None:
        """Pass on what is news; what an interruption made void lies before its frame."""
        while len(self._maps) > 1 and frame >= self._maps[1][0]:
            del self._maps[0]
        begin, slot = self._maps[0]
        slot += frame - begin
        if len(self._maps) == 1 and slot > self._last_slot:
            self._last_slot = slot
            self._on_features(Features(slot, row))
            if self._silent >= _LASTING_BLOCKS and 2 * slot + 4 >= self._next_block:
                self._resting = row

    def _rewind(self) -> None:
        """Prepare the next stream, which hears again what was heard lately."""
        self._resting = None
        self._queue = asyncio.Queue(_AHEAD)
        self._fed = 0
        self._odd = b""
        self._maps = []
        for block, pcm in self._recent:
            self._put(block, pcm)

    @staticmethod
    async def _blocks(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
        while True:
            yield await queue.get()
