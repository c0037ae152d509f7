"""TrainerService on the wire: messages to calls of the desk and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

from services.common.job_desk import JobDesk, JobView
from services.common.names import parse_name
from services.common.rpc.messages import artifact_ref, artifact_ref_message, job_status_message
from services.gen.avatar.v1 import trainer_pb2 as pb
from services.gen.avatar.v1.trainer_pb2_grpc import TrainerServiceServicer
from services.trainer.job import Preset, TrainingResult, TrainingTask, check_task
from synctalk.errors import InputError

Desk: TypeAlias = JobDesk[TrainingTask, TrainingResult]
View: TypeAlias = JobView[TrainingTask, TrainingResult]

_PRESETS = {
    pb.TRAINING_PRESET_DEMO: Preset.DEMO,
    pb.TRAINING_PRESET_STANDARD: Preset.STANDARD,
    pb.TRAINING_PRESET_BEST: Preset.BEST,
}
_PRESET_VALUES = {preset: value for value, preset in _PRESETS.items()}


class TrainerServicer(TrainerServiceServicer):
    """See trainer.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def CreateTrainingJob(  # noqa: N802 - gRPC's name
        self, request: pb.CreateTrainingJobRequest, context: Any
    ) -> pb.CreateTrainingJobResponse:
        """Queue a job."""
        (tenant,) = parse_name("parent", request.parent, "tenants")
        task = _task(request.training_job)
        check_task(tenant, task)
        view = await self._desk.create(
            tenant, task, request_id=request.request_id, publish_as=task.avatar
        )
        return pb.CreateTrainingJobResponse(training_job=_message(view))

    async def GetTrainingJob(  # noqa: N802 - gRPC's name
        self, request: pb.GetTrainingJobRequest, context: Any
    ) -> pb.GetTrainingJobResponse:
        """One job."""
        view = await self._desk.get(request.name)
        return pb.GetTrainingJobResponse(training_job=_message(view))

    async def ListTrainingJobs(  # noqa: N802 - gRPC's name
        self, request: pb.ListTrainingJobsRequest, context: Any
    ) -> pb.ListTrainingJobsResponse:
        """A page of jobs."""
        views, token = await self._desk.list(request.parent, request.page_size, request.page_token)
        return pb.ListTrainingJobsResponse(
            training_jobs=[_message(view) for view in views], next_page_token=token
        )

    async def CancelTrainingJob(  # noqa: N802 - gRPC's name
        self, request: pb.CancelTrainingJobRequest, context: Any
    ) -> pb.CancelTrainingJobResponse:
        """Ask a job to stop."""
        view = await self._desk.cancel(request.name)
        return pb.CancelTrainingJobResponse(training_job=_message(view))

    async def WatchTrainingJob(  # noqa: N802 - gRPC's name
        self, request: pb.WatchTrainingJobRequest, context: Any
    ) -> AsyncIterator[pb.WatchTrainingJobResponse]:
        """A job and its changes."""
        async with aclosing(self._desk.watch(request.name)) as views:
            async for view in views:
                yield pb.WatchTrainingJobResponse(training_job=_message(view))


def _task(job: pb.TrainingJob) -> TrainingTask:
    if job.preset not in _PRESETS:
        raise InputError(
            "preset is not set, or not known here",
            reason="UNKNOWN_PRESET",
            remedy="Choose DEMO, STANDARD or BEST.",
        )
    return TrainingTask(job.avatar, artifact_ref(job.dataset), _PRESETS[job.preset], job.consent)


def _message(view: View) -> pb.TrainingJob:
    task = view.payload
    return pb.TrainingJob(
        name=view.name,
        avatar=task.avatar,
        dataset=artifact_ref_message(task.dataset),
        preset=_PRESET_VALUES[task.preset],
        consent=task.consent,
        status=job_status_message(view),
        avatar_version=None if view.result is None else _version(task.avatar, view.result),
    )


def _version(avatar: str, result: TrainingResult) -> pb.AvatarVersion:
    return pb.AvatarVersion(
        name=f"{avatar}/versions/{result.version}",
        bundle=artifact_ref_message(result.bundle),
        metrics=result.metrics,
    )
