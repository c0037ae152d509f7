"""Services that a session can stand on in a test, and a loop whose time is not the wall's.

The expression service hears loudness, the renderer draws it as text, both as late as they are
told; so what comes out of a session says what went in.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.common.artifacts import ArtifactRef
from services.common.errors import ResourceExhausted, Unavailable
from services.common.storage import ObjectRef
from services.gateway.live.ports import (
    Accepted,
    Features,
    FromRenderer,
    HeardFeatures,
    Interrupt,
    Interrupted,
    KeyFrame,
    Leaving,
    Rendered,
    Renderer,
    Subject,
    ToRenderer,
)
from services.gateway.live.sound import BLOCK_BYTES

T = TypeVar("T")
LISTING = ObjectRef("tenants/acme/avatars/av_1/bundles/v1/listing.json", 2, "0" * 64)
SUBJECT = Subject(
    "ls_1", "acme", "tenants/acme/avatars/av_1/versions/1",
    ArtifactRef("tenants/acme/avatars/av_1/bundles/v1", LISTING),
)  # fmt: skip
GOP = 25


class VirtualLoop(asyncio.SelectorEventLoop):
    """Whoever sleeps is woken at once, and the clock says that the time has passed."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0

    def time(self) -> float:
        return self._virtual_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._virtual_s = max(self._virtual_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(main: Coroutine[Any, Any, T]) -> T:
    """``main`` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def tone(seconds: float, level: int = 8000, rate_hz: int = 48_000) -> bytes:
    """A square wave whose every block is as loud."""
    n = round(seconds * rate_hz)
    return array("h", [level if i // 48 % 2 else -level for i in range(n)]).tobytes()


def loudness(pcm: bytes) -> int:
    samples = array("h", pcm)
    return sum(map(abs, samples)) // max(1, len(samples))


@dataclass
class FakeExpression:
    """Row of a frame: how loud it is. Needs half a frame of what follows, as the real one."""

    latency_s: float = 0.01
    version: str = "e1"
    opened: int = 0
    blocks: int = 0
    away: bool = False
    breaks: set[asyncio.Event] = field(default_factory=set)

    def break_streams(self) -> None:
        for event in self.breaks:
            event.set()

    @asynccontextmanager
    async def listen(
        self, tenant: str, blocks: AsyncIterator[bytes]
    ) -> AsyncIterator[tuple[str, AsyncIterator[HeardFeatures]]]:
        if self.away:
            raise Unavailable("expression is away", reason="RPC_UNAVAILABLE")
        self.opened += 1
        broken = asyncio.Event()
        self.breaks.add(broken)
        try:
            yield self.version, self._features(blocks, broken)
        finally:
            self.breaks.discard(broken)

    async def _features(
        self, blocks: AsyncIterator[bytes], broken: asyncio.Event
    ) -> AsyncIterator[HeardFeatures]:
        heard = list[int]()
        frame = 0
        async for pcm in blocks:
            assert len(pcm) % BLOCK_BYTES == 0
            blocks_of = range(0, len(pcm), BLOCK_BYTES)
            self.blocks += len(blocks_of)
            heard += [loudness(pcm[at : at + BLOCK_BYTES]) for at in blocks_of]
            if broken.is_set():
                raise Unavailable("broken", reason="RPC_UNAVAILABLE")
            while len(heard) >= 2 * frame + 3:
                await asyncio.sleep(self.latency_s)
                yield HeardFeatures(frame, [float(max(heard[2 * frame : 2 * frame + 2]))])
                frame += 1


@dataclass(eq=False)
class FakeRenderer:
    """Frame: ``b"{session} {slot} {loudness} {target}"``, or what ``draw`` makes of loudness and
    whether it must be a key frame; every 25th is one."""

    target: str = "r1"
    latency_s: float = 0.02
    places: int = 100
    load_s: float = 0.0
    own_px: tuple[int, int] = (512, 512)
    slow_per_px: float = 0.0
    opened: int = 0
    open: int = 0
    contexts: list[list[int]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    interruptions: list[int] = field(default_factory=list)
    key_requests: int = 0
    draw: Callable[[int, bool], bytes] | None = None
    dead: bool = False
    silent: bool = False
    _streams: set[asyncio.Queue[FromRenderer | None]] = field(default_factory=set)

    def kill(self) -> None:
        """Break all streams and refuse new ones."""
        self.dead = True
        for queue in self._streams:
            queue.put_nowait(None)

    def leave(self) -> None:
        """Ask all sessions to go, and take none."""
        self.places = 0
        for queue in self._streams:
            queue.put_nowait(Leaving())

    @asynccontextmanager
    async def render(
        self,
        subject: Subject,
        encoder_version: str,
        size_px: tuple[int, int],
        context: Sequence[Features],
        features: AsyncIterator[ToRenderer],
    ) -> AsyncIterator[AsyncIterator[FromRenderer]]:
        if self.dead:
            raise Unavailable("connection refused", reason="RPC_UNAVAILABLE")
        if self.open >= self.places:
            raise ResourceExhausted("no place", reason="RENDERER_FULL")
        self.opened += 1
        self.open += 1
        self.contexts.append([each.slot for each in context])
        answers: asyncio.Queue[FromRenderer | None] = asyncio.Queue()
        self._streams.add(answers)
        size = tuple(px or own for own, px in zip(self.own_px, size_px, strict=True))
        work = asyncio.create_task(self._work(subject, size, features, answers))
        try:
            yield self._answers(answers)
        finally:
            work.cancel()
            await asyncio.wait([work])
            self._streams.discard(answers)
            self.open -= 1

    async def _answers(
        self, answers: asyncio.Queue[FromRenderer | None]
    ) -> AsyncIterator[FromRenderer]:
        while True:
            answer = await answers.get()
            if answer is None:
                if self.dead:
                    raise Unavailable("the replica died", reason="RPC_UNAVAILABLE")
                return
            yield answer

    async def _work(
        self,
        subject: Subject,
        size: tuple[int, ...],
        features: AsyncIterator[ToRenderer],
        answers: asyncio.Queue[FromRenderer | None],
    ) -> None:
        await asyncio.sleep(self.load_s)
        self.sizes.append((size[0], size[1]))
        answers.put_nowait(Accepted(size[0], size[1]))
        inbox: asyncio.Queue[ToRenderer | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(features, inbox))
        try:
            await self._draw(subject, size, inbox, answers)
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    @staticmethod
    async def _read(
        features: AsyncIterator[ToRenderer], inbox: asyncio.Queue[ToRenderer | None]
    ) -> None:
        """Ahead of what is drawn: an interruption is heard at once."""
        async for message in features:
            if isinstance(message, Interrupt):
                forgotten = [inbox.get_nowait() for _ in range(inbox.qsize())]
                for each in forgotten:
                    if isinstance(each, Interrupt):
                        inbox.put_nowait(each)
            inbox.put_nowait(message)
        inbox.put_nowait(None)

    async def _draw(
        self,
        subject: Subject,
        size: tuple[int, ...],
        inbox: asyncio.Queue[ToRenderer | None],
        answers: asyncio.Queue[FromRenderer | None],
    ) -> None:
        waiting: deque[Features] = deque()
        since_key = GOP
        while (message := await inbox.get()) is not None:
            if isinstance(message, KeyFrame):
                since_key = GOP
                self.key_requests += 1
            elif isinstance(message, Interrupt):
                waiting.clear()
                since_key = GOP
                self.interruptions.append(message.resume)
                answers.put_nowait(Interrupted())
            else:
                waiting.append(message)
                if len(waiting) > 1 and not self.silent:
                    key = since_key >= GOP
                    since_key = 1 if key else since_key + 1
                    made = waiting.popleft()
                    await asyncio.sleep(self.latency_s + self.slow_per_px * size[0])
                    text = f"{subject.session} {made.slot} {made.row[0]:.0f} {self.target}"
                    data = self.draw(int(made.row[0]), key) if self.draw else text.encode()
                    answers.put_nowait(Rendered(made.slot, data, key))
        answers.put_nowait(None)


class FakeRenderers:
    """A fixed list; those that failed come last."""

    def __init__(self, *renderers: FakeRenderer) -> None:
        self.all = list(renderers)

    async def candidates(self, subject: Subject) -> list[Renderer]:
        return list(self.all)

    def failed(self, renderer: Renderer) -> None:
        self.all.sort(key=lambda each: each is renderer)
