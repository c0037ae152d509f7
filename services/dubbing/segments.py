"""All segments of a dub, in parallel over all replicas, each retried by itself.

What is done is noted in a checkpoint, so that another attempt, here or elsewhere, goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from services.common import logs
from services.common.errors import FailedPrecondition, NotFound, PermissionDenied, ServiceError
from services.common.storage import ObjectRef
from services.dubbing.plan import Segment
from services.dubbing.replicas import ChannelT, Place, ReplicaPool
from synctalk.errors import InputError, SyncTalkError

log = logs.logger(__name__)
_LANES = 64


@dataclass(frozen=True)
class Done:
    """A segment that lies in object storage."""

    segment: Segment
    stored: ObjectRef


@dataclass(frozen=True)
class Checkpoint:
    """What earlier attempts have done; segments count only for the same encoder."""

    encoder_version: str
    done: tuple[Done, ...]

    def to_json(self) -> bytes:
        """For the store."""
        return _CHECKPOINT.dump_json(self)

    @classmethod
    def from_json(cls, text: bytes) -> Checkpoint | None:
        """None when another release wrote it."""
        try:
            return _CHECKPOINT.validate_json(text)
        except ValidationError:
            return None


_CHECKPOINT = TypeAdapter(Checkpoint)


Render = Callable[[Place[ChannelT], Segment], Awaitable[ObjectRef]]


async def render_all(
    segments: Sequence[Segment],
    pool: ReplicaPool[ChannelT],
    render: Render[ChannelT],
    attempts: int,
    on_done: Callable[[Done], Awaitable[None]],
) -> None:
    """Render the segments; ``on_done`` hears of each, one at a time and in any order.

    Raises:
        InputError, NotFound, FailedPrecondition, PermissionDenied: no other replica can do it
            either.
        SyncTalkError: a segment failed ``attempts`` times; why the last time.
    """
    waiting, telling = iter(segments), asyncio.Lock()

    async def lane() -> None:
        for segment in waiting:
            done = Done(segment, await _insist(segment, pool, render, attempts))
            async with telling:
                await on_done(done)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_LANES, len(segments))):
                group.create_task(lane())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def _insist(
    segment: Segment, pool: ReplicaPool[ChannelT], render: Render[ChannelT], attempts: int
) -> ObjectRef:
    failures, shunned = 0, ""
    while True:
        try:
            async with pool.place(shunned) as place:
                shunned = place.target
                began_s = time.monotonic()
                stored = await render(place, segment)
        except (InputError, NotFound, FailedPrecondition, PermissionDenied):
            raise
        except SyncTalkError as error:
            failures += 1
            _note("segment failed", segment, shunned, reason=error.reason, failures=failures)
            if failures == attempts:
                raise ServiceError(
                    f"frames {segment.first} to {segment.stop - 1} failed {attempts} times: "
                    f"{error.message}",
                    reason=error.reason,
                    remedy=error.remedy,
                ) from error
        else:
            _note("segment rendered", segment, shunned, seconds=time.monotonic() - began_s)
            return stored


def _note(event: str, segment: Segment, replica: str, **facts: object) -> None:
    log.info(event, first=segment.first, count=segment.count, replica=replica, **facts)
