"""What happens to a dub that is under way; see :mod:`services.gateway.avatar_work`."""

from __future__ import annotations

import asyncio
from typing import Any

from services.common.consents import Scope
from services.common.dubs import DUB_JOBS, DubRequest, check_supported, dub_prefix
from services.common.errors import FailedPrecondition, NotFound
from services.common.jobs import Job, JobState
from services.common.origin import working_for
from services.common.storage import ObjectRef
from services.gateway import uploads
from services.gateway.avatar_work import FINAL, failure_of, problem_of
from services.gateway.consents import require_active
from services.gateway.core import Gateway
from services.gateway.events import emit
from services.gateway.jobs import find_job
from services.gateway.model import DubPhase, DubRecord, Problem


class DubWork:
    """Looks at dubs.

    Args:
        hashing: how many uploads are read at once.
    """

    def __init__(self, gateway: Gateway, hashing: asyncio.Semaphore) -> None:
        self._gateway = gateway
        self._hashing = hashing

    async def look(self, record: DubRecord) -> float:
        """Take it as far as it goes; seconds until it is to be looked at again."""
        with working_for(record.origin):
            return await self._look(record)

    async def _look(self, record: DubRecord) -> float:
        try:
            await self._advance(record)
        except FINAL as error:
            if await self._gateway.tables.dubs.find(record.tenant, record.id) is not None:
                await self._settle(record, "failed", problem_of(error))
        return self._gateway.settings.gateway_poll_s

    async def _advance(self, record: DubRecord) -> None:
        if record.restart:
            await self._restart(record)
        elif not record.enqueued:
            await self._enqueue(record)
        else:
            await self._follow(record)

    async def _enqueue(self, record: DubRecord) -> None:
        gateway, tenant = self._gateway, record.tenant
        avatar = await gateway.tables.avatars.get(tenant, record.avatar)
        await require_active(gateway, tenant, avatar.consent, Scope.DUB)
        audio = await self._reference(record, record.audio)
        image = record.background_image
        picture = await self._reference(record, image) if image else None
        request = DubRequest(
            avatar_version=f"{avatar.resource}/versions/{record.version}",
            bundle=record.bundle,
            audio=audio,
            width_px=record.width_px,
            height_px=record.height_px,
            background=record.background,
            background_colour=record.background_colour,
            background_image=picture,
            video_format=record.video_format,
            text=record.text,
            expression=record.expression,
            blinks_per_minute=record.blinks_per_minute,
        )
        check_supported(request)
        await gateway.dub_queue.enqueue(
            tenant, request, job_id=record.id, publish_as=dub_prefix(tenant, record.id)
        )
        await self._set(record, kept_due=True, enqueued=True)

    async def _reference(self, record: DubRecord, upload_id: str) -> ObjectRef:
        return await uploads.reference(
            self._gateway, record.tenant, upload_id, self._hashing, record.id
        )

    async def _follow(self, record: DubRecord) -> None:
        job = await find_job(self._gateway, "dub", record.id)
        if job is None:
            raise NotFound(
                f"job {record.id} is no longer kept", reason="JOB_LOST", remedy="Make a new dub."
            )
        if job.state is JobState.SUCCEEDED:
            await self._take_output(record, job)
        elif job.state.terminal:
            cancelled = job.state is JobState.CANCELLED
            await self._settle(record, "cancelled" if cancelled else "failed", failure_of(job))

    async def _take_output(self, record: DubRecord, job: Job) -> None:
        assert job.result_json is not None
        output = DUB_JOBS.load_result(job.result_json)
        await self._settle(
            record, "succeeded", None, video=output.video, preview=output.preview,
            captions_vtt=output.captions_vtt, captions_srt=output.captions_srt,
            manifest=output.manifest,
            duration_s=output.duration_s,
        )  # fmt: skip

    async def _restart(self, record: DubRecord) -> None:
        try:
            await self._gateway.dub_queue.requeue(record.id)
        except FailedPrecondition:  # by a look that was broken off
            pass
        except NotFound:  # forgotten, or never made: begin anew
            await self._set(record, restart=False, enqueued=False)
            return
        await self._set(record, restart=False)

    async def _settle(
        self, record: DubRecord, phase: DubPhase, problem: Problem | None, **output: Any
    ) -> None:
        """The event first: once the record is closed, nobody would look again."""
        data = {
            "id": record.id, "object": "dub", "avatar": record.avatar, "state": phase,
            "duration_s": output.get("duration_s"),
            "error": problem.model_dump() if problem else None,
        }  # fmt: skip
        await emit(self._gateway, record.tenant, f"dub.{phase}", data, record.id, record.round)
        await self._set(record, phase=phase, error=problem, **output)

    async def _set(self, record: DubRecord, *, kept_due: bool = False, **changes: Any) -> DubRecord:
        """Change the record unless it has gone on from what was looked at."""

        def change(old: DubRecord) -> DubRecord:
            if (old.round, old.phase) != (record.round, record.phase):
                return old
            return old.model_copy(update=changes)

        return await self._gateway.tables.dubs.update(
            record.tenant, record.id, change, known=record, kept_due=kept_due
        )
