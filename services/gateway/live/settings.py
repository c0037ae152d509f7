"""Settings of live sessions, under ``AVATAR_LIVE__…``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.common.settings import Port


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IceServer(_Part):
    """A STUN or TURN server that browsers and the gateway use."""

    urls: tuple[str, ...] = Field(min_length=1, description="e.g. turn:turn.example:3478")
    username: str = Field("", description="of the TURN server")
    credential: SecretStr = Field(SecretStr(""), description="of the TURN server")


class LiveSettings(_Part):
    """How live sessions behave."""

    url: str = Field(
        "",
        pattern=r"^(https?://[^/]+)?$",
        description="where clients reach this very process, e.g. https://gateway-0.example; "
        "empty: as the request that opened the session reached it",
    )
    grpc_host: str = Field("127.0.0.1", description="address of SessionService; 0.0.0.0 in a pod")
    grpc_port: Port = Field(0, description="port of SessionService; 0 chooses a free one")
    ice_servers: tuple[IceServer, ...] = Field((), description="a JSON list of STUN/TURN servers")
    allow_origins: tuple[str, ...] = Field(
        (), description="a JSON list of web origins whose pages may hold sessions; `*`: all"
    )

    delay_ms: int = Field(
        200, ge=120, le=2000, multiple_of=20,
        description="from the moment that audio leaves the jitter buffer to its playout; features "
        "and frames must be made meanwhile",
    )  # fmt: skip
    jitter_ms: int = Field(
        40, ge=0, le=500, description="audio is held so long before speech begins"
    )
    buffer_s: float = Field(120, gt=0, description="audio that may wait to be played, a session")
    max_duration_s: float = Field(3600, gt=0, le=86_000, description="longest session")
    idle_timeout_s: float = Field(
        300,
        gt=0,
        description="a session that hears neither audio nor a keep-alive for so long ends",
    )
    reconnect_s: float = Field(
        30, gt=0, description="a session without a connection waits so long for one"
    )
    token_s: float = Field(
        120, gt=0, description="a session's token ends so long after its last use"
    )
    open_timeout_s: float = Field(
        60, gt=0, description="what a renderer has to load the avatar of a new session"
    )
    max_sessions: int = Field(64, ge=1, description="sessions that this process takes")
    quota_sessions: int = Field(8, ge=1, description="sessions that a tenant may have at once")
    stall_s: float = Field(
        1.5, gt=0, description="who owes a frame for so long is left when another renderer is free"
    )
