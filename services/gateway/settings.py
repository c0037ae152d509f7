"""Settings of the gateway."""

from __future__ import annotations

from pydantic import Field, SecretStr

from services.common.jobs import JobSettings
from services.common.settings import Port, ServiceSettings
from services.gateway.live.settings import LiveSettings
from services.gateway.model import EvidenceLevel
from services.gateway.oidc import OidcSettings

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S


class GatewaySettings(ServiceSettings):
    """What the gateway needs beside what all services need."""

    gateway_host: str = Field("127.0.0.1", description="address of /v1; 0.0.0.0 in a pod")
    gateway_port: Port = Field(0, description="port of /v1; 0 chooses a free one")
    gateway_share_port: bool = Field(
        False,
        description="whether several gateways on one machine listen on that port; each then has "
        "one more of its own, to which its live sessions lead",
    )
    gateway_drain_s: float = Field(
        10, ge=0, description="what running requests get after SIGTERM before they are cut off"
    )
    gateway_poll_s: float = Field(
        10,
        gt=0,
        description="unfinished work is looked at so often even if nothing is heard of it, and "
        "what a killed gateway had in hand after so long",
    )
    bootstrap_key: SecretStr | None = Field(
        None, min_length=20, description="the operator's key, which makes tenants' first keys"
    )
    preprocess_target: str = Field(
        description="PreprocessService and VerificationService, host:port or dns:///host:port"
    )
    trainer_target: str = Field(description="TrainerService, host:port or dns:///host:port")
    expression_target: str = Field(
        "", description="ExpressionService for live sessions; without it there are none"
    )
    renderer_targets: tuple[str, ...] = Field(
        (),
        description="RendererService for live sessions: a JSON list of host:port, or of "
        "dns:///host:port, which stands for every address of that name",
    )
    oidc: OidcSettings | None = Field(
        None, description="identity provider of people; absent: API keys only"
    )
    consent_evidence: EvidenceLevel = Field(
        "declared",
        description="what a consent must rest on before avatars are made under it: `declared`, "
        "somebody says so and answers for it; `reviewed`, evidence that a reviewer has seen",
    )
    live: LiveSettings = Field(default_factory=LiveSettings, description="live sessions")
    jobs: JobSettings = Field(default_factory=JobSettings, description="how job queues behave")

    upload_max_bytes: int = Field(4 << 30, gt=0, le=5 << 30, description="largest upload")
    upload_expires_s: float = Field(
        _HOUR_S, gt=0, le=7 * _DAY_S, description="how long the URL of an upload takes bytes"
    )
    upload_keep_s: float = Field(
        _DAY_S, gt=0, description="an upload that nothing uses is deleted after so long"
    )
    download_expires_s: float = Field(
        _HOUR_S, gt=0, le=7 * _DAY_S, description="how long signed URLs of results are good"
    )

    quota_avatars: int = Field(100, ge=1, description="avatars that a tenant may have")
    quota_open_dubs: int = Field(500, ge=1, description="unfinished dubs that a tenant may have")
    quota_webhooks: int = Field(20, ge=1, description="webhooks that a tenant may have")
    quota_upload_bytes_day: int = Field(
        50 << 30, gt=0, description="bytes that a tenant may announce for upload in a day (UTC)"
    )
    rate_per_s: float = Field(20, gt=0, description="requests a second that a tenant may keep up")
    rate_burst: int = Field(100, ge=1, description="requests that a tenant may send at once")
    stranger_rate_per_s: float = Field(
        10, gt=0, description="calls a second without a valid key that an address may keep up"
    )
    stranger_rate_burst: int = Field(
        100, ge=1, description="calls without a valid key that an address may send at once"
    )
    key_grace_max_s: float = Field(
        7 * _DAY_S, ge=0, description="longest time that a rotated key stays good"
    )

    webhook_allow_private: bool = Field(
        False,
        description="whether webhooks may be http:// and lead into this network; only locally",
    )
    webhook_timeout_s: float = Field(10, gt=0, description="time that a webhook has to answer")
    webhook_retry_s: tuple[float, ...] = Field(
        (5, 60, 300, 1800, 2 * _HOUR_S, 5 * _HOUR_S, 10 * _HOUR_S, 14 * _HOUR_S, 20 * _HOUR_S),
        description="a JSON list: the waits between the attempts at one delivery, seconds",
    )
    event_keep_s: float = Field(30 * _DAY_S, gt=0, description="how long events are kept")
    sse_streams_tenant: int = Field(
        200, ge=1, description="event streams that a tenant may follow at once at one gateway"
    )
    sse_heartbeat_s: float = Field(15, gt=0, description="longest silence of an event stream")
    erasure_again_s: float = Field(
        600, ge=0, description="erased places are swept again after so long, for late writers"
    )
