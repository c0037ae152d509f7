"""RenderLive ends what it cannot render, and says why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from live_client import (
    Rows,
    messages,
)
from live_renderers import Stage, in_time

from services.gen.avatar.v1 import renderer_pb2 as pb
from synctalk.errors import SyncTalkError


# The mistake is the last message: grpc.aio calls a write that meets the end of its call INTERNAL,
# and forgets what the server said.
async def of_another_encoder(stage: Stage, rows: Rows) -> None:
    header = stage.header()
    header.encoder_version = "0" * 64
    async with stage.call(header):
        pass


async def before_nothing(stage: Stage, rows: Rows) -> None:
    header = stage.header(codec=pb.VIDEO_CODEC_VP9_ALPHA)
    header.video_options.background.transparent.SetInParent()
    async with stage.call(header):
        pass


async def with_a_gap(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send([*messages(rows[:3], 0), *messages(rows[4:5], 4)])
        await call.until("summary")


async def after_other_frames(stage: Stage, rows: Rows) -> None:
    async with stage.call(stage.header(messages(rows[:8], 0))) as call:
        await call.send(messages(rows[9:10], 9))
        await call.until("summary")


async def too_narrow(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send(messages(rows[:1, :-1], 0))
        await call.until("summary")


async def with_a_face_now_and_then(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send([*messages(rows[:2], 0), *messages(rows[2:3], 2, np.zeros((1, 52)))])
        await call.until("summary")


async def before_time(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.interrupt(-1)
        await call.until("summary")


async def without_an_end(stage: Stage, rows: Rows) -> None:
    async with stage.call() as call:
        await call.send(messages(rows[:3], 0))
        await call.done()
        await call.until("summary")


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        (of_another_encoder, "ENCODER_MISMATCH"),
        (before_nothing, "VIDEO_FORMAT"),
        (with_a_gap, "FEATURE_ORDER"),
        (after_other_frames, "FEATURE_ORDER"),
        (too_narrow, "FEATURE_SHAPE"),
        (with_a_face_now_and_then, "BLENDSHAPES"),
        (before_time, "FEATURE_ORDER"),
        (without_an_end, "CANCELLED"),
    ],
)
def test_what_cannot_be_rendered_ends_the_session_with_a_reason(
    stage: Stage, rows: Rows, mistake: Callable[[Stage, Rows], Awaitable[None]], reason: str
) -> None:
    with pytest.raises(SyncTalkError) as caught:
        in_time(lambda: mistake(stage, rows))
    assert caught.value.reason == reason
