"""A training run's checkpoints in the object store, from which any worker goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis.exceptions import RedisError

from services.common.artifacts import download_folder, upload_folder
from services.common.errors import CorruptData, NotFound, ServiceError
from services.common.job_progress import JobProgress
from services.common.jobs import JobContext, JobQueue, JobSettings, connect
from services.common.storage import ObjectStore
from services.trainer.job import (
    JOB_TYPE,
    TrainingCheckpoint,
    checkpoints_prefix,
    dump_checkpoint,
    load_checkpoint,
)


class Checkpoints:
    """Uploads the run's checkpoints; each is a folder that is never written again."""

    def __init__(
        self, context: JobContext, progress: JobProgress, store: ObjectStore, redis_url: str
    ) -> None:
        self._context, self._progress, self._store = context, progress, store
        self._redis_url = redis_url
        self._prefix = f"{checkpoints_prefix(context.job)}/attempts/{context.attempt}"
        self._count = 0
        self._uploaded: list[str] = []

    def restore(self, folder: Path) -> bool:
        """Write the last attempt's checkpoint to ``folder``; whether there is one."""
        checkpoint = load_checkpoint(self._context.checkpoint)
        if checkpoint is None:
            return False
        try:
            download_folder(self._store, checkpoint.folder, folder)
        except (NotFound, CorruptData) as error:  # swept before the job was requeued, or damaged
            self._progress.log(f"training begins anew: {error}")
            return False
        self._progress.log(f"going on from {checkpoint.folder.prefix}")
        return True

    def keep(self, folder: Path) -> None:
        """Upload a new checkpoint. Where the store is away, training goes on to the next one."""
        if self._context.stopping:  # there is no time, and the job's record takes no more
            return
        prefix = f"{self._prefix}/{self._count}"
        self._count += 1
        try:
            artifact = upload_folder(self._store, folder, prefix)
            self._remove_older()
        except ServiceError as error:
            self._progress.log(f"checkpoint not kept: {error}")
            return
        self._uploaded.append(prefix)
        self._context.save_checkpoint(dump_checkpoint(TrainingCheckpoint(artifact)))

    def _remove_older(self) -> None:
        """Only what the job's record does not name any more: it may be behind, or Redis away."""
        try:
            named = load_checkpoint(asyncio.run(self._recorded()))
        except (RedisError, ServiceError):
            return
        if named is None or named.folder.prefix not in self._uploaded:
            return
        while self._uploaded[0] != named.folder.prefix:
            self._store.delete_prefix(self._uploaded[0])
            self._uploaded.pop(0)

    async def _recorded(self) -> str:
        async with connect(self._redis_url) as redis:
            queue = JobQueue(redis, JOB_TYPE, JobSettings())
            return (await queue.get(self._context.job.id)).checkpoint
