"""What was erased goes from workers' disks, too: real workers, with what earlier ones left."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from suite import Suite, wait_until

from services.common.consents import erasure_keys
from services.common.erased_copies import ErasedCopies
from services.common.jobs.connect import connect_worker
from services.common.local import LocalServers
from services.common.work_folders import WorkFolders


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect_worker(redis_url) as client:
        yield client


@pytest.fixture
def suite(local_servers: LocalServers, tmp_path: Path) -> Iterator[Suite]:
    suite = Suite(local_servers, tmp_path)
    yield suite
    suite.stop()


def person() -> str:
    return f"tenants/copies-{uuid.uuid4().hex}/avatars/av_1"


def keep_copy(folders: WorkFolders, name: str, of: str) -> None:
    with folders.own(name, of=of) as folder:
        (folder / "frames.mp4").write_text("a face")


def erase(redis: Redis, name: str) -> None:
    """As the gateway says it for good."""
    _, tenant, _, avatar = name.split("/")
    redis.set(erasure_keys(tenant, avatar)[1], "{}")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(
    ("worker", "kind"),
    [
        ("services.trainer work", "datasets"),
        ("services.trainer work", "training"),
        ("services.preprocess work", "preprocess"),
    ],
)
def test_a_worker_removes_copies_of_whom_was_erased_while_it_was_down_and_while_it_runs(
    suite: Suite, redis: Redis, tmp_path: Path, worker: str, kind: str
) -> None:
    root = tmp_path / "work" / kind
    folders, ann, bob, cid = WorkFolders(root), person(), person(), person()
    for name, of in (("of-ann", ann), ("of-bob", bob), ("of-cid", cid)):
        keep_copy(folders, name, of)
    erase(redis, ann)
    suite.start(worker, WORK_DIR=str(tmp_path / "work"))
    asyncio.run(wait_until(lambda: names(root) == {"of-bob", "of-cid"}))
    erase(redis, bob)
    asyncio.run(wait_until(lambda: names(root) == {"of-cid"}))


def test_what_others_still_need_or_somebody_uses_stays(
    redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    folders, ann, bob = WorkFolders(tmp_path), person(), person()
    look = ErasedCopies(redis_url, [(folders, 3600)])
    for of in (ann, bob):
        keep_copy(folders, "same content", of)
    keep_copy(folders, "of nobody who is known", "")
    with folders.own("in use", of=ann):
        erase(redis, ann)
        look()
        assert names(tmp_path) == {"same content", "of nobody who is known", "in use"}
    look()
    assert names(tmp_path) == {"same content", "of nobody who is known"}
    erase(redis, bob)
    look()
    assert names(tmp_path) == {"of nobody who is known"}
