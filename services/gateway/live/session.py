"""The session engine: audio in; video frames, audio and news out; transports stand around it.

The seam is that of LiveKit's avatars: ``push_audio``, ``clear_buffer``, and an asynchronous
iteration over what comes out. Audio is the clock (:mod:`.timeline`); nothing waits for a picture.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from services.common import logs
from services.common.errors import Unavailable
from services.gateway.live import metrics
from services.gateway.live.clock import Clock
from services.gateway.live.frames import Frame, FrameQueue
from services.gateway.live.hearing import Hearing
from services.gateway.live.opus import OpusEncoder
from services.gateway.live.ports import Expression, Features, Renderers, Subject
from services.gateway.live.quality import Quality, scaled
from services.gateway.live.rendering import Rendering
from services.gateway.live.settings import LiveSettings
from services.gateway.live.sound import BLOCK_S, JitterBuffer, Resampler
from services.gateway.live.timeline import Played, SegmentEnd, Step, Timeline
from services.gateway.live.trace import Trace
from synctalk.errors import SyncTalkError

log = logs.logger(__name__)
_OUT = 500  # what a connection may be behind, 5 s and more
_RESUME_S = 0.1  # about what features and a frame take
_BEHIND, _LASTING = 5, 12  # frames


@dataclass(frozen=True)
class VideoOut:
    """A video frame whose turn has come, or has just passed."""

    frame: Frame


@dataclass(frozen=True)
class AudioOut:
    """20 ms of sound that are heard now: block ``index`` goes with frame ``index // 2``."""

    index: int
    pcm: bytes
    opus: bytes


@dataclass(frozen=True)
class InterruptedOut:
    """Everything was emptied; ``frame`` is the first without the old speech."""

    frame: int


@dataclass(frozen=True)
class EndedOut:
    """The session is over."""

    code: str
    message: str


Out: TypeAlias = VideoOut | AudioOut | SegmentEnd | InterruptedOut | EndedOut


@dataclass(frozen=True)
class Counters:
    """What a session has seen so far."""

    frames: int
    held_frames: int
    skipped_frames: int
    inserted_silence_ms: int
    interruptions: int
    moves: int
    size_changes: int


class Subscription:
    """One connection's view of the session, from a key frame on; iterate over it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Out] = asyncio.Queue(_OUT)
        self._begun = False
        self._closed = False

    def put(self, item: Out) -> None:
        """Pass an item on; a connection that is too far behind is ended."""
        if self._closed:
            return
        if isinstance(item, VideoOut) and not self._begun:
            if not item.frame.key:
                return
            self._begun = True
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self._closed = True
            self._queue.get_nowait()
            self._queue.put_nowait(EndedOut("TOO_SLOW", "the connection cannot carry the session"))

    def close(self) -> None:
        """The connection has gone: its iteration ends after what is there already."""
        self.put(EndedOut("", "the connection was closed"))
        self._closed = True

    @property
    def empty(self) -> bool:
        """Whether nothing more is there at this moment."""
        return self._queue.empty()

    async def __aiter__(self) -> AsyncIterator[Out]:
        """Items until :class:`EndedOut`, which is the last."""
        while True:
            item = await self._queue.get()
            yield item
            if isinstance(item, EndedOut):
                return


class LiveSession:
    """One session in this process.

    Args:
        size_px: wanted; zeros: the avatar's own.
        rate_hz: of the PCM that will be pushed.
        on_end: called once, when it is over.
    """

    def __init__(
        self,
        subject: Subject,
        expression: Expression,
        renderers: Renderers,
        settings: LiveSettings,
        clock: Clock,
        *,
        size_px: tuple[int, int] = (0, 0),
        rate_hz: int = 24_000,
        max_duration_s: float | None = None,
        idle_timeout_s: float | None = None,
        on_end: Callable[[LiveSession, EndedOut], None] = lambda session, ended: None,
    ) -> None:
        self.subject = subject
        self.rate_hz = rate_hz
        self.size_px = size_px
        self.trace = Trace()
        self.ended: EndedOut | None = None
        self._settings = settings
        self._clock = clock
        self._on_end = on_end
        self._max_duration_s = max_duration_s or settings.max_duration_s
        self._idle_timeout_s = idle_timeout_s or settings.idle_timeout_s
        self._resampler = Resampler(rate_hz)
        self._buffer = JitterBuffer(settings.jitter_ms, settings.buffer_s)
        self._frames = FrameQueue()
        self._hearing = Hearing(expression, subject.tenant, clock, self._on_features, self._on_lost)
        self._rendering = Rendering(
            subject, renderers, self._frames, clock, settings,
            lambda: self._timeline.frame_at(clock.now_s() + _RESUME_S),
            self._on_frame, self._on_lost,
        )  # fmt: skip
        self._quality = Quality()
        self._opus = OpusEncoder()
        self._subscriptions: list[Subscription] = []
        self._shown = -1
        self._excused = 0  # frames before it are not late: an interruption has dropped them
        self._left_out = -1  # frames before it were, lately
        self._behind = 0  # turns in a row at which the picture was far behind
        self._n_frames = self._held = self._skipped = self._interruptions = self._size_changes = 0
        self._last_out: int | None = None
        self._active_s = self._unattended_s = self._began_s = clock.now_s()
        self._timeline = Timeline(self._buffer, self._began_s, settings.delay_ms)
        self._task: asyncio.Task[None] | None = None
        self._over: asyncio.Future[EndedOut] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Find its services and begin.

        Raises:
            SyncTalkError: one of them does not take the session.
        """
        try:
            version = await self._heard()
            accepted = await self._rendering.open(version, self.size_px)
        except BaseException:
            await self._close()
            raise
        self.size_px = (accepted.width_px, accepted.height_px)
        now_s = self._clock.now_s()
        self._active_s = self._unattended_s = self._began_s = now_s
        self._timeline = Timeline(self._buffer, now_s, self._settings.delay_ms)
        self._task = asyncio.create_task(self._run())

    async def _heard(self) -> str:
        try:
            async with asyncio.timeout(self._settings.open_timeout_s):
                return await self._hearing.open()
        except TimeoutError:
            raise Unavailable(
                "the expression service does not answer",
                reason="EXPRESSION_STALLED",
                remedy="Try again, or add expression services.",
            ) from None

    def push_audio(self, pcm: bytes) -> None:
        """Have samples said: signed 16-bit little-endian mono at ``rate_hz``.

        Raises:
            InputError: half a sample.
            ResourceExhausted: too much waits already.
        """
        self._push(self._resampler.push(pcm), live=False)

    def push_live(self, pcm: bytes) -> None:
        """The same from a microphone, at 48 kHz: its clock is not ours."""
        self._push(pcm, live=True)

    def _push(self, pcm: bytes, *, live: bool) -> None:
        self._buffer.push(pcm, self._clock.now_s(), live=live)
        self.keep_alive()

    def end_segment(self) -> None:
        """What was pushed so far belongs together; :class:`SegmentEnd` follows its last sample."""
        self._push(self._resampler.finish(), live=False)
        self._buffer.end_segment()

    def clear_buffer(self) -> int:
        """Interrupt: nothing that was pushed is heard any more, and the face returns to rest.

        Returns:
            The first frame without the old speech.
        """
        self.keep_alive()
        self._resampler.finish()
        speaking = self._timeline.speaking
        for segment in self._timeline.interrupt():
            self._emit(segment)
        resume = self._soonest()
        if speaking:
            self._excused = resume
            self._rendering.interrupt(resume)
            self._hearing.restart_at(resume, self._timeline.next_left)
            self._quality.settle()
            self._interruptions += 1
            metrics.INTERRUPTIONS.inc()
        self._emit(InterruptedOut(resume))
        return resume

    def _soonest(self) -> int:
        """The first frame that can still be made for its turn."""
        return max(self._timeline.frame_at(self._clock.now_s() + _RESUME_S), self._shown + 1)

    def request_key_frame(self) -> None:
        """Somebody lost a picture."""
        self._rendering.request_key_frame()

    def keep_alive(self) -> None:
        """Somebody is still there."""
        self._active_s = self._clock.now_s()

    @contextlib.contextmanager
    def subscribed(self) -> Iterator[Subscription]:
        """While the context is open, a connection hears and sees the session."""
        subscription = Subscription()
        self._subscriptions.append(subscription)
        self._rendering.request_key_frame()
        if self.ended is not None:
            subscription.put(self.ended)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
            self._unattended_s = self._clock.now_s()

    @property
    def connected(self) -> bool:
        """Whether anybody looks."""
        return bool(self._subscriptions)

    @property
    def speaking(self) -> bool:
        """Whether pushed audio is being played or waits for it."""
        return self._timeline.speaking

    @property
    def next_frame(self) -> int:
        """The frame whose turn comes next."""
        return self._shown + 1

    def counters(self) -> Counters:
        """What it has seen so far."""
        return Counters(
            self._n_frames, self._held, self._skipped,
            round(1000 * BLOCK_S * self._buffer.inserted_blocks),
            self._interruptions, self._rendering.moves, self._size_changes,
        )  # fmt: skip

    async def over(self) -> EndedOut:
        """Wait for the end."""
        return await asyncio.shield(self._over)

    async def end(self, code: str, message: str) -> None:
        """End it; everybody is told. Does nothing the second time."""
        if not self._finish(code, message):
            return
        await self._close()

    def _finish(self, code: str, message: str) -> bool:
        if self.ended is not None:
            return False
        self.ended = EndedOut(code, message)
        self._emit(self.ended)
        self._over.set_result(self.ended)
        metrics.ENDED.labels(code).inc()
        self._on_end(self, self.ended)
        return True

    async def _close(self) -> None:
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._hearing.close()
        await self._rendering.close()

    async def _run(self) -> None:
        try:
            while self.ended is None:
                await self._clock.sleep_until(self._timeline.next_s)
                now_s = self._clock.now_s()
                if (lost_s := self._timeline.slip(now_s)) > 0:
                    log.warning("held up", session=self.subject.session, seconds=lost_s)
                    metrics.HELD_UP_S.inc(lost_s)
                    self._quality.settle()
                step = self._timeline.step(now_s)
                for block in step.left:
                    self._hear(block, now_s)
                self._show(step, now_s)
                if (why := self._reason_to_end(now_s)) is not None:
                    self._finish(*why)
        except Exception as error:
            log.error("session failed unexpectedly", exc_info=error)
            self._finish("INTERNAL", "the session failed unexpectedly")
        await self._close()

    def _reason_to_end(self, now_s: float) -> tuple[str, str] | None:
        settings = self._settings
        if now_s - self._began_s > self._max_duration_s:
            return "MAX_DURATION", f"it has lasted {self._max_duration_s:.0f} s"
        if now_s - self._active_s > self._idle_timeout_s:
            return "IDLE", f"nothing was heard for {self._idle_timeout_s:.0f} s"
        if not self._subscriptions and now_s - self._unattended_s > settings.reconnect_s:
            return "DISCONNECTED", f"nobody was connected for {settings.reconnect_s:.0f} s"
        return None

    def _hear(self, left: Played, now_s: float) -> None:
        slot, odd = divmod(left.index, 2)
        if not odd:
            # A frame's features need 7.5 ms beyond its end.
            self.trace.left(slot, now_s, left.block.arrived_s)
            self.trace.heard(slot - 1, now_s)
        self._hearing.feed(left.index, left.block.pcm)

    def _on_features(self, features: Features) -> None:
        self.trace.features(features.slot, self._clock.now_s())
        self._rendering.send(features)

    def _on_frame(self, frame: Frame) -> None:
        self.trace.frame(frame.slot, frame.arrived_s)
        if frame.slot <= self._shown:
            self._show_frames()

    def _on_lost(self, error: SyncTalkError) -> None:
        self._finish(error.reason, error.message)

    def _show(self, step: Step, now_s: float) -> None:
        for played in step.played:
            if played.index % 2 == 0:
                self._turn(played.index // 2)
            if self._subscriptions:
                pcm = played.block.pcm
                self._emit(AudioOut(played.index, pcm, self._opus.encode(pcm)))
        for segment in step.segments:
            self._emit(segment)

    def _turn(self, slot: int) -> None:
        """It is the turn of a frame, whether it is there or not."""
        self._shown = slot
        self._show_frames()
        self._rendering.look()
        held = self._frames.next_slot <= slot
        if slot < self._excused:
            return
        self._look_behind(slot)
        if held:
            self._held += 1
            metrics.HELD.inc()
        if self._rendering.away:
            self._quality.settle()  # that nothing comes has nothing to do with its size
        if self._quality.look(held=held):
            self._rendering.resize(self._wanted_px())
            metrics.SIZES.labels(f"{self._quality.scale:g}").inc()
            self._size_changes += 1

    def _look_behind(self, slot: int) -> None:
        """Leave frames out where the picture stays behind: a renderer may only just keep up."""
        late = slot - self._frames.next_slot >= _BEHIND and not self._rendering.away
        self._behind = self._behind + 1 if late else 0
        if self._behind >= _LASTING and self._frames.next_slot > self._left_out:
            self._excused = self._left_out = self._soonest()
            self._rendering.catch_up(self._left_out)
            metrics.CATCH_UPS.inc()

    def _wanted_px(self) -> tuple[int, int]:
        width, height = self.size_px
        return scaled(width, self._quality.scale), scaled(height, self._quality.scale)

    def _show_frames(self) -> None:
        now_s = self._clock.now_s()
        for frame in self._frames.take(self._shown):
            self.trace.out(frame.slot, now_s)
            if self._last_out is not None and (skipped := frame.slot - self._last_out - 1):
                self._skipped += skipped
                metrics.SKIPPED.inc(skipped)
            self._last_out = frame.slot
            self._n_frames += 1
            metrics.FRAMES.inc()
            self._emit(VideoOut(frame))

    def _emit(self, item: Out) -> None:
        for subscription in self._subscriptions:
            subscription.put(item)
