"""Live sessions under ``/v1/sessions``: opened, looked at, connected to, ended."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, field_validator

from services.common.consents import Scope
from services.common.errors import FailedPrecondition, NotFound
from services.gateway.auth import CallerDep, SessionCallerDep
from services.gateway.consents import require_active
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import ParamError, SessionElsewhere
from services.gateway.idempotency import OnceDep
from services.gateway.live.desk import Opened, Wishes
from services.gateway.live.session import LiveSession
from services.gateway.live.settings import IceServer, LiveSettings
from services.gateway.live.sound import RATES_HZ
from services.gateway.live.timeline import FPS
from services.gateway.live.webrtc import Viewer
from services.gateway.model import AvatarRecord, SessionRecord
from services.gateway.views import Body, LimitQuery, Page, TokenQuery, View, errors, moment

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
_RATE = Field(ge=RATES_HZ[0], le=RATES_HZ[1], description="of the PCM that will be pushed")


class LiveBackground(Body):
    """What stands behind the person: the source's own, or a colour."""

    kind: Literal["source", "colour"] = "source"
    colour: Annotated[
        str | None,
        Field(pattern=r"^#[0-9a-fA-F]{6}$", description="for `colour`", examples=["#00b140"]),
    ] = None


class NewSession(Body):
    """Whom to talk to, and how."""

    avatar: Annotated[str, Field(description="id of an avatar that is ready", examples=["av_123"])]
    width_px: Annotated[int, Field(ge=0, le=4096, description="even; 0: as the avatar")] = 0
    height_px: Annotated[int, Field(ge=0, le=4096, description="even; 0: as the avatar")] = 0
    background: LiveBackground = LiveBackground()
    sample_rate_hz: Annotated[int, _RATE] = 24_000
    max_duration_s: Annotated[float | None, Field(gt=0, description="at most so long")] = None
    idle_timeout_s: Annotated[float | None, Field(gt=0, description="ends sooner")] = None

    @field_validator("width_px", "height_px")
    @classmethod
    def _even(cls, pixels: int) -> int:
        if pixels % 2:
            raise ValueError("must be even")
        return pixels


class IceServerView(View):
    """As `RTCPeerConnection` wants it."""

    urls: tuple[str, ...]
    username: str
    credential: str


class Session(View):
    """A live session."""

    id: str
    state: Literal["waiting", "connected"] | None = Field(
        description="whether anybody is connected; null in lists"
    )
    avatar: str
    avatar_version: int
    width_px: int
    height_px: int
    fps: int = FPS
    sample_rate_hz: int
    url: str
    websocket_url: str
    webrtc_url: str
    created_at: datetime
    expires_at: datetime


class NewlyOpened(Session):
    """With the token, which is not shown again."""

    token: str = Field(description="for this session only", examples=["avs_…"])
    token_expires_at: datetime
    ice_servers: list[IceServerView]


class StageView(View):
    """Time of frames in one stage over the last minute."""

    stage: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class CountersView(View):
    """What a session has seen so far."""

    frames: int
    held_frames: int
    skipped_frames: int
    inserted_silence_ms: int
    interruptions: int
    moves: int
    size_changes: int


class SessionDetails(Session):
    """With what it does just now."""

    speaking: bool
    counters: CountersView
    trace: list[StageView]


class Offer(Body):
    """As `RTCPeerConnection.localDescription`."""

    type: Literal["offer"]
    sdp: Annotated[str, Field(max_length=200_000)]


class Answer(View):
    """For `RTCPeerConnection.setRemoteDescription`."""

    type: Literal["answer"] = "answer"
    sdp: str


class Interruption(View):
    """Everything was emptied."""

    frame: int = Field(description="the first without the old speech")


class KeptAlive(View):
    """The token goes on."""

    token_expires_at: datetime


@router.post(
    "", status_code=201, response_model=NewlyOpened, responses=errors(409, 422),
    summary="Open a live session",
)  # fmt: skip
async def create_session(
    body: NewSession, request: Request, caller: CallerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """Answers when a renderer has the avatar loaded: seconds, the first time. Then connect."""
    wishes = _wishes(body)
    assert caller.limits is not None
    most = caller.limits.sessions
    url = str(request.base_url).rstrip("/")

    async def make(session_id: str) -> NewlyOpened:
        avatar = await _ready_avatar(gateway, caller.tenant, body.avatar)
        await require_active(gateway, caller.tenant, avatar.consent, Scope.LIVE)
        await gateway.audit.note(
            caller.tenant, caller.key, "session.open", f"sessions/{session_id}",
            avatar=avatar.id, consent=avatar.consent,
        )  # fmt: skip
        opened = await gateway.live.open(session_id, avatar, wishes, url, most)
        return _newly_opened(opened, gateway.live.settings)

    return await once.run("ls", make, keep=False)


@router.get("", responses=errors(422), summary="List live sessions")
async def list_sessions(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Session]:
    """Those that are open, newest first."""
    found, following = await gateway.live.list(caller.tenant, limit, token)
    data = [Session(**_common(each, gateway.live.local(each.id))) for each in found]
    return Page(data=data, next_token=following or None)


@router.get("/{session_id}", responses=errors(404, 421), summary="One live session")
async def get_session(
    session_id: str, caller: SessionCallerDep, gateway: GatewayDep
) -> SessionDetails:
    """As it stands now, with where the milliseconds go."""
    record, session = await _found(gateway, caller.tenant, session_id)
    return SessionDetails(
        **_common(record, session),
        speaking=session.speaking,
        counters=CountersView(**asdict(session.counters())),
        trace=[StageView(**asdict(each)) for each in session.trace.times()],
    )


@router.post("/{session_id}/webrtc", responses=errors(404, 421, 422), summary="Connect by WebRTC")
async def connect(
    session_id: str, offer: Offer, caller: SessionCallerDep, gateway: GatewayDep
) -> Answer:
    """An SDP offer with all its candidates, for an answer with all of ours."""
    record, session = await _found(gateway, caller.tenant, session_id, "/webrtc")
    await gateway.live.renew(record)
    viewer = Viewer(session, gateway.live.settings.ice_servers)
    return Answer(sdp=await viewer.answer(offer.sdp))


@router.post("/{session_id}/interrupt", responses=errors(404, 421), summary="Interrupt it")
async def interrupt(session_id: str, caller: SessionCallerDep, gateway: GatewayDep) -> Interruption:
    """What was pushed is not heard any more, and the face returns to rest."""
    _, session = await _found(gateway, caller.tenant, session_id, "/interrupt")
    return Interruption(frame=session.clear_buffer())


@router.post("/{session_id}/keep_alive", responses=errors(404, 421), summary="Keep it")
async def keep_alive(session_id: str, caller: SessionCallerDep, gateway: GatewayDep) -> KeptAlive:
    """Defers its idle timeout and the end of its token."""
    record, session = await _found(gateway, caller.tenant, session_id, "/keep_alive")
    session.keep_alive()
    return KeptAlive(token_expires_at=moment(await gateway.live.renew(record)))


@router.delete("/{session_id}", status_code=204, responses=errors(404), summary="End it")
async def delete_session(
    session_id: str, caller: SessionCallerDep, gateway: GatewayDep
) -> Response:
    """Wherever it is; another process needs a moment to hear of it."""
    await gateway.live.end(caller.tenant, session_id)
    return Response(status_code=204)


async def _found(
    gateway: Gateway, tenant: str, session_id: str, rest: str = ""
) -> tuple[SessionRecord, LiveSession]:
    try:
        return await gateway.live.find(tenant, session_id)
    except SessionElsewhere as error:
        raise SessionElsewhere(session_id, f"{error.url}/v1/sessions/{session_id}{rest}") from None


async def _ready_avatar(gateway: Gateway, tenant: str, avatar_id: str) -> AvatarRecord:
    try:
        avatar = await gateway.tables.avatars.get(tenant, avatar_id)
    except NotFound:
        raise ParamError(
            "avatar", f"no avatar {avatar_id}", reason="AVATAR_NOT_FOUND",
            remedy="Check the id; it may have been deleted.",
        ) from None  # fmt: skip
    if avatar.phase != "ready" or avatar.bundle is None:
        raise FailedPrecondition(
            f"avatar {avatar_id} is {avatar.phase}",
            reason="AVATAR_NOT_READY",
            remedy="Follow GET /v1/avatars/{id}/events until it is ready.",
        )
    return avatar


def _wishes(body: NewSession) -> Wishes:
    colour = body.background.colour
    if (body.background.kind == "colour") != (colour is not None):
        raise ParamError(
            "background.colour", "colour goes with kind colour, and only with it",
            reason="BACKGROUND_INVALID", remedy="Send kind colour and colour together.",
        )  # fmt: skip
    return Wishes(
        body.width_px, body.height_px, colour or "", body.sample_rate_hz,
        body.max_duration_s, body.idle_timeout_s,
    )  # fmt: skip


def _newly_opened(opened: Opened, settings: LiveSettings) -> NewlyOpened:
    return NewlyOpened(
        **_common(opened.record, opened.session),
        token=opened.token,
        token_expires_at=moment(opened.token_expires_s),
        ice_servers=[_ice(each) for each in settings.ice_servers],
    )


def _common(record: SessionRecord, session: LiveSession | None) -> dict[str, Any]:
    url = f"{record.url}/v1/sessions/{record.id}"
    state = None if session is None else "connected" if session.connected else "waiting"
    return {
        "id": record.id, "state": state, "avatar": record.avatar,
        "avatar_version": record.version, "width_px": record.width_px,
        "height_px": record.height_px, "sample_rate_hz": record.sample_rate_hz, "url": url,
        "websocket_url": f"ws{url.removeprefix('http')}/stream", "webrtc_url": f"{url}/webrtc",
        "created_at": moment(record.created_s), "expires_at": moment(record.expires_s),
    }  # fmt: skip


def _ice(server: IceServer) -> IceServerView:
    return IceServerView(
        urls=server.urls,
        username=server.username,
        credential=server.credential.get_secret_value(),
    )
