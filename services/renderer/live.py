"""One live session: features in, encoded frames out, through stages that overlap.

Decoding footage ahead, rendering and encoding each work at one frame of a session at a time, in
threads that all sessions share. Threads serve jobs in the order in which they come, so every
session has its turn, and one that sends faster than it speaks delays another by a frame at most.
Queues are bounded: who does not read its frames stops its own session, and in the end its own
requests, by gRPC's flow control.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from dataclasses import dataclass

from services.renderer.admission import DROPPED, Admission
from services.renderer.live_encoding import LiveEncoder
from services.renderer.live_messages import (
    End,
    Input,
    Interrupt,
    Interrupted,
    Leave,
    LiveFrame,
    Output,
    Summary,
    Timing,
    WantKeyFrame,
)
from services.renderer.moments import FeatureWindow, LiveFeatures, Moment
from services.renderer.threads import StillsAhead, Threads, ended
from synctalk.errors import Cancelled
from synctalk.live import FootageCache, LiveView, Still
from synctalk.media import Yuv420

_MOMENTS = 250  # who sends further ahead waits, and so does an interruption behind it
_UNSENT = 4


@dataclass
class _Job:
    """A frame on its way; times are of ``time.monotonic``.

    ``epoch``: interruptions before it. ``stalled_s``: how long the session had then waited for its
    reader, in all.
    """

    moment: Moment
    epoch: int
    came_s: float
    ready_s: float
    due_s: float
    stalled_s: float
    render_s: float = 0.0


@dataclass(frozen=True)
class _Made:
    epoch: int
    frame: LiveFrame


class LiveSession:
    """Renders what :meth:`run` is given.

    Args:
        view: the avatar as it is to look.
        window: the features so far.
        encoder: of this session alone.
        cache: of decoded footage, shared.
        threads: shared by all sessions.
        admission: is told of every frame.
    """

    def __init__(
        self,
        view: LiveView,
        window: FeatureWindow,
        encoder: LiveEncoder,
        cache: FootageCache,
        threads: Threads,
        admission: Admission,
    ) -> None:
        self._view, self._window, self._encoder = view, window, encoder
        self._threads, self._admission = threads, admission
        self._ahead = StillsAhead(lambda first: view.walk(cache, first), threads)
        self._frame_s = 1 / view.person.manifest.fps
        self._moments: asyncio.Queue[_Job | None] = asyncio.Queue(_MOMENTS)
        self._pictures: asyncio.Queue[tuple[_Job, Yuv420] | None] = asyncio.Queue(1)
        self._out: asyncio.Queue[_Made | Output | Exception | None] = asyncio.Queue()  # see _room
        self._room = asyncio.Semaphore(_UNSENT)
        self._epoch, self._want_key_frame = 0, False
        self._came = self._sent = self._dropped = 0
        self._came_s = self._due_s = self._stalled_s = 0.0

    def leave(self, time_left_s: float) -> None:
        """Ask the caller to move elsewhere."""
        self._out.put_nowait(Leave(time_left_s))

    async def run(self, inputs: AsyncIterator[Input]) -> AsyncGenerator[Output, None]:
        """Outputs as they are ready, the summary last. To be closed by whoever stops early.

        Raises:
            InputError: features are not consecutive or of wrong shape.
            Cancelled: ``inputs`` stop without an end.
        """
        stages = (self._read(inputs), self._render(), self._encode())
        tasks = [asyncio.create_task(self._guarded(stage)) for stage in stages]
        try:
            while True:
                output = await self._out.get()
                if output is None:
                    yield Summary(self._sent, self._dropped)
                    return
                if isinstance(output, Exception):
                    raise output
                if isinstance(output, _Made):
                    self._room.release()
                    if output.epoch != self._epoch:
                        continue
                    self._sent += 1
                    output = output.frame
                yield output
        finally:
            for task in tasks:
                task.cancel()
            try:
                await ended(tasks)
            finally:
                await self._ahead.close()

    async def _guarded(self, stage: Coroutine[None, None, None]) -> None:
        try:
            await stage
        except Exception as error:
            self._out.put_nowait(error)

    async def _read(self, inputs: AsyncIterator[Input]) -> None:
        async for message in inputs:
            match message:
                case LiveFeatures():
                    await self._take(message)
                case Interrupt():
                    self._interrupt(message.resume_at)
                case WantKeyFrame():
                    self._want_key_frame = True
                case End():
                    await self._pass_on(self._window.finish())
                    await self._moments.put(None)
                    return
        raise Cancelled("the stream was closed before the end of the features")

    async def _take(self, features: LiveFeatures) -> None:
        now_s = time.monotonic()
        moment = self._window.push(features)
        if not self._came:  # while the successor is waited for
            await self._ahead.aim(features.frame)
        self._came += 1
        await self._pass_on(moment)
        self._came_s = now_s

    async def _pass_on(self, moment: Moment | None) -> None:
        if moment is None:
            return
        now_s = time.monotonic()
        self._due_s = max(now_s, self._due_s) + self._frame_s
        job = _Job(moment, self._epoch, self._came_s, now_s, self._due_s, self._stalled_s)
        await self._moments.put(job)

    def _interrupt(self, resume_at: int) -> None:
        self._window.resume(resume_at)
        self._epoch += 1
        self._want_key_frame = True
        self._due_s = 0.0
        while not self._moments.empty():
            self._moments.get_nowait()
        dropped = self._came - self._sent - self._dropped
        self._dropped += dropped
        DROPPED.inc(dropped)
        self._out.put_nowait(Interrupted(resume_at, dropped))

    async def _render(self) -> None:
        while (job := await self._moments.get()) is not None:
            if job.epoch != self._epoch:
                continue
            still = await self._ahead.take(job.moment.frame)
            picture, job.render_s = await self._threads.run(self._picture, job.moment, still)
            await self._pictures.put((job, picture))
        await self._pictures.put(None)

    def _picture(self, moment: Moment, still: Still) -> tuple[Yuv420, float]:
        began_s = time.monotonic()
        person = self._view.person
        lip, upper = moment.lip(person), moment.expression(person, still.number)
        return self._view.frame(still, lip, upper), time.monotonic() - began_s

    async def _encode(self) -> None:
        while (made := await self._pictures.get()) is not None:
            began_s = time.monotonic()
            await self._room.acquire()
            self._stalled_s += time.monotonic() - began_s
            job, picture = made
            if job.epoch != self._epoch:
                self._room.release()
                continue
            frame = await self._frame(job, picture)
            self._out.put_nowait(_Made(job.epoch, frame))
        self._out.put_nowait(None)

    async def _frame(self, job: _Job, picture: Yuv420) -> LiveFrame:
        key_frame, self._want_key_frame = self._want_key_frame, False
        began_s = time.monotonic()
        packet = await self._threads.run(self._encoder.encode, picture, key_frame)
        now_s = time.monotonic()
        late = now_s > job.due_s + self._stalled_s - job.stalled_s
        self._admission.frame(now_s - job.came_s, late)
        look_ahead_s, encode_s = job.ready_s - job.came_s, now_s - began_s
        waiting_s = now_s - job.ready_s - job.render_s - encode_s
        timing = Timing(look_ahead_s, waiting_s, job.render_s, encode_s)
        return LiveFrame(job.moment.frame, packet, timing)
