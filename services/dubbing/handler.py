"""What the worker's child does with a job, and what is swept after it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from services.common.dubs import DUB_JOBS, DubOutput, DubRequest, dub_prefix
from services.common.jobs import Job, JobContext
from services.common.storage import ObjectRef, ObjectStore
from services.dubbing.settings import DubbingSettings

T = TypeVar("T")
_LOOK_S = 0.2


def handle(
    context: JobContext, request: DubRequest, settings: DubbingSettings, folder: Path
) -> DubOutput:
    """Make the dub; stops when the job is to stop."""
    from services.dubbing.dub import Dub  # here: gRPC must not be imported before the fork

    store = ObjectStore(settings.storage)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        dub = Dub(context, request, store, settings, Path(own))
        return asyncio.run(_until_stopped(context, dub.make()))


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


def sweep(job: Job, store: ObjectStore) -> None:
    """Remove what the attempts of an ended job wrote and its result does not name."""
    kept: set[str] = set()
    if job.result_json is not None:
        output = DUB_JOBS.load_result(job.result_json)
        parts = (output.video, output.preview, output.captions_vtt, output.captions_srt)
        kept = {part.key for part in parts if isinstance(part, ObjectRef)}
    for item in store.list(f"{dub_prefix(job.tenant, job.id)}/attempts"):
        if item.key not in kept:
            store.delete(item.key)
