"""Jobs of all queues, under the avatars and dubs that they are for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.common.errors import FailedPrecondition, NotFound
from services.common.job_progress import shown_picture
from services.common.jobs import Job, JobState
from services.gateway.auth import CallerDep
from services.gateway.core import Gateway, GatewayDep
from services.gateway.model import AvatarRecord, DubRecord, JobLink, now_s
from services.gateway.restart import RESTARTABLE, restart_job
from services.gateway.sse import EVENT_STREAM, Shown, Source, stream
from services.gateway.views import (
    LimitQuery,
    Page,
    ProblemView,
    TokenQuery,
    View,
    errors,
    maybe_moment,
    moment,
    problem_view,
    signed,
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobKind = Literal["preprocess", "train", "dub"]
_SCANNED = 2000


class JobView(View):
    """A job as it stands."""

    id: str
    type: JobKind
    state: JobState = Field(
        description="`waiting`: the last attempt failed, the next is due after a pause; "
        "`dead`: all attempts failed"
    )
    attempt: int
    max_attempts: int
    stage: str
    fraction: float = Field(description="of the whole job, 0 to 1")
    eta_s: float | None
    message: str = Field(description="why the last attempt did not succeed; empty if none failed")
    metrics: dict[str, float]
    preview_url: str | None
    error: ProblemView | None = Field(description="of a job that has ended without success")
    resource: str = Field(examples=["avatars/av_123"])
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class JobLog(View):
    """The last lines that a job logged."""

    first: int = Field(description="number of the first line here")
    lines: list[str]


@router.get("", responses=errors(422), summary="List jobs")
async def list_jobs(
    caller: CallerDep,
    gateway: GatewayDep,
    limit: LimitQuery = 50,
    token: TokenQuery = "",
    type: JobKind | None = None,
    state: JobState | None = None,
) -> Page[JobView]:
    """Newest first. With a filter a page may hold fewer than `limit` and still not be the last."""
    data: list[JobView] = []
    scanned = 0
    while True:
        links, token = await gateway.tables.jobs.page(caller.tenant, limit - len(data), token)
        scanned += len(links)
        wanted = [link for link in links if type in (None, link.type)]
        found = await find_jobs(gateway, [(link.type, link.id) for link in wanted])
        data += [
            job_view(gateway, link, found[link.id])
            for link in wanted
            if link.id in found and state in (None, found[link.id].state)
        ]
        if not token or len(data) == limit or scanned >= _SCANNED:
            return Page(data=data, next_token=token or None)


@router.get("/{job_id}", responses=errors(404), summary="One job")
async def get_job(job_id: str, caller: CallerDep, gateway: GatewayDep) -> JobView:
    """As it stands now."""
    link = await gateway.tables.jobs.get(caller.tenant, job_id)
    return job_view(gateway, link, await _job(gateway, link))


@router.get("/{job_id}/log", responses=errors(404), summary="The log of a job")
async def get_log(job_id: str, caller: CallerDep, gateway: GatewayDep, after: int = 0) -> JobLog:
    """Lines from number `after` on; the last few hundred are kept."""
    link = await gateway.tables.jobs.get(caller.tenant, job_id)
    tail = await gateway.queues[link.type].log(link.id, after=max(0, after))
    return JobLog(first=tail.first, lines=list(tail.lines))


@router.post("/{job_id}/cancel", responses=errors(404), summary="Stop a job")
async def cancel_job(job_id: str, caller: CallerDep, gateway: GatewayDep) -> JobView:
    """A waiting job ends at once, a running one within seconds; an ended one stays as it is."""
    link = await gateway.tables.jobs.get(caller.tenant, job_id)
    await _job(gateway, link)
    return job_view(gateway, link, await gateway.queues[link.type].cancel(link.id))


@router.post("/{job_id}/requeue", responses=errors(404, 409), summary="Give an ended job a new try")
async def requeue_job(job_id: str, caller: CallerDep, gateway: GatewayDep) -> JobView:
    """For jobs that are dead, failed or cancelled; their avatar or dub is under way again."""
    link = await gateway.tables.jobs.get(caller.tenant, job_id)
    job = await _job(gateway, link)
    if job.state not in RESTARTABLE:
        raise FailedPrecondition(
            f"job {job_id} is {job.state}",
            reason="JOB_NOT_REQUEUEABLE",
            remedy="Only dead, failed and cancelled jobs can be queued again.",
        )
    await restart_job(gateway, link)
    return job_view(gateway, link, await gateway.queues[link.type].get(link.id))


@router.get(
    "/{job_id}/events", response_class=Response, responses={**errors(404), **EVENT_STREAM},
    summary="Follow a job",
)  # fmt: skip
async def job_events(
    job_id: str, request: Request, caller: CallerDep, gateway: GatewayDep
) -> Response:
    """Each event's data is the whole job; the stream ends after the final state."""
    link = await gateway.tables.jobs.get(caller.tenant, job_id)

    def show(link: JobLink, job: Job | None) -> Shown:
        if job is None:  # forgotten meanwhile
            raise gateway.tables.jobs.missing(job_id)
        view = job_view(gateway, link, job)
        return Shown(view, str(job.revision), final=job.state.terminal)

    async def load() -> JobLink:
        return await gateway.tables.jobs.get(caller.tenant, job_id)

    source = Source(link.member, load, lambda link: (link.type, link.id), show)
    return await stream(gateway, request, source)


async def link_job(
    gateway: Gateway, kind: JobKind, job_id: str, of: AvatarRecord | DubRecord
) -> None:
    """Make a job findable; doing it twice does no harm."""
    await gateway.tables.jobs.create(link_of(kind, job_id, of))


def link_of(kind: JobKind, job_id: str, of: AvatarRecord | DubRecord) -> JobLink:
    """That this job is for that."""
    resource = f"{of.KIND}s/{of.id}"
    return JobLink(id=job_id, tenant=of.tenant, created_s=now_s(), type=kind, resource=resource)


async def find_job(gateway: Gateway, kind: str, job_id: str) -> Job | None:
    """The job, or None where it is not made yet or forgotten."""
    if not job_id:
        return None
    try:
        return await gateway.queues[kind].get(job_id)
    except NotFound:
        return None


async def find_jobs(gateway: Gateway, targets: Iterable[tuple[str, str]]) -> dict[str, Job]:
    """Those of the jobs that are there, by id; ``targets`` are queues and ids."""
    by_queue: dict[str, list[str]] = {}
    for queue, job_id in targets:
        by_queue.setdefault(queue, []).append(job_id)
    found: dict[str, Job] = {}
    for queue, ids in by_queue.items():
        found |= {job.id: job for job in await gateway.queues[queue].many(ids)}
    return found


async def _job(gateway: Gateway, link: JobLink) -> Job:
    job = await find_job(gateway, link.type, link.id)
    if job is None and link.type == "dub":
        dub = await gateway.tables.dubs.find(link.tenant, link.id)
        if dub is not None and not dub.enqueued and dub.phase == "queued":
            raise FailedPrecondition(
                f"job {link.id} is being made",
                reason="JOB_NOT_MADE_YET",
                remedy="Ask again in a moment.",
            )
    if job is None:
        raise gateway.tables.jobs.missing(link.id)
    return job


def job_view(gateway: Gateway, link: JobLink, job: Job) -> JobView:
    """What a job looks like from outside."""
    ended = job.state.terminal and job.state is not JobState.SUCCEEDED
    return JobView(
        id=link.id,
        type=link.type,
        state=job.state,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        stage=job.progress.stage,
        fraction=job.progress.fraction,
        eta_s=job.progress.eta_s,
        message=job.failure.message if job.failure else "",
        metrics=dict(job.progress.metrics),
        preview_url=signed(gateway, shown_picture(job.progress.preview)),
        error=problem_view(job.failure) if ended else None,
        resource=link.resource,
        created_at=moment(job.created_s),
        started_at=maybe_moment(job.started_s),
        ended_at=maybe_moment(job.finished_s),
    )
