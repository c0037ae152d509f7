"""Dubs: an avatar says an audio; the result is a video with a signed URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar, cast

from fastapi import APIRouter, Request, Response
from pydantic import Field, field_validator

from services.common.consents import Scope
from services.common.dubs import MAX_TEXT_CHARS, BlinksPerMinute, Expression, VideoFormat
from services.common.errors import FailedPrecondition, NotFound
from services.common.job_progress import shown_picture
from services.common.jobs import Job, JobState
from services.common.origin import origin
from services.gateway import uploads
from services.gateway.auth import Caller, CallerDep
from services.gateway.consents import require_active
from services.gateway.core import Gateway, GatewayDep
from services.gateway.erasure import Erasure, erase_dub
from services.gateway.errors import LimitReached, ParamError
from services.gateway.idempotency import OnceDep
from services.gateway.jobs import find_job, find_jobs, link_of
from services.gateway.model import AvatarRecord, Background, DubRecord, JobLink, UploadRecord, now_s
from services.gateway.records import Limit, Stale
from services.gateway.sse import EVENT_STREAM, Shown, Source, stream
from services.gateway.views import (
    Body,
    LimitQuery,
    Page,
    ProblemView,
    TokenQuery,
    View,
    errors,
    moment,
    problem_view,
    signed,
)

A = TypeVar("A")
B = TypeVar("B")

router = APIRouter(prefix="/v1/dubs", tags=["dubs"])

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
_FULL_RETRY_S = 10.0


class BackgroundChoice(Body):
    """What stands behind the person: the source's own, a colour, an image, or nothing at all."""

    kind: Background = "source"
    colour: Annotated[
        str | None,
        Field(pattern=r"^#[0-9a-fA-F]{6}$", description="for `colour`", examples=["#00b140"]),
    ] = None
    image: Annotated[
        str | None, Field(description="for `image`: id of an upload of kind image")
    ] = None


class NewDub(Body):
    """What is to be said by whom."""

    avatar: Annotated[str, Field(description="id of an avatar that is ready", examples=["av_123"])]
    audio: Annotated[str, Field(description="id of an upload, audio or video with sound")]
    width_px: Annotated[int, Field(ge=0, le=4096, description="even; 0: as the avatar")] = 0
    height_px: Annotated[int, Field(ge=0, le=4096, description="even; 0: as the avatar")] = 0
    background: BackgroundChoice = BackgroundChoice()
    text: Annotated[
        str, Field(max_length=MAX_TEXT_CHARS, description="what is said, for captions")
    ] = ""
    format: Annotated[
        VideoFormat,
        Field(
            description="`mp4`: H.264 and AAC; for what is transparent `webm` (VP9, Opus; for "
            "browsers) or `mov` (ProRes 4444, PCM; for editing)"
        ),
    ] = "mp4"
    expression: Annotated[
        Expression,
        Field(
            description="what brows and lids do: by the voice (`natural`, `calm`, `emphatic`; "
            "`neutral` only blinks) or as in the avatar's footage (`source`); `auto` is `natural` "
            "for all avatars but those trained before they could"
        ),
    ] = "auto"
    blinks_per_minute: Annotated[
        BlinksPerMinute | None, Field(description="where the voice moves the lids; null: 17")
    ] = None

    @field_validator("width_px", "height_px")
    @classmethod
    def _even(cls, pixels: int) -> int:
        if pixels % 2:
            raise ValueError("must be even")
        return pixels


class Dub(View):
    """A dub, finished or on its way. Its URLs are signed and expire."""

    id: str
    avatar: str
    avatar_version: int
    audio: str
    background: Background
    format: VideoFormat
    expression: Expression
    state: State
    stage: str
    fraction: float
    eta_s: float | None
    job: str
    video_url: str | None = Field(description="in the format that was asked for")
    video_sha256: str | None = Field(description="of its bytes, to be checked after the download")
    video_size_bytes: int | None
    captions_vtt_url: str | None
    captions_srt_url: str | None
    manifest_url: str | None = Field(
        description="C2PA manifest, to be kept beside a WebM as `NAME.webm.c2pa`; MP4 and MOV hold "
        "their own"
    )
    preview_url: str | None
    duration_s: float | None
    error: ProblemView | None
    created_at: datetime


@router.post(
    "", status_code=201, response_model=Dub, responses=errors(409, 422),
    summary="Have an avatar say an audio",
)  # fmt: skip
async def create_dub(body: NewDub, caller: CallerDep, gateway: GatewayDep, once: OnceDep) -> Any:
    """Queued at once; follow it by its events. Tenants take turns on the machines."""
    _check_background(body)

    async def make(dub_id: str) -> Dub:
        avatar, needed = await _both(
            _ready_avatar(gateway, caller.tenant, body.avatar),
            _uploads_of(gateway, caller.tenant, body),
        )
        await gateway.audit.note(
            caller.tenant, caller.key, "dub.create", f"dubs/{dub_id}", avatar=avatar.id
        )
        record, link = _record(dub_id, body, avatar), None
        while True:
            try:
                record = await _create(gateway, record, link, needed, _quota(caller))
            except Stale:  # another dub has begun to use one of them
                needed = await _uploads_of(gateway, caller.tenant, body)
                link = await gateway.tables.jobs.find(caller.tenant, dub_id)
            else:
                return await _current(gateway, record)

    return await once.run("dub", make)


@router.get("", responses=errors(422), summary="List dubs")
async def list_dubs(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Dub]:
    """Newest first."""
    found, following = await gateway.tables.dubs.page(caller.tenant, limit, token)
    jobs = await find_jobs(gateway, filter(None, map(_job_of, found)))
    data = [dub_view(gateway, record, jobs.get(record.id)) for record in found]
    return Page(data=data, next_token=following or None)


@router.get("/{dub_id}", responses=errors(404), summary="One dub")
async def get_dub(dub_id: str, caller: CallerDep, gateway: GatewayDep) -> Dub:
    """As it stands now."""
    return await _current(gateway, await gateway.tables.dubs.get(caller.tenant, dub_id))


@router.get(
    "/{dub_id}/events", response_class=Response, responses={**errors(404), **EVENT_STREAM},
    summary="Follow a dub",
)  # fmt: skip
async def dub_events(
    dub_id: str, request: Request, caller: CallerDep, gateway: GatewayDep
) -> Response:
    """Each event's data is the whole dub; the stream ends after the final state."""

    async def load() -> DubRecord:
        return await gateway.tables.dubs.get(caller.tenant, dub_id)

    def show(record: DubRecord, job: Job | None) -> Shown:
        stamp = f"{record.revision}.{job.revision if job else 0}"
        return Shown(dub_view(gateway, record, job), stamp, final=record.due_s is None)

    member = f"{DubRecord.KIND}/{caller.tenant}/{dub_id}"
    return await stream(gateway, request, Source(member, load, _job_of, show))


@router.delete(
    "/{dub_id}", response_model=Erasure, summary="Erase a dub",
    responses={**errors(404), 202: {"model": Erasure, "description": "goes on; ask again"}},
)  # fmt: skip
async def delete_dub(
    dub_id: str, response: Response, caller: CallerDep, gateway: GatewayDep
) -> Erasure:
    """Stops its job and erases everything of it."""
    await gateway.audit.note(caller.tenant, caller.key, "dub.delete", f"dubs/{dub_id}")
    erasure = await erase_dub(gateway, caller.tenant, dub_id)
    response.status_code = 200 if erasure.state == "erased" else 202
    return erasure


def dub_view(gateway: Gateway, record: DubRecord, job: Job | None) -> Dub:
    """What a dub looks like from outside; ``job`` is looked at while it is under way."""
    state: State = record.phase
    if record.phase == "queued" and job is not None and not record.restart:
        state = "queued" if job.state in (JobState.QUEUED, JobState.WAITING) else "running"
    progress = job.progress if job is not None and state == "running" else None
    preview = record.preview or (shown_picture(progress.preview) if progress else None)
    name = record.id.replace("_", "-")
    return Dub(
        id=record.id,
        avatar=record.avatar,
        avatar_version=record.version,
        audio=record.audio,
        background=record.background,
        format=record.video_format,
        expression=record.expression,
        state=state,
        stage=progress.stage if progress else "",
        fraction=1.0 if state == "succeeded" else progress.fraction if progress else 0.0,
        eta_s=progress.eta_s if progress else None,
        job=record.id,
        video_url=signed(gateway, record.video, f"{name}.{record.video_format}"),
        video_sha256=record.video.sha256 if record.video else None,
        video_size_bytes=record.video.size_bytes if record.video else None,
        captions_vtt_url=signed(gateway, record.captions_vtt, f"{name}.vtt"),
        captions_srt_url=signed(gateway, record.captions_srt, f"{name}.srt"),
        manifest_url=signed(gateway, record.manifest, f"{name}.{record.video_format}.c2pa"),
        preview_url=signed(gateway, preview),
        duration_s=record.duration_s,
        error=problem_view(record.error),
        created_at=moment(record.created_s),
    )


def _record(dub_id: str, body: NewDub, avatar: AvatarRecord) -> DubRecord:
    assert avatar.bundle is not None
    return DubRecord(
        id=dub_id,
        tenant=avatar.tenant,
        created_s=now_s(),
        avatar=avatar.id,
        consent=avatar.consent,
        version=avatar.version,
        bundle=avatar.bundle,
        audio=body.audio,
        width_px=body.width_px,
        height_px=body.height_px,
        background=body.background.kind,
        background_colour=body.background.colour or "",
        background_image=body.background.image or "",
        video_format=body.format,
        expression=body.expression,
        blinks_per_minute=body.blinks_per_minute,
        text=body.text,
        origin=origin(),
    )


async def _create(
    gateway: Gateway,
    record: DubRecord,
    link: JobLink | None,
    needed: Iterable[UploadRecord],
    limit: Limit,
) -> DubRecord:
    """In one step with its job's link and the marks on its uploads, as those were read.

    Raises:
        Stale: one of them has changed.
    """
    tables = gateway.tables
    return await tables.dubs.create(
        record,
        limit,
        tables.jobs.change(link, link_of("dub", record.id, record)),
        *(tables.uploads.change(each, uploads.used(each, record.id)) for each in needed),
    )


def _job_of(record: DubRecord) -> tuple[str, str] | None:
    return ("dub", record.id) if record.enqueued and record.due_s is not None else None


async def _current(gateway: Gateway, record: DubRecord) -> Dub:
    target = _job_of(record)
    return dub_view(gateway, record, await find_job(gateway, *target) if target else None)


async def _both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """The results of both, done at once; the first one's error comes first."""
    results = await asyncio.gather(first, second, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast(tuple[A, B], results)


async def _ready_avatar(gateway: Gateway, tenant: str, avatar_id: str) -> AvatarRecord:
    """That may be shown in dubs."""
    try:
        avatar = await gateway.tables.avatars.get(tenant, avatar_id)
    except NotFound as error:
        raise ParamError(
            "avatar", f"avatar: {error.message}", reason=error.reason, remedy=error.remedy
        ) from None
    if avatar.phase != "ready":
        raise FailedPrecondition(
            f"avatar {avatar_id} is not ready",
            reason="AVATAR_NOT_READY",
            remedy="Wait until its state is ready; follow its events.",
        )
    await require_active(gateway, tenant, avatar.consent, Scope.DUB)
    return avatar


async def _uploads_of(gateway: Gateway, tenant: str, body: NewDub) -> list[UploadRecord]:
    """Those that it needs, all there."""
    needed = [await uploads.check_ready(gateway, tenant, "audio", body.audio, "audio")]
    if (image := body.background.image) is not None:
        needed.append(
            await uploads.check_ready(gateway, tenant, "background.image", image, "image")
        )
    return needed


def _check_background(body: NewDub) -> None:
    """As :func:`services.common.dubs.check_supported`, naming the field."""
    kind, chosen = body.background.kind, body.background
    if (kind == "colour") != (chosen.colour is not None):
        raise ParamError(
            "background.colour", f"background {kind!r}: colour is wrong or missing",
            reason="BAD_COLOUR", remedy="Give #rrggbb with kind colour, and with no other.",
        )  # fmt: skip
    if (kind == "image") != (chosen.image is not None):
        raise ParamError(
            "background.image", f"background {kind!r}: image is wrong or missing",
            reason="BACKGROUND_IMAGE",
            remedy="Give an upload of kind image with kind image, and with no other.",
        )  # fmt: skip
    if (kind == "transparent") != (body.format != "mp4"):
        raise ParamError(
            "format", f"background {kind!r} in format {body.format!r}",
            reason="VIDEO_FORMAT",
            remedy="Ask for webm or mov with a transparent background, for mp4 with any other.",
        )  # fmt: skip


def _quota(caller: Caller) -> Limit:
    assert caller.limits is not None
    most = caller.limits.open_dubs
    error = LimitReached(
        f"more than {most} unfinished dubs",
        reason="QUOTA_OPEN_DUBS",
        remedy="Wait until some have ended.",
        retry_after_s=_FULL_RETRY_S,
    )
    return Limit("open", most, error)
