"""What the gateway keeps of tenants' things."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.common.artifacts import ArtifactRef
from services.common.consents import Consent, Scope, Standing
from services.common.dubs import Expression, VideoFormat
from services.common.origin import Origin
from services.common.storage import ObjectRef
from services.gateway.records import Record

AvatarPhase = Literal["preprocessing", "training", "ready", "failed", "cancelled"]
DubPhase = Literal["queued", "succeeded", "failed", "cancelled"]
Preset = Literal["demo", "standard", "best"]
UploadKind = Literal["video", "audio", "image", "document"]
Role = Literal["admin", "member", "reviewer", "viewer"]
EvidenceLevel = Literal["declared", "reviewed"]
Background = Literal["source", "colour", "image", "transparent"]


def new_id(prefix: str) -> str:
    """A random id, e.g. ``av_…``."""
    return f"{prefix}_{secrets.token_hex(12)}"


def derived_id(prefix: str, *parts: object) -> str:
    """The same id for the same parts: what is made twice from them is made once."""
    text = "\n".join(str(part) for part in parts)
    return f"{prefix}_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


class Part(BaseModel):
    """Of a record; it does not change."""

    model_config = ConfigDict(frozen=True)


class Problem(Part):
    """Why something did not succeed."""

    code: str
    message: str
    remedy: str


class Verdict(Part):
    """One check of the footage."""

    name: str
    value: float | None
    unit: str
    level: Literal["good", "warn", "refuse"]
    message: str
    remedy: str


class Quality(Part):
    """The report on the footage: the worst level and every check."""

    level: Literal["good", "warn", "refuse"]
    verdicts: tuple[Verdict, ...]


class KeyRecord(Record):
    """An API key, without the key.

    Args:
        digest: SHA-256 of the key; ``previous_digest`` of the one before the last rotation, which
            is good until ``previous_until_s``.
        scopes: of what it is good for, within its role; empty: for all of it.
    """

    KIND: ClassVar[str] = "key"

    name: str
    role: Role
    digest: str
    scopes: tuple[str, ...] = ()
    expires_s: float | None = None
    rotated_s: float | None = None
    previous_digest: str = ""
    previous_until_s: float = 0.0

    def is_good(self, digest: str, now_s: float) -> bool:
        """Whether a key of this digest is this key."""
        if self.expires_s is not None and self.expires_s <= now_s:
            return False
        if digest == self.previous_digest:
            return now_s < self.previous_until_s
        return digest == self.digest


class Evidence(Part):
    """What shows that a person has agreed.

    Args:
        upload: id of the clip or the document.
        footage: id of the video that avatars may be made of under this consent.
    """

    kind: Literal["video", "document"]
    upload: str
    ref: ObjectRef
    footage: str
    footage_ref: ObjectRef
    given_s: float


class Review(Part):
    """What a reviewer made of it.

    Args:
        by: id of the reviewer's key, or whom the issuer of a token names.
        override: approved though not all checks were confirmed; ``reason`` says why.
    """

    by: str
    at_s: float
    decision: Literal["approve", "refuse"]
    passphrase_heard: bool
    same_person: bool
    override: bool
    reason: str


class ConsentRecord(Record):
    """A person's consent to an avatar of theirs; :class:`services.common.consents.Consent` is what
    other services read of it.

    Args:
        recorded_by: who recorded it, and so does not review it.
        level: what it rests on: somebody's declaration, or evidence that was reviewed.
        passphrase: to be read on camera; made for this consent alone.
        settled: everything that stood on a revoked consent is erased.
    """

    KIND: ClassVar[str] = "consent"

    subject_name: str
    statement: str
    granted_by: str
    expires_s: float | None
    revoked_s: float | None = None
    scope: tuple[Scope, ...] = tuple(Scope)
    phase: Literal["draft", "in_review", "approved", "refused"] = "approved"
    recorded_by: str = ""
    level: EvidenceLevel = "declared"
    passphrase: str = ""
    evidence: Evidence | None = None
    review: Review | None = None
    settled: bool = False

    @property
    def due_s(self) -> float | None:
        """Looked at while what stood on it is being erased."""
        return 0 if self.revoked_s is not None and not self.settled else None

    @property
    def for_others(self) -> Consent:
        """What other services read of it."""
        return Consent(
            scope=self.scope, phase=self.phase, expires_s=self.expires_s, revoked_s=self.revoked_s
        )

    @property
    def standing(self) -> Standing:
        """Where it stands now."""
        return self.for_others.standing(now_s())

    @property
    def uploads(self) -> tuple[str, ...]:
        """Those that it needs."""
        return (self.evidence.upload, self.evidence.footage) if self.evidence else ()


class UploadRecord(Record):
    """A file on its way in.

    Args:
        key: of the object.
        expires_s: until when its URL takes bytes.
        ready_s: when its bytes were found to be there.
        sha256: known once something uses it.
        used_by: ids of avatars and dubs; it is erased with the last of them.
        delete_s: when it is deleted unless something uses it by then.
    """

    KIND: ClassVar[str] = "upload"

    filename: str
    content_type: str
    size_bytes: int
    kind: UploadKind
    key: str
    expires_s: float
    delete_s: float
    state: Literal["awaiting", "ready", "expired"] = "awaiting"
    sha256: str = ""
    used_by: tuple[str, ...] = ()

    @property
    def due_s(self) -> float | None:
        """Swept when its time is over."""
        if self.used_by:
            return None
        return self.expires_s if self.state == "awaiting" else self.delete_s

    @property
    def status(self) -> str:
        """As the metrics count it."""
        return self.state


class AvatarRecord(Record):
    """An avatar from upload to bundle.

    Args:
        preprocess_job, train_job: empty until they are made.
        round: grows with every new try; names the requests and events of this one.
        restart: the current job is to be queued again.
        origin: the request of this try.
    """

    KIND: ClassVar[str] = "avatar"

    name: str
    video: str
    consent: str
    preset: Preset
    size_px: int
    updated_s: float
    phase: AvatarPhase = "preprocessing"
    round: int = 0
    restart: bool = False
    preprocess_job: str = ""
    train_job: str = ""
    quality: Quality | None = None
    quality_picture: str = ""
    preview: str = ""
    version: int = 0
    bundle: ArtifactRef | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    error: Problem | None = None
    origin: Origin = Origin()

    @property
    def resource(self) -> str:
        """Its name between services."""
        return f"tenants/{self.tenant}/avatars/{self.id}"

    @property
    def job(self) -> str:
        """The job that it waits for, or waited for last."""
        return self.train_job or self.preprocess_job

    @property
    def due_s(self) -> float | None:
        """Open until it is ready, failed or cancelled."""
        return 0 if self.phase in ("preprocessing", "training") else None

    @property
    def status(self) -> str:
        """As the metrics count it."""
        return self.phase


class DubRecord(Record):
    """An avatar saying an audio. The job's id is the dub's.

    Args:
        consent: that it was made under; it may outlive its avatar.
        background_image: id of an upload, or empty.
        enqueued: whether the job was made.
        restart: the job is to be queued again.
        round, origin: as an avatar's.
    """

    KIND: ClassVar[str] = "dub"

    avatar: str
    version: int
    bundle: ArtifactRef
    audio: str
    width_px: int
    height_px: int
    background: Background
    background_colour: str = ""
    background_image: str = ""
    video_format: VideoFormat = "mp4"
    expression: Expression = "auto"
    blinks_per_minute: float | None = None
    consent: str = ""
    text: str
    phase: DubPhase = "queued"
    enqueued: bool = False
    restart: bool = False
    round: int = 0
    video: ObjectRef | None = None
    preview: ObjectRef | None = None
    captions_vtt: ObjectRef | None = None
    captions_srt: ObjectRef | None = None
    manifest: ObjectRef | None = None
    duration_s: float | None = None
    error: Problem | None = None
    origin: Origin = Origin()

    @property
    def uploads(self) -> tuple[str, ...]:
        """Those that it needs."""
        return tuple(filter(None, (self.audio, self.background_image)))

    @property
    def due_s(self) -> float | None:
        """Open until it has ended."""
        return 0 if self.phase == "queued" else None

    @property
    def status(self) -> str:
        """As the metrics count it."""
        return self.phase


class JobLink(Record):
    """Which queue a job is in, and what it is for: ``avatars/…`` or ``dubs/…``."""

    KIND: ClassVar[str] = "job"

    type: Literal["preprocess", "train", "dub"]
    resource: str


class WebhookRecord(Record):
    """Where a tenant wants events sent."""

    KIND: ClassVar[str] = "webhook"

    url: str
    events: tuple[str, ...]
    secret: str


class EventRecord(Record):
    """Something that happened, as it is sent to webhooks.

    Args:
        body: the JSON that is sent and signed, byte by byte the same every time.
    """

    KIND: ClassVar[str] = "event"

    type: str
    body: str
    delete_s: float

    @property
    def due_s(self) -> float | None:
        """Swept when its time is over."""
        return self.delete_s


class DeliveryRecord(Record):
    """An event on its way to a webhook."""

    KIND: ClassVar[str] = "delivery"

    event: str
    webhook: str
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    next_s: float = 0.0
    status_code: int | None = None
    message: str = ""
    delete_s: float = 0.0

    @property
    def due_s(self) -> float | None:
        """Tried until it is delivered or given up, then swept."""
        return self.next_s if self.state == "pending" else self.delete_s

    @property
    def status(self) -> str:
        """As the metrics count it."""
        return self.state


class SessionRecord(Record):
    """A live session that is open somewhere. Its process says so every now and then.

    Args:
        version: of the avatar.
        url: of the process that has it, without a path.
        expires_s: when it has lasted as long as it may.
        seen_s: when its process last said that it is there.
        token_digest: of its token.
    """

    KIND: ClassVar[str] = "session"
    LEASE_S: ClassVar[float] = 120.0

    avatar: str
    version: int
    url: str
    width_px: int
    height_px: int
    sample_rate_hz: int
    expires_s: float
    seen_s: float
    token_digest: str

    @property
    def due_s(self) -> float | None:
        """Always open: it is deleted when it ends, or when its process is gone."""
        return self.seen_s + self.LEASE_S

    @property
    def status(self) -> str:
        """As the metrics count it."""
        return "open"


def now_s() -> float:
    """Seconds since the epoch."""
    return time.time()
