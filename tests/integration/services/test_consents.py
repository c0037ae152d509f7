"""Whether a consent stands, as trainers and renderers ask Redis."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from services.common.artifacts import ArtifactRef
from services.common.consents import (
    Consent,
    ConsentReader,
    Scope,
    Shown,
    consent_key,
    require_consent,
)
from services.common.errors import (
    FailedPrecondition,
    PermissionDenied,
    ServiceError,
    Unavailable,
)
from services.common.jobs.connect import connect, connect_worker
from services.common.settings import RpcSettings, StorageSettings
from services.common.storage import ObjectRef
from services.gateway.model import ConsentRecord
from services.gateway.records import Table
from services.renderer.consents import ConsentGuard, Hold
from services.trainer.job import Preset, TrainingTask
from services.trainer.settings import TrainerSettings
from services.trainer.worker import TrainingWork
from synctalk.errors import Cancelled, InputError

NAME = "tenants/askers/consents/con_1"


def never() -> None:
    raise AssertionError("Redis was away")


def stored(redis_url: str, consent: Consent, name: str = NAME) -> None:
    _, tenant, _, consent_id = name.split("/")
    with connect_worker(redis_url) as redis:
        redis.set(consent_key(tenant, consent_id), consent.model_dump_json())


@pytest.mark.parametrize(
    ("consent", "reason"),
    [
        (Consent(revoked_s=1.0), "CONSENT_REVOKED"),
        (Consent(phase="in_review"), "CONSENT_IN_REVIEW"),
        (Consent(scope=(Scope.DUB,)), "CONSENT_OUT_OF_SCOPE"),
    ],
)
def test_a_worker_does_not_begin_without_consent(
    redis_url: str, consent: Consent, reason: str
) -> None:
    stored(redis_url, consent)
    with connect_worker(redis_url) as redis, pytest.raises(FailedPrecondition) as refused:
        require_consent(redis, "askers", NAME, Scope.AVATAR, never)
    assert refused.value.reason == reason


def test_a_worker_begins_with_consent_of_its_own_tenant_only(redis_url: str) -> None:
    stored(redis_url, Consent())
    with connect_worker(redis_url) as redis:
        require_consent(redis, "askers", NAME, Scope.AVATAR, never)
        for name in (NAME, None):
            with pytest.raises(PermissionDenied):
                require_consent(redis, "others", name, Scope.AVATAR, never)


def later_release(redis_url: str, name: str) -> None:
    """A record with a scope that this release does not know."""
    _, tenant, _, consent_id = name.split("/")
    with connect_worker(redis_url) as redis:
        redis.set(consent_key(tenant, consent_id), '{"scope": ["avatar", "dub", "to sing"]}')


def test_a_worker_leaves_a_consent_that_it_cannot_read_to_others(redis_url: str) -> None:
    later_release(redis_url, NAME)
    with connect_worker(redis_url) as redis, pytest.raises(Unavailable) as refused:
        require_consent(redis, "askers", NAME, Scope.AVATAR, never)
    assert refused.value.reason == "CONSENT_UNREADABLE"


def test_a_renderer_goes_on_looking_whatever_it_meets(redis_url: str) -> None:
    """A record that it cannot read, a fault of its own; and then a revocation."""
    names = [f"tenants/lookers/consents/con_{number}" for number in range(3)]
    for name in names:
        stored(redis_url, Consent(), name)
    dropped: list[str] = []

    def drop(key: str) -> None:
        dropped.append(key)
        raise OSError("the disk is gone")

    async def fallen(hold: Hold) -> str:
        async with asyncio.timeout(15):
            while True:
                try:
                    hold.check()
                except ServiceError as why:
                    return why.reason
                await asyncio.sleep(0.05)

    async def work() -> None:
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(connect(redis_url))
            guard = ConsentGuard(redis, list, drop)
            holds = [
                await stack.enter_async_context(
                    guard.held(Shown("lookers", f"av_{number}", name), Scope.LIVE, str(number))
                )
                for number, name in enumerate(names)
            ]
            later_release(redis_url, names[0])
            assert await fallen(holds[0]) == "CONSENT_UNREADABLE"
            holds[1].check()
            stored(redis_url, Consent(revoked_s=1.0), names[1])
            assert await fallen(holds[1]) == "CONSENT_REVOKED"
            holds[2].check()
            with pytest.raises(Unavailable):
                await stack.enter_async_context(guard.held(holds[0].shown, None, "0"))

    asyncio.run(work())
    assert "0" in dropped


def test_while_redis_is_away_a_worker_waits_until_it_is_told_to_stop() -> None:
    asked = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise Cancelled("stop")

    with connect_worker("redis://127.0.0.1:1") as redis, pytest.raises(Cancelled):
        require_consent(redis, "askers", NAME, Scope.AVATAR, stop)


def test_what_the_gateway_writes_is_what_others_read(redis_url: str) -> None:
    async def work() -> dict[Shown, ServiceError]:
        async with connect(redis_url) as redis:
            table = Table(redis, ConsentRecord)
            for number, more in enumerate(({}, {"revoked_s": 1.0}, {"phase": "draft"})):
                record = ConsentRecord(
                    id=f"con_{number}", tenant="writers", created_s=0.0, subject_name="Ann",
                    statement="", granted_by="Ann", expires_s=None,
                )  # fmt: skip
                await table.create(record.model_copy(update=more))
            shown = [
                Shown("writers", "ann", f"tenants/writers/consents/con_{number}")
                for number in range(4)
            ]
            return await ConsentReader(redis).refusals(dict.fromkeys(shown, Scope.LIVE))

    refused = asyncio.run(work())
    assert [why.reason for why in refused.values()] == [
        "CONSENT_REVOKED", "CONSENT_DRAFT", "CONSENT_NOT_FOUND",
    ]  # fmt: skip


def test_a_training_job_without_consent_fails_for_good(
    redis_url: str, storage_settings: StorageSettings, tmp_path: Path
) -> None:
    settings = TrainerSettings(
        storage=storage_settings, redis_url=SecretStr(redis_url), work_dir=tmp_path,
        rpc=RpcSettings(token=SecretStr("none")),
    )  # fmt: skip
    dataset = ArtifactRef("tenants/t/d", ObjectRef("tenants/t/d/listing.json", 1, "0" * 64))
    task = TrainingTask("tenants/t/avatars/a", dataset, Preset.DEMO, "tenants/t/consents/none")
    job = SimpleNamespace(id="job-1", tenant="t", attempt=1, publish_as=task.avatar)
    context: Any = SimpleNamespace(job=job, attempt=1, checkpoint="", check=never)
    with pytest.raises(InputError) as refused:  # the one that is not tried again
        TrainingWork(settings).handle(context, task)
    assert refused.value.reason == "CONSENT_NOT_FOUND"
