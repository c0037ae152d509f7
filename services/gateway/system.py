"""How the installation is doing, for its operator: services, queues, and what is kept."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any, cast

from fastapi import APIRouter
from pydantic import Field

from services.common.jobs import JobState
from services.common.jobs.connect import connect_worker
from services.common.jobs.metrics import queue_stats
from services.common.rpc.health import health
from services.gateway.auth import OperatorDep
from services.gateway.core import QUEUES, Gateway, GatewayDep
from services.gateway.views import View, errors

router = APIRouter(prefix="/v1/system", tags=["system"])

_KINDS = ("upload", "avatar", "dub", "delivery")
_HEALTH_S = 3.0


class ServiceState(View):
    """A service that the gateway calls."""

    name: str = Field(examples=["trainer"])
    state: str = Field(
        description="`SERVING`, or what it says instead, or why it cannot be reached"
    )


class QueueView(View):
    """A job queue, over all tenants."""

    name: str
    jobs: dict[JobState, int] = Field(description="how many are in each state")
    oldest_queued_s: float = Field(description="how long the first in the queue has waited")
    longest_running_s: float


class System(View):
    """The installation at this moment."""

    version: str
    services: list[ServiceState]
    queues: list[QueueView]
    records: dict[str, dict[str, int]] = Field(
        description="uploads, avatars, dubs and webhook deliveries by state, over all tenants"
    )


@router.get("", responses=errors(403), summary="Services, queues and records")
async def get_system(caller: OperatorDep, gateway: GatewayDep) -> System:
    """For the operator's key only: it looks over all tenants."""
    services, queues, records = await asyncio.gather(
        _services(gateway), asyncio.to_thread(_queues, gateway), _records(gateway)
    )
    return System(version=version("synctalk"), services=services, queues=queues, records=records)


async def _services(gateway: Gateway) -> list[ServiceState]:
    settings = gateway.settings
    targets = {"preprocess": settings.preprocess_target, "trainer": settings.trainer_target}
    said = await asyncio.gather(
        *(asyncio.to_thread(health, target, settings.rpc, _HEALTH_S) for target in targets.values())
    )
    return [ServiceState(name=name, state=state) for name, state in zip(targets, said, strict=True)]


def _queues(gateway: Gateway) -> list[QueueView]:
    with connect_worker(gateway.settings.redis_url.get_secret_value()) as redis:
        found = {name: queue_stats(redis, name) for name in QUEUES}
    return [
        QueueView(
            name=name,
            jobs=dict(stats.jobs),
            oldest_queued_s=stats.oldest_s.get(JobState.QUEUED, 0.0),
            longest_running_s=stats.oldest_s.get(JobState.RUNNING, 0.0),
        )
        for name, stats in found.items()
    ]


async def _records(gateway: Gateway) -> dict[str, dict[str, int]]:
    states = {}
    for kind in _KINDS:
        found = await cast(Any, gateway.redis.hgetall(f"gw:states:{kind}"))
        states[kind] = {state: int(number) for state, number in found.items()}
    return states
