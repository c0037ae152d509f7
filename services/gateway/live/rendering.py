"""The session's stream to a renderer, whichever replica has it: features in, frames out.

The next stream is opened beside the old one and takes over at its first key frame: for a replica
that leaves or stalls, for another size, and, when a stream broke, for all that has not come back.
One that stalls keeps the session until another replica has taken it: where all are slow, moving
about would only make them slower.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from services.common import logs
from services.common.errors import NotFound, ResourceExhausted, Unavailable
from services.gateway.live.clock import Clock
from services.gateway.live.frames import Frame, FrameQueue
from services.gateway.live.metrics import MOVES
from services.gateway.live.ports import (
    Accepted,
    Features,
    Interrupt,
    Interrupted,
    KeyFrame,
    Leaving,
    Rendered,
    Renderer,
    Renderers,
    Subject,
    ToRenderer,
)
from services.gateway.live.settings import LiveSettings
from synctalk.errors import InputError, SyncTalkError

log = logs.logger(__name__)
CONTEXT = 40
_HISTORY = 96
_AHEAD = 256
_QUICK_S = 0.4
_AGAIN_S, _GIVE_UP_S = 0.2, 30.0
_PATIENCE = 20  # times stall_s, at most
_CALM = 250  # frames of a stream after which it is trusted again


@dataclass(eq=False)
class _Stream:
    renderer: Renderer
    accepted: asyncio.Future[Accepted]
    queue: asyncio.Queue[ToRenderer | None] = field(default_factory=lambda: asyncio.Queue(_AHEAD))
    task: asyncio.Task[None] | None = None
    chain: int = -1
    voiding: int = 0  # interruptions that it has not answered
    last_sent: int = -1
    last_came: int = -1
    owes_since_s: float = 0.0
    came: int = 0

    @property
    def owes(self) -> bool:
        """Whether a frame that could be made has not come; the newest waits for its successor."""
        return self.last_sent > self.last_came + 1


@dataclass(frozen=True)
class _Wish:
    """The session is to go on in a new stream."""

    why: str
    stream: _Stream | None = None


class Rendering:
    """One session's renderer.

    Args:
        frames: where frames go.
        due: the first frame that could still be made in time.
        on_frame: called after each frame that went there.
        on_lost: gets the error when no replica takes the session.
    """

    def __init__(
        self,
        subject: Subject,
        renderers: Renderers,
        frames: FrameQueue,
        clock: Clock,
        settings: LiveSettings,
        due: Callable[[], int],
        on_frame: Callable[[Frame], None],
        on_lost: Callable[[SyncTalkError], None],
    ) -> None:
        self.moves = 0
        self._subject = subject
        self._renderers = renderers
        self._frames = frames
        self._clock = clock
        self._settings = settings
        self._due = due
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._version = ""
        self._size_px = (0, 0)
        self._history: deque[Features] = deque(maxlen=_HISTORY)
        self._resume = 0
        self._patience_s = settings.stall_s
        self._streams: list[_Stream] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wishes: asyncio.Queue[_Wish] = asyncio.Queue()
        self._changer: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether no replica has the session just now."""
        return not self._streams

    async def open(self, encoder_version: str, size_px: tuple[int, int]) -> Accepted:
        """Find a place on a replica.

        Raises:
            SyncTalkError: nobody takes the session; reason ``RENDERER_FULL`` if all are full.
        """
        self._version, self._size_px = encoder_version, size_px
        accepted = await self._open_somewhere(None)
        self._changer = asyncio.create_task(self._change())
        return accepted

    async def close(self) -> None:
        """End all streams."""
        doomed = [task for task in (self._changer, *self._tasks) if task is not None]
        for task in doomed:
            task.cancel()
        if doomed:
            await asyncio.wait(doomed)

    def send(self, features: Features) -> None:
        """Have a frame made; features come in the order of their frames."""
        self._history.append(features)
        for stream in self._streams:
            self._send(stream, features)

    def interrupt(self, resume: int) -> None:
        """Forget all that was not shown; the next features are of frame ``resume``."""
        while self._history and self._history[-1].slot >= resume:
            self._history.pop()
        self._resume = resume
        self._frames.void()
        for stream in self._streams[:-1]:
            self._end(stream)
        for stream in self._streams:
            stream.chain = self._frames.new_chain()
            stream.voiding += 1
            stream.last_sent = stream.last_came = resume - 1
            self._put(stream, Interrupt(resume))

    def catch_up(self, resume: int) -> None:
        """Leave out what was not made in time: go on at frame ``resume``."""
        later = [each for each in self._history if each.slot >= resume]
        self.interrupt(resume)
        for features in later:
            self.send(features)

    def request_key_frame(self) -> None:
        """Let the next frame be one that a decoder can begin with."""
        for stream in self._streams[-1:]:
            self._put(stream, KeyFrame())

    def resize(self, size_px: tuple[int, int]) -> None:
        """Go on with pictures of another size."""
        self._size_px = size_px
        self._wishes.put_nowait(_Wish("size"))

    def look(self) -> None:
        """Called now and then: end streams that were taken over from; try to leave one that stalls.

        Every time that it is left, or nobody else takes the session, twice as much is borne.
        """
        for stream in list(self._streams[:-1]):
            if stream.chain < self._frames.active:
                self._end(stream)
        now_s = self._clock.now_s()
        for stream in self._streams[-1:]:
            if stream.owes and now_s - stream.owes_since_s > self._patience_s:
                log.warning("renderer stalls", target=stream.renderer.target)
                stream.owes_since_s = now_s
                most_s = _PATIENCE * self._settings.stall_s
                self._patience_s = min(2 * self._patience_s, most_s)
                self._renderers.failed(stream.renderer)
                self._wishes.put_nowait(_Wish("stalled", stream))

    def _send(self, stream: _Stream, features: Features) -> None:
        if not stream.owes:
            stream.owes_since_s = self._clock.now_s()
        stream.last_sent = features.slot
        self._put(stream, features)

    def _put(self, stream: _Stream, message: ToRenderer) -> None:
        try:
            stream.queue.put_nowait(message)
        except asyncio.QueueFull:
            self._break(stream, _stalled())

    def _end(self, stream: _Stream) -> None:
        """Let a stream end in its own time; nothing of it is wanted any more."""
        self._streams.remove(stream)
        try:
            stream.queue.put_nowait(None)
        except asyncio.QueueFull:
            self._drop(stream)

    def _drop(self, stream: _Stream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
        if stream.task is not None:
            stream.task.cancel()

    def _break(self, stream: _Stream, error: SyncTalkError) -> None:
        """A stream gives nothing more."""
        if stream not in self._streams:
            return
        newest = stream is self._streams[-1]
        self._drop(stream)
        if newest:
            log.warning("renderer lost", target=stream.renderer.target, reason=error.reason)
            self._renderers.failed(stream.renderer)
            self._wishes.put_nowait(_Wish("broken", stream))

    async def _change(self) -> None:
        """Grant wishes one by one."""
        while True:
            wish = await self._wishes.get()
            if wish.why in ("leaving", "stalled") and wish.stream not in self._streams[-1:]:
                continue
            if wish.why == "broken" and self._streams:
                continue
            if wish.why == "stalled":
                for stream in self._streams[:-1]:  # which stalled before it: two are enough
                    self._drop(stream)
            try:
                await self._grant(wish)
            except SyncTalkError as error:
                if not self._streams:
                    self._on_lost(error)
                    return
                log.warning("session stays where it is", why=wish.why, reason=error.reason)

    async def _grant(self, wish: _Wish) -> None:
        until_s = self._clock.now_s() + _GIVE_UP_S
        while True:
            try:
                await self._open_somewhere(wish.stream)
            except (Unavailable, ResourceExhausted):
                if self._streams or self._clock.now_s() > until_s:
                    raise
                await self._clock.sleep_until(self._clock.now_s() + _AGAIN_S)
                continue
            if wish.why != "size":
                self.moves += 1
                MOVES.labels(wish.why).inc()
            return

    async def _open_somewhere(self, left: _Stream | None) -> Accepted:
        """Open at the best replica that takes the session; last at the one that it left."""
        candidates = await self._renderers.candidates(self._subject)
        if left is not None:
            candidates.sort(key=lambda each: each.target == left.renderer.target)
        elif self._streams:
            here = self._streams[-1].renderer.target
            candidates.sort(key=lambda each: each.target != here)
        error: SyncTalkError = _stalled()
        for renderer in candidates:
            try:
                return await self._open_at(renderer)
            except (InputError, NotFound):
                raise
            except SyncTalkError as refused:
                log.info("renderer refuses", target=renderer.target, reason=refused.reason)
                if not isinstance(refused, ResourceExhausted):
                    self._renderers.failed(renderer)
                error = refused
        raise error

    async def _open_at(self, renderer: Renderer) -> Accepted:
        """Open a stream, and anew if loading the avatar took so long that frames were missed."""
        for attempt in (1, 2):
            began_s, first = self._clock.now_s(), self._first()
            self._resume = first
            stream = self._start(renderer, first)
            try:
                async with asyncio.timeout(self._settings.open_timeout_s):
                    accepted = await stream.accepted
            except TimeoutError:
                self._drop(stream)
                raise _stalled() from None
            except BaseException:
                self._drop(stream)
                raise
            if attempt == 2 or not self._history or self._clock.now_s() - began_s < _QUICK_S:
                break
            self._drop(stream)
        self._join(stream, min(first, self._resume))
        return accepted

    def _first(self) -> int:
        """The frame from which a new stream is to go on."""
        newest = self._history[-1].slot if self._history else self._resume - 1
        if self._streams:
            return newest + 1
        return min(newest + 1, max(self._frames.last_slot + 1, self._due()))

    def _start(self, renderer: Renderer, first: int) -> _Stream:
        stream = _Stream(renderer, asyncio.get_running_loop().create_future())
        context = [each for each in self._history if each.slot < first][-CONTEXT:]
        stream.task = asyncio.create_task(self._run(stream, self._size_px, context))
        self._tasks.add(stream.task)
        stream.task.add_done_callback(self._tasks.discard)
        return stream

    def _join(self, stream: _Stream, first: int) -> None:
        """Have an accepted stream make all frames from ``first`` on."""
        if stream.task is None or stream.task.done():
            raise _stalled()
        stream.chain = self._frames.new_chain()
        stream.last_sent = stream.last_came = first - 1
        self._streams.append(stream)
        for features in list(self._history):
            if features.slot >= first:
                self._send(stream, features)

    async def _run(
        self, stream: _Stream, size_px: tuple[int, int], context: list[Features]
    ) -> None:
        error: SyncTalkError = _stalled()
        try:
            async with stream.renderer.render(
                self._subject, self._version, size_px, context, _messages(stream)
            ) as answers:
                async for answer in answers:
                    self._take(stream, answer)
        except SyncTalkError as raised:
            error = raised
        finally:
            if not stream.accepted.done():
                stream.accepted.set_exception(error)
                stream.accepted.exception()  # looked at: nobody may be waiting any more
        self._break(stream, error)

    def _take(self, stream: _Stream, answer: object) -> None:
        if isinstance(answer, Accepted):
            if not stream.accepted.done():
                stream.accepted.set_result(answer)
        elif isinstance(answer, Interrupted):
            stream.voiding -= 1
        elif isinstance(answer, Leaving):
            self._wishes.put_nowait(_Wish("leaving", stream))
        elif isinstance(answer, Rendered) and not stream.voiding:
            self._keep(stream, answer)

    def _keep(self, stream: _Stream, made: Rendered) -> None:
        now_s = self._clock.now_s()
        stream.last_came, stream.owes_since_s, stream.came = made.slot, now_s, stream.came + 1
        if stream.came == _CALM:
            self._patience_s = self._settings.stall_s
        size = stream.accepted.result()
        frame = Frame(made.slot, made.data, made.key, size.width_px, size.height_px, now_s)
        if self._frames.put(stream.chain, frame):
            self._on_frame(frame)
        elif made.key and stream in self._streams and stream.chain > self._frames.active:
            self._put(stream, KeyFrame())  # it came too late to begin with it


async def _messages(stream: _Stream) -> AsyncIterator[ToRenderer]:
    while (message := await stream.queue.get()) is not None:
        yield message


def _stalled() -> Unavailable:
    return Unavailable(
        "the renderer stands still",
        reason="RENDERER_STALLED",
        remedy="Try again, or add renderers.",
    )
