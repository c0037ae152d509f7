"""A session over a WebSocket: PCM and control in, fragmented MP4 and news out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from services.common.errors import NotFound, Unauthenticated
from services.gateway.auth import session_of
from services.gateway.core import Gateway
from services.gateway.errors import SessionElsewhere
from services.gateway.live import metrics
from services.gateway.live.fmp4 import FragmentWriter
from services.gateway.live.news import Speedometer, ToClient, failed, listen, news_of, obey, ready
from services.gateway.live.session import (
    AudioOut,
    EndedOut,
    LiveSession,
    Out,
    Subscription,
    VideoOut,
)
from synctalk.errors import SyncTalkError

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
# Close codes of our own begin at 4000; the last three digits are HTTP's.
_CODES = ((Unauthenticated, 4401), (NotFound, 4404), (SessionElsewhere, 4421))


@router.websocket("/{session_id}/stream")
async def stream(
    websocket: WebSocket, session_id: str, token: str = "", media: Literal["fmp4", "none"] = "fmp4"
) -> None:
    """See docs/live.md."""
    await websocket.accept()
    gateway: Gateway = websocket.app.state.gateway
    try:
        session = await _session(gateway, session_id, token)
    except SyncTalkError as error:
        await _refuse(websocket, error)
        return
    with metrics.CONNECTIONS.labels("websocket").track_inprogress(), session.subscribed() as view:
        tasks = {
            asyncio.create_task(_receive(websocket, session)),
            asyncio.create_task(_send(websocket, session, view, with_media=media == "fmp4")),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    for task in done:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            task.result()
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # closed already
        await websocket.close()


async def _session(gateway: Gateway, session_id: str, token: str) -> LiveSession:
    caller = await session_of(gateway, token)
    if caller is None or caller.key != session_id:
        raise Unauthenticated(
            "the session's token is missing, wrong or over",
            reason="INVALID_SESSION_TOKEN",
            remedy="Connect with ?token= of POST /v1/sessions; open a new session if it is over.",
        )
    record, session = await gateway.live.find(caller.tenant, session_id)
    await gateway.live.renew(record)
    return session


async def _refuse(websocket: WebSocket, error: SyncTalkError) -> None:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), 4500)
    await websocket.send_text(failed(error).model_dump_json())
    reason = error.reason
    if isinstance(error, SessionElsewhere):
        reason = f"ws{error.url.removeprefix('http')}{websocket.url.path}"
    await websocket.close(code, reason[:120])


async def _receive(websocket: WebSocket, session: LiveSession) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if (pcm := message.get("bytes")) is not None:
            answer = listen(session, pcm)
        else:
            answer = await obey(session, message.get("text") or "")
        if answer is not None:
            await _tell(websocket, answer)


async def _send(
    websocket: WebSocket, session: LiveSession, view: Subscription, *, with_media: bool
) -> None:
    sender = _Sender(websocket, session, with_media=with_media)
    if not with_media:
        await _tell(websocket, ready(session, None))
    async for item in view:
        await sender.send(item)
        if view.empty:
            await sender.flush()
        if isinstance(item, EndedOut):
            return


async def _tell(websocket: WebSocket, message: ToClient) -> None:
    await websocket.send_text(message.model_dump_json())


class _Sender:
    """Gathers what leaves at one moment into one message."""

    def __init__(self, websocket: WebSocket, session: LiveSession, *, with_media: bool) -> None:
        self._websocket = websocket
        self._session = session
        self._with_media = with_media
        self._writer = FragmentWriter()
        self._speed = Speedometer(session)
        self._begun = False
        self._gathered = list[bytes]()

    async def send(self, item: Out) -> None:
        if isinstance(item, VideoOut):
            if self._with_media:
                await self._video(item)
        elif isinstance(item, AudioOut):
            if self._begun:
                self._gathered.append(self._writer.audio(item.index, item.opus))
            if (stats := self._speed.tick()) is not None:
                await _tell(self._websocket, stats)
        elif (news := news_of(item)) is not None:
            await self.flush()
            await _tell(self._websocket, news)

    async def flush(self) -> None:
        if self._gathered:
            data = b"".join(self._gathered)
            self._gathered.clear()
            await self._websocket.send_bytes(data)

    async def _video(self, item: VideoOut) -> None:
        if (init := self._writer.init(item.frame)) is not None:
            await self.flush()
            await _tell(self._websocket, ready(self._session, init))
            await self._websocket.send_bytes(init.data)
            self._begun = True
        self._gathered.append(self._writer.video(item.frame))
