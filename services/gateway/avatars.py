"""Avatars: made from an upload under a consent, followed, erased."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, field_validator

from services.common.consents import Scope
from services.common.errors import FailedPrecondition
from services.common.job_progress import shown_picture
from services.common.jobs import Job
from services.common.origin import origin
from services.gateway import uploads
from services.gateway.auth import Caller, CallerDep
from services.gateway.consents import require_active
from services.gateway.core import Gateway, GatewayDep
from services.gateway.erasure import Erasure, erase_avatar
from services.gateway.errors import LimitReached
from services.gateway.idempotency import OnceDep
from services.gateway.jobs import JobKind, find_job, find_jobs
from services.gateway.model import AvatarRecord, Preset, Quality, now_s
from services.gateway.records import Limit
from services.gateway.restart import restart_avatar
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
    signed_url,
)

router = APIRouter(prefix="/v1/avatars", tags=["avatars"])

State = Literal["queued", "preprocessing", "training", "ready", "failed", "cancelled"]
_FULL_RETRY_S = 60.0
# How long the two jobs take in proportion: seconds on two cores, a minute of video at 512 px.
_PREPROCESS_SHARE = 140.0
_TRAIN_SHARES = {"demo": 45.0, "standard": 330.0, "best": 700.0}


class NewAvatar(Body):
    """A person's video, and under whose consent an avatar is made of it."""

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Ann"])]
    video: Annotated[str, Field(description="id of an upload of kind video", examples=["up_123"])]
    consent: Annotated[str, Field(description="id of an active consent", examples=["con_123"])]
    preset: Preset = "standard"
    size_px: Annotated[int, Field(ge=128, le=1024, description="a multiple of 16")] = 512

    @field_validator("size_px")
    @classmethod
    def _multiple(cls, size_px: int) -> int:
        if size_px % 16:
            raise ValueError("must be a multiple of 16")
        return size_px


class JobOf(View):
    """A job of the avatar."""

    id: str
    type: JobKind


class Avatar(View):
    """An avatar, ready or on its way."""

    id: str
    name: str
    state: State
    stage: str = Field(description="what is being done", examples=["track"])
    fraction: float = Field(description="of the whole way from video to avatar, 0 to 1")
    eta_s: float | None = Field(description="estimated seconds to the end; null until known")
    preview_url: str | None = Field(description="the newest picture of it")
    quality: Quality | None = Field(description="the report on the footage, as soon as it is known")
    quality_picture_url: str | None
    metrics: dict[str, float] = Field(description="on frames that training did not see")
    error: ProblemView | None
    version: int | None = Field(description="of the bundle, once it is ready")
    preset: Preset
    size_px: int
    video: str
    consent: str
    jobs: list[JobOf]
    created_at: datetime
    updated_at: datetime


@router.post(
    "", status_code=201, response_model=Avatar, responses=errors(409, 422),
    summary="Make an avatar of an uploaded video",
)  # fmt: skip
async def create_avatar(
    body: NewAvatar, caller: CallerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """Queued at once; follow it by its events. The consent must be active, the upload whole."""

    async def make(avatar_id: str) -> Avatar:
        await require_active(gateway, caller.tenant, body.consent, Scope.AVATAR, footage=body.video)
        await uploads.check_ready(gateway, caller.tenant, "video", body.video, "video")
        await gateway.audit.note(
            caller.tenant, caller.key, "avatar.create", f"avatars/{avatar_id}",
            consent=body.consent, video=body.video,
        )  # fmt: skip
        record = await gateway.tables.avatars.create(
            AvatarRecord(
                id=avatar_id,
                tenant=caller.tenant,
                created_s=now_s(),
                updated_s=now_s(),
                origin=origin(),
                **body.model_dump(),
            ),
            _quota(caller),
        )
        await uploads.mark_used(gateway, caller.tenant, record.video, record.id)
        return await _current(gateway, record)

    return await once.run("av", make)


@router.get("", responses=errors(422), summary="List avatars")
async def list_avatars(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Avatar]:
    """Newest first."""
    found, following = await gateway.tables.avatars.page(caller.tenant, limit, token)
    jobs = await find_jobs(gateway, filter(None, map(_job_of, found)))
    data = [avatar_view(gateway, record, jobs.get(record.job)) for record in found]
    return Page(data=data, next_token=following or None)


@router.get("/{avatar_id}", responses=errors(404), summary="One avatar")
async def get_avatar(avatar_id: str, caller: CallerDep, gateway: GatewayDep) -> Avatar:
    """As it stands now."""
    return await _current(gateway, await gateway.tables.avatars.get(caller.tenant, avatar_id))


@router.get(
    "/{avatar_id}/events", response_class=Response, responses={**errors(404), **EVENT_STREAM},
    summary="Follow an avatar",
)  # fmt: skip
async def avatar_events(
    avatar_id: str, request: Request, caller: CallerDep, gateway: GatewayDep
) -> Response:
    """Each event's data is the whole avatar; the stream ends after the final state."""

    async def load() -> AvatarRecord:
        return await gateway.tables.avatars.get(caller.tenant, avatar_id)

    def show(record: AvatarRecord, job: Job | None) -> Shown:
        stamp = f"{record.revision}.{job.revision if job else 0}"
        return Shown(avatar_view(gateway, record, job), stamp, final=record.due_s is None)

    member = f"{AvatarRecord.KIND}/{caller.tenant}/{avatar_id}"
    return await stream(gateway, request, Source(member, load, _job_of, show))


@router.post(
    "/{avatar_id}/retry", responses=errors(404, 409), summary="Go on after a failure of ours"
)
async def retry_avatar(avatar_id: str, caller: CallerDep, gateway: GatewayDep) -> Avatar:
    """Goes on from the last checkpoint. Footage that was refused needs a new avatar instead."""
    record = await gateway.tables.avatars.get(caller.tenant, avatar_id)
    job = await find_job(gateway, *_queue_and_id(record))
    if record.phase == "failed" and job is not None and job.state == "failed":
        raise FailedPrecondition(
            f"avatar {avatar_id} cannot be made of this video",
            reason="FOOTAGE_REFUSED",
            remedy="Make a new avatar of another video; quality says what was wrong.",
        )
    return await _current(gateway, await restart_avatar(gateway, record))


@router.delete(
    "/{avatar_id}", response_model=Erasure, summary="Erase an avatar",
    responses={**errors(404), 202: {"model": Erasure, "description": "goes on; ask again"}},
)  # fmt: skip
async def delete_avatar(
    avatar_id: str,
    response: Response,
    caller: CallerDep,
    gateway: GatewayDep,
    dubs: Annotated[bool, Query(description="whether dubs made with it go too")] = False,
) -> Erasure:
    """Stops its jobs and erases everything made for it; unfinished dubs with it are cancelled."""
    await gateway.audit.note(
        caller.tenant, caller.key, "avatar.delete", f"avatars/{avatar_id}", dubs=str(dubs).lower()
    )
    erasure = await erase_avatar(gateway, caller.tenant, avatar_id, with_dubs=dubs)
    response.status_code = 200 if erasure.state == "erased" else 202
    return erasure


def avatar_view(gateway: Gateway, record: AvatarRecord, job: Job | None) -> Avatar:
    """What an avatar looks like from outside; ``job`` is the one that it waits for."""
    under_way = record.due_s is not None
    started = job is not None and job.attempt > 0 and not record.restart
    state: State = record.phase
    if state == "preprocessing" and not started:
        state = "queued"
    preview = record.preview
    if job is not None and (picture := shown_picture(job.progress.preview)):
        preview = picture.key
    fraction, eta_s = overall_progress(record, job if started else None)
    picture_key = record.quality_picture
    return Avatar(
        id=record.id,
        name=record.name,
        state=state,
        stage=job.progress.stage if job is not None and under_way else "",
        fraction=fraction,
        eta_s=eta_s,
        preview_url=signed_url(gateway, preview) if preview else None,
        quality=record.quality,
        quality_picture_url=signed_url(gateway, picture_key) if picture_key else None,
        metrics=record.metrics or (dict(job.progress.metrics) if job else {}),
        error=problem_view(record.error),
        version=record.version or None,
        preset=record.preset,
        size_px=record.size_px,
        video=record.video,
        consent=record.consent,
        jobs=_jobs(record),
        created_at=moment(record.created_s),
        updated_at=moment(max(record.updated_s, job.updated_s if job else 0.0)),
    )


def overall_progress(record: AvatarRecord, job: Job | None) -> tuple[float, float | None]:
    """Of both jobs together. How long training takes is reckoned from preprocessing so far."""
    if record.phase == "ready":
        return 1.0, 0.0
    train = _TRAIN_SHARES[record.preset]
    whole = _PREPROCESS_SHARE + train
    done = job.progress.fraction if job else 0.0
    if record.train_job:
        fraction = (_PREPROCESS_SHARE + train * done) / whole
        return fraction, job.progress.eta_s if job and record.due_s is not None else None
    fraction = _PREPROCESS_SHARE * done / whole
    if job is None or job.progress.eta_s is None or done >= 1 or record.due_s is None:
        return fraction, None
    per_share_s = job.progress.eta_s / (_PREPROCESS_SHARE * (1 - done))
    return fraction, job.progress.eta_s + per_share_s * train


def _jobs(record: AvatarRecord) -> list[JobOf]:
    both: tuple[tuple[str, JobKind], ...] = (
        (record.preprocess_job, "preprocess"),
        (record.train_job, "train"),
    )
    return [JobOf(id=job_id, type=kind) for job_id, kind in both if job_id]


def _queue_and_id(record: AvatarRecord) -> tuple[JobKind, str]:
    return ("train" if record.train_job else "preprocess", record.job)


def _job_of(record: AvatarRecord) -> tuple[str, str] | None:
    return _queue_and_id(record) if record.job and record.due_s is not None else None


async def _current(gateway: Gateway, record: AvatarRecord) -> Avatar:
    target = _job_of(record)
    return avatar_view(gateway, record, await find_job(gateway, *target) if target else None)


def _quota(caller: Caller) -> Limit:
    assert caller.limits is not None
    most = caller.limits.avatars
    error = LimitReached(
        f"more than {most} avatars",
        reason="QUOTA_AVATARS",
        remedy="Delete avatars that are no longer needed.",
        retry_after_s=_FULL_RETRY_S,
    )
    return Limit("index", most, error)
