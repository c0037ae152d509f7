"""What all parts of the gateway share, opened once a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common.dubs import DUB_JOBS, DubOutput, DubRequest
from services.common.jobs import Job, JobQueue, JobType, JobWatcher, connect
from services.common.storage import ObjectStore
from services.gateway.audit import Audit
from services.gateway.changes import Changes
from services.gateway.clients import Services
from services.gateway.erasure_model import ErasureRecord, ReceiptRecord
from services.gateway.live.desk import LiveDesk
from services.gateway.model import (
    AvatarRecord,
    ConsentRecord,
    DeliveryRecord,
    DubRecord,
    EventRecord,
    JobLink,
    KeyRecord,
    SessionRecord,
    UploadRecord,
    WebhookRecord,
)
from services.gateway.oidc import TokenChecker
from services.gateway.records import Table
from services.gateway.settings import GatewaySettings

QUEUES = ("preprocess", "train", "dub")


class Tables:
    """Everything that is kept."""

    def __init__(self, redis: Redis) -> None:
        self.keys = Table(redis, KeyRecord)
        self.consents = Table(redis, ConsentRecord)
        self.uploads = Table(redis, UploadRecord)
        self.avatars = Table(redis, AvatarRecord)
        self.dubs = Table(redis, DubRecord)
        self.jobs = Table(redis, JobLink)
        self.webhooks = Table(redis, WebhookRecord)
        self.events = Table(redis, EventRecord)
        self.deliveries = Table(redis, DeliveryRecord)
        self.erasures = Table(redis, ErasureRecord)
        self.receipts = Table(redis, ReceiptRecord)
        self.sessions = Table(redis, SessionRecord)


@dataclass(frozen=True)
class Gateway:
    """Settings, database, object store, queues and services."""

    settings: GatewaySettings
    redis: Redis
    tables: Tables
    store: ObjectStore
    queues: Mapping[str, JobQueue[Any, Any]]
    watchers: Mapping[str, JobWatcher]
    changes: Changes
    services: Services
    live: LiveDesk
    audit: Audit
    tokens: TokenChecker | None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    streams: Counter[str] = field(default_factory=Counter)  # of events, that each tenant follows

    @property
    def dub_queue(self) -> JobQueue[DubRequest, DubOutput]:
        """The queue that the gateway itself puts jobs in."""
        return self.queues["dub"]


@asynccontextmanager
async def open_gateway(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """Connect to everything; nothing needs to answer yet but Redis."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(connect(settings.redis_url.get_secret_value()))
        tables = Tables(redis)
        watchers = {
            name: await stack.enter_async_context(
                JobWatcher(redis, _job_type(name), _poker(tables))
            )
            for name in QUEUES
        }
        changes, audit = Changes(redis), Audit(redis)
        await stack.enter_async_context(changes.following())
        services = Services(settings.preprocess_target, settings.trainer_target, settings.rpc)
        yield Gateway(
            settings=settings,
            redis=redis,
            tables=tables,
            store=ObjectStore(settings.storage),
            queues={name: JobQueue(redis, _job_type(name), settings.jobs) for name in QUEUES},
            watchers=watchers,
            changes=changes,
            services=await stack.enter_async_context(services),
            live=await stack.enter_async_context(
                LiveDesk(settings, redis, tables.sessions, tables.avatars, changes, audit)
            ),
            audit=audit,
            tokens=TokenChecker(settings.oidc) if settings.oidc else None,
        )


def _poker(tables: Tables) -> Callable[[Job], Awaitable[None]]:
    """Has the record looked at whose job ended, or has shown the report on its footage."""
    reported: set[str] = set()

    async def poke(job: Job) -> None:
        new_report = bool(job.checkpoint) and job.id not in reported
        if job.state.terminal:
            reported.discard(job.id)
        elif new_report:
            reported.add(job.id)
        else:
            return
        _, tenant, collection, record_id = job.publish_as.split("/")
        with contextlib.suppress(RedisError):  # it is looked at every now and then anyway
            await (tables.avatars if collection == "avatars" else tables.dubs).poke(
                tenant, record_id
            )

    return poke


def _job_type(queue: str) -> JobType[Any, Any]:
    """Payloads and results of the other queues are known to their services only."""
    return DUB_JOBS if queue == DUB_JOBS.queue else JobType(queue, object, object)


async def get_gateway(request: Request) -> Gateway:
    """The one of this process. Not a plain function: FastAPI would run that in a thread."""
    return cast(Gateway, request.app.state.gateway)


GatewayDep = Annotated[Gateway, Depends(get_gateway)]
