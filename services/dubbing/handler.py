"""What the worker's child does with a job, and what is swept after it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from services.common.dubs import DUB_JOBS, DubOutput, DubRequest, dub_prefix
from services.common.erased_copies import ErasedCopies
from services.common.jobs import Finished, Job, JobContext
from services.common.storage import ObjectStore
from services.common.sweeping import sweep_all_but
from services.common.work_folders import WorkFolders
from services.dubbing.settings import DubbingSettings

T = TypeVar("T")
_LOOK_S = 0.2


class DubbingWork:
    """Handler, sweep and account of the queue."""

    def __init__(self, settings: DubbingSettings) -> None:
        self._settings = settings
        self._folders = WorkFolders(settings.work_dir / "dubbing")
        # What workers that were killed have left is of no use to others.
        self.tidy = ErasedCopies(settings.redis_url.get_secret_value(), [(self._folders, 0)])

    def handle(self, context: JobContext, request: DubRequest) -> DubOutput:
        """Make the dub; stops when the job is to stop."""
        from services.dubbing.dub import Dub  # here: gRPC must not be imported before the fork

        store = ObjectStore(self._settings.storage)
        of = dub_prefix(context.job.tenant, context.job.id)
        with self._folders.own(_folder(context.job), of=of) as folder:
            dub = Dub(context, request, store, self._settings, folder)
            return asyncio.run(_until_stopped(context, dub.make()))

    def on_finished(self, finished: Finished) -> None:
        """Clean up after the child, which may have been killed."""
        self._folders.remove(_folder(finished.job))

    def sweep(self, job: Job) -> None:
        """Remove what the attempts of an ended job wrote and its result does not name."""
        kept: list[str] = []
        if job.result_json is not None:
            output = DUB_JOBS.load_result(job.result_json)
            parts = (
                output.video, output.preview, output.captions_vtt, output.captions_srt,
                output.manifest,
            )  # fmt: skip
            kept = [part.key for part in parts if part is not None]
        prefix = f"{dub_prefix(job.tenant, job.id)}/attempts"
        sweep_all_but(ObjectStore(self._settings.storage), prefix, kept)


def _folder(job: Job) -> str:
    return f"{job.id}-{job.attempt}"


async def _until_stopped(context: JobContext, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the job is to stop."""
    task = asyncio.create_task(work)
    while not task.done():
        await asyncio.wait([task], timeout=_LOOK_S)
        if context.stopping and not task.done():
            task.cancel()
            await asyncio.wait([task])
            context.check()
    return task.result()
