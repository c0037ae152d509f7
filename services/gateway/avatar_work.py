"""What happens to an avatar that is under way: upload → preprocess job → training job → ready.

Each look takes the record as far as it goes, and may be done twice at once by two replicas, or
broken off anywhere: jobs are made under the same request id every time, events under the same
event id, and the record is changed by compare-and-set from the state that was looked at.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from services.common.consents import Scope
from services.common.errors import (
    AlreadyExists,
    CorruptData,
    FailedPrecondition,
    NotFound,
)
from services.common.job_progress import shown_picture
from services.common.jobs import Job, JobState
from services.common.origin import working_for
from services.gateway import uploads
from services.gateway.consents import require_active
from services.gateway.core import Gateway
from services.gateway.erasure import begin_avatar
from services.gateway.events import emit
from services.gateway.jobs import JobKind, find_job, link_job
from services.gateway.model import AvatarPhase, AvatarRecord, Problem, Quality, now_s
from synctalk.errors import InputError, SyncTalkError

# No later try can help against these; others are the suite's own trouble, and pass.
FINAL = (InputError, NotFound, FailedPrecondition, AlreadyExists, CorruptData)


class AvatarWork:
    """Looks at avatars.

    Args:
        hashing: how many uploads are read at once.
    """

    def __init__(self, gateway: Gateway, hashing: asyncio.Semaphore) -> None:
        self._gateway = gateway
        self._hashing = hashing

    async def look(self, record: AvatarRecord) -> float:
        """Take it as far as it goes; seconds until it is to be looked at again."""
        with working_for(record.origin):
            return await self._look(record)

    async def _look(self, record: AvatarRecord) -> float:
        try:
            await self._advance(record)
        except FINAL as error:
            if await self._gateway.tables.avatars.find(record.tenant, record.id) is not None:
                await self._settle(record, "failed", problem_of(error), None)
                if error.reason == "CONSENT_REVOKED":  # while it was being made: see consent_work
                    await begin_avatar(
                        self._gateway, record.tenant, record.id, with_dubs=True,
                        why=f"consents/{record.consent} revoked",
                    )  # fmt: skip
        return self._gateway.settings.gateway_poll_s

    async def _advance(self, record: AvatarRecord) -> None:
        if record.restart:
            await self._restart(record)
        elif not record.preprocess_job:
            await self._preprocess(record)
        elif not record.train_job:
            await self._follow_preprocessing(record)
        else:
            await self._follow_training(record)

    async def _preprocess(self, record: AvatarRecord) -> None:
        gateway = self._gateway
        await require_active(
            gateway, record.tenant, record.consent, Scope.AVATAR, footage=record.video
        )
        await uploads.mark_used(gateway, record.tenant, record.video, record.id)
        source = await uploads.reference(gateway, record.tenant, record.video, self._hashing)
        job_id = await gateway.services.preprocess(record, source)
        await link_job(gateway, "preprocess", job_id, record)
        await self._set(record, preprocess_job=job_id)

    async def _follow_preprocessing(self, record: AvatarRecord) -> None:
        job = await self._job("preprocess", record)
        if record.quality is None and job.checkpoint:
            record = await self._take_quality(record, job)
        if job.state is JobState.SUCCEEDED:
            await self._train(record)
        elif job.state.terminal:
            await self._settle_with(record, job)

    async def _take_quality(self, record: AvatarRecord, job: Job) -> AvatarRecord:
        report = (await self._gateway.services.preprocessed(record)).quality_report
        if report is None:
            return record
        text = await asyncio.to_thread(self._gateway.store.get_bytes, report)
        quality = Quality.model_validate(json.loads(text))
        picture = shown_picture(job.progress.preview)
        return await self._set(
            record, quality=quality, quality_picture=picture.key if picture else ""
        )

    async def _train(self, record: AvatarRecord) -> None:
        gateway = self._gateway
        await require_active(
            gateway, record.tenant, record.consent, Scope.AVATAR, footage=record.video
        )
        dataset = (await gateway.services.preprocessed(record)).dataset
        if dataset is None:
            raise NotFound(f"job {record.preprocess_job} has no dataset", reason="DATASET_GONE")
        job_id = await gateway.services.train(record, dataset)
        await link_job(gateway, "train", job_id, record)
        await self._set(record, train_job=job_id, phase="training")

    async def _follow_training(self, record: AvatarRecord) -> None:
        job = await self._job("train", record)
        if job.state is JobState.SUCCEEDED:
            trained = await self._gateway.services.trained(record)
            await self._settle(
                record, "ready", None, job,
                version=trained.version, bundle=trained.bundle, metrics=dict(trained.metrics),
            )  # fmt: skip
        elif job.state.terminal:
            await self._settle_with(record, job)

    async def _restart(self, record: AvatarRecord) -> None:
        queue = self._gateway.queues["train" if record.train_job else "preprocess"]
        try:
            await queue.requeue(record.job)
        except FailedPrecondition:  # by a look that was broken off
            pass
        except NotFound:  # forgotten: begin anew
            await self._set(
                record, restart=False, preprocess_job="", train_job="", phase="preprocessing"
            )
            return
        await self._set(record, restart=False)

    async def _job(self, kind: JobKind, record: AvatarRecord) -> Job:
        job = await find_job(self._gateway, kind, record.job)
        if job is None:
            raise NotFound(
                f"job {record.job} is no longer kept", reason="JOB_LOST", remedy="Retry the avatar."
            )
        return job

    async def _settle_with(self, record: AvatarRecord, job: Job) -> None:
        phase: AvatarPhase = "cancelled" if job.state is JobState.CANCELLED else "failed"
        await self._settle(record, phase, failure_of(job), job)

    async def _settle(
        self,
        record: AvatarRecord,
        phase: AvatarPhase,
        problem: Problem | None,
        job: Job | None,
        **changes: Any,
    ) -> None:
        """The event first: once the record is closed, nobody would look again."""
        data = {
            "id": record.id, "object": "avatar", "name": record.name, "state": phase,
            "version": changes.get("version"),
            "error": problem.model_dump() if problem else None,
        }  # fmt: skip
        await emit(self._gateway, record.tenant, f"avatar.{phase}", data, record.id, record.round)
        picture = shown_picture(job.progress.preview) if job else None
        if picture is not None and picture.key != record.quality_picture:
            changes["preview"] = picture.key
        await self._set(record, phase=phase, error=problem, **changes)

    async def _set(self, record: AvatarRecord, **changes: Any) -> AvatarRecord:
        """Change the record unless it has gone on from what was looked at."""

        def change(old: AvatarRecord) -> AvatarRecord:
            if (old.round, old.phase, old.job) != (record.round, record.phase, record.job):
                return old
            return old.model_copy(update={**changes, "updated_s": now_s()})

        return await self._gateway.tables.avatars.update(record.tenant, record.id, change)


def problem_of(error: SyncTalkError) -> Problem:
    """What an error says."""
    return Problem(code=error.reason, message=error.message, remedy=error.remedy)


def failure_of(job: Job) -> Problem | None:
    """Why the job did not succeed."""
    failure = job.failure
    if failure is None:
        return None
    return Problem(code=failure.reason, message=failure.message, remedy=failure.remedy)
