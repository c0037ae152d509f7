"""Checkpoints and version numbers against a real Redis and a real S3 server, without training."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, TypeAdapter
from redis import Redis

from services.common.artifacts import ArtifactRef
from services.common.job_progress import JobProgress
from services.common.jobs import JobContext, JobQueue, JobSettings, connect
from services.common.jobs.connect import connect_worker
from services.common.jobs.leases import Ending, Leases, Outcome
from services.common.jobs.model import parse_job
from services.common.settings import RpcSettings, StorageSettings
from services.common.storage import ObjectRef, ObjectStore
from services.trainer.checkpoints import Checkpoints
from services.trainer.job import (
    JOB_TYPE,
    Preset,
    TrainingCheckpoint,
    TrainingResult,
    TrainingTask,
    dump_checkpoint,
    load_checkpoint,
)
from services.trainer.settings import TrainerSettings
from services.trainer.versions import known_version, version_number
from services.trainer.worker import TrainingWork

SETTINGS = JobSettings(report_s=0.01, backoff_base_s=0.0)
TENANT = "checkpoints"
AVATAR = f"tenants/{TENANT}/avatars/ann"


class Attempts:
    """One training job, leased again and again."""

    def __init__(self, redis_url: str, store: ObjectStore) -> None:
        self._url, self._store = redis_url, store
        self._redis = connect_worker(redis_url)
        self._leases = Leases(self._redis, JOB_TYPE.prefix, SETTINGS)
        self._open: list[JobContext] = []
        self._lifelines: list[int] = []
        self.job_id = asyncio.run(self._enqueue())

    async def _enqueue(self) -> str:
        listing = ObjectRef(f"{AVATAR}/dataset/_listing.json", 1, "0" * 64)
        task = TrainingTask(AVATAR, ArtifactRef(f"{AVATAR}/dataset", listing), Preset.DEMO, "x")
        async with connect(self._url) as redis:
            queue = JobQueue(redis, JOB_TYPE, SETTINGS)
            return (await queue.enqueue(TENANT, task, publish_as=AVATAR)).job.id

    async def _cancel(self) -> None:
        async with connect(self._url) as redis:
            await JobQueue(redis, JOB_TYPE, SETTINGS).cancel(self.job_id)

    def begin(self, store: ObjectStore | None = None) -> tuple[JobContext, Checkpoints]:
        lease = None
        while lease is None:
            self._leases.maintain()
            lease = self._leases.acquire(f"worker{len(self._open)}")
        read, write = os.pipe()
        self._lifelines += [read, write]
        context = JobContext(lease.job, self._leases, SETTINGS, read)
        context.start()
        self._open.append(context)
        progress = JobProgress(context, {"train": 1.0})
        return context, Checkpoints(context, progress, store or self._store, self._url)

    def fail(self) -> None:
        self._open[-1].close()
        self._leases.finish(self._open[-1].job, Ending(Outcome.RETRY, reason="TEST"))

    def recorded(self) -> str:
        """The folder that the job's record names."""
        text = self._redis.hget(f"{JOB_TYPE.prefix}job:{self.job_id}", "checkpoint")
        checkpoint = load_checkpoint(str(text or ""))
        return checkpoint.folder.prefix if checkpoint else ""

    def until_recorded(self, prefix: str) -> None:
        ended = threading.Event()
        for _ in range(1000):
            if self.recorded() == prefix:
                return
            ended.wait(0.01)
        pytest.fail(f"the record never named {prefix}")

    def log(self) -> str:
        return "\n".join(self._redis.lrange(f"{JOB_TYPE.prefix}job:{self.job_id}:log", 0, -1))

    def close(self) -> None:
        for context in self._open:
            context.close()
        asyncio.run(self._cancel())
        self._leases.finish(self._open[-1].job, Ending(Outcome.FAILED, reason="TEST"))
        for fd in self._lifelines:
            os.close(fd)
        self._redis.close()


@pytest.fixture
def attempts(redis_url: str, object_store: ObjectStore) -> Iterator[Attempts]:
    attempts = Attempts(redis_url, object_store)
    yield attempts
    attempts.close()


def folder_at(path: Path, step: int) -> Path:
    path.mkdir(exist_ok=True)
    (path / "state.json").write_text(str(step))
    return path


def prefix(job_id: str, attempt: int, number: int) -> str:
    return f"{AVATAR}/checkpoints/{job_id}/attempts/{attempt}/{number}"


def test_the_next_attempt_goes_on_from_the_newest_checkpoint_and_older_ones_go(
    attempts: Attempts, object_store: ObjectStore, tmp_path: Path
) -> None:
    _, first = attempts.begin()
    assert not first.restore(tmp_path / "none")
    for number in range(4):
        first.keep(folder_at(tmp_path / "work", number))
        attempts.until_recorded(prefix(attempts.job_id, 1, number))
    stored = {found.key for found in object_store.list(f"{AVATAR}/checkpoints/{attempts.job_id}")}
    numbers = {key.split("/")[-2] for key in stored}
    assert numbers == {"2", "3"}  # the record may have been one behind when the last one came
    attempts.fail()
    _, second = attempts.begin()
    assert second.restore(tmp_path / "restored")
    assert (tmp_path / "restored" / "state.json").read_text() == "3"


def test_where_the_store_is_away_the_last_checkpoint_stays(
    attempts: Attempts, storage_settings: StorageSettings, tmp_path: Path
) -> None:
    _, first = attempts.begin()
    first.keep(folder_at(tmp_path / "work", 7))
    attempts.until_recorded(prefix(attempts.job_id, 1, 0))
    attempts.fail()
    away = ObjectStore(storage_settings.model_copy(update={"url": "http://127.0.0.1:1"}))
    context, second = attempts.begin(away)
    second.keep(folder_at(tmp_path / "work", 8))
    attempts.fail()
    assert attempts.recorded() == prefix(attempts.job_id, 1, 0)
    assert "checkpoint not kept" in attempts.log()
    assert context.attempt == 2


def test_a_checkpoint_that_was_swept_means_beginning_anew(
    attempts: Attempts, object_store: ObjectStore, tmp_path: Path
) -> None:
    _, first = attempts.begin()
    first.keep(folder_at(tmp_path / "work", 1))
    attempts.until_recorded(prefix(attempts.job_id, 1, 0))
    object_store.delete_prefix(f"{AVATAR}/checkpoints/{attempts.job_id}")
    attempts.fail()
    _, second = attempts.begin()
    assert not second.restore(tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_an_attempt_that_is_to_stop_keeps_nothing_more(
    attempts: Attempts, object_store: ObjectStore, tmp_path: Path
) -> None:
    context, first = attempts.begin()
    context.request_stop()
    first.keep(folder_at(tmp_path / "work", 1))
    assert object_store.list(f"{AVATAR}/checkpoints/{attempts.job_id}") == ()


@pytest.mark.parametrize(
    ("state", "kept"),
    [("dead", ["checkpoint", "preview"]), ("failed", ["preview"]), ("cancelled", ["preview"]),
     ("succeeded", ["bundle", "preview"])],
)  # fmt: skip
def test_an_ended_job_leaves_what_its_record_shows_and_no_more(
    state: str, kept: list[str], redis_url: str, storage_settings: StorageSettings,
    object_store: ObjectStore, tmp_path: Path,
) -> None:  # fmt: skip
    avatar, job_id = f"tenants/swept/avatars/{state}", f"job-{state}"
    with connect_worker(redis_url) as redis:
        assert version_number(redis, avatar, job_id) == 1

    def store(key: str) -> ObjectRef:
        for attempt in (1, 2):
            found = object_store.put_bytes(key.format(attempt), b"x")
        return found

    checkpoint = store(f"{avatar}/checkpoints/{job_id}/attempts/{{}}/0/_listing.json")
    preview = store(f"{avatar}/previews/{job_id}/attempts/{{}}/000250.jpg")
    bundle = store(f"{avatar}/bundles/v1/attempts/{{}}/_listing.json")
    other = object_store.put_bytes(f"{avatar}/bundles/v2/attempts/1/_listing.json", b"another job")
    result = TrainingResult(1, ArtifactRef(bundle.key.rpartition("/")[0], bundle), {})
    fields = {
        "id": job_id, "tenant": "swept", "state": state, "attempt": "2", "failures": "1",
        "max_attempts": "2", "publish_as": avatar, "created_ms": "0", "updated_ms": "0",
        "revision": "1", "preview": TypeAdapter(ObjectRef).dump_json(preview).decode(),
        "checkpoint": dump_checkpoint(
            TrainingCheckpoint(ArtifactRef(checkpoint.key.rpartition("/")[0], checkpoint))
        ),
    }  # fmt: skip
    if state == "succeeded":
        fields["result"] = JOB_TYPE.dump_result(result)
    settings = TrainerSettings(
        storage=storage_settings, redis_url=SecretStr(redis_url), work_dir=tmp_path,
        rpc=RpcSettings(token=SecretStr("token")),
    )  # fmt: skip
    TrainingWork(settings).sweep(parse_job(fields))
    refs = {"checkpoint": checkpoint, "preview": preview, "bundle": bundle}
    left = {found.key for found in object_store.list(avatar)}
    assert left == {refs[name].key for name in kept} | {other.key}


def test_versions_count_from_one_and_a_job_keeps_its_number(redis_url: str) -> None:
    with connect_worker(redis_url) as redis:
        assert isinstance(redis, Redis)
        avatar = "tenants/versions/avatars/ann"
        assert known_version(redis, avatar, "a") is None
        assert [version_number(redis, avatar, job) for job in "abac"] == [1, 2, 1, 3]
        assert known_version(redis, avatar, "b") == 2
        assert version_number(redis, "tenants/versions/avatars/bob", "b") == 1
