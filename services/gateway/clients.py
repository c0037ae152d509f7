"""The gRPC services that the gateway calls, in its own types.

It makes jobs through them, and asks them for what came out: payload and result of a job are the
service's own. How far a job is, its log, cancelling and watching are the same for all queues and
are read from Redis (:mod:`services.common.jobs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from services.common.artifacts import ArtifactRef
from services.common.rpc import open_channel, remote_errors
from services.common.rpc.messages import (
    artifact_ref,
    artifact_ref_message,
    object_ref,
    object_ref_message,
)
from services.common.settings import RpcSettings
from services.common.storage import ObjectRef
from services.gateway.model import AvatarRecord
from services.gen.avatar.v1 import preprocess_pb2, trainer_pb2
from services.gen.avatar.v1.preprocess_pb2_grpc import PreprocessServiceStub
from services.gen.avatar.v1.trainer_pb2_grpc import TrainerServiceStub
from synctalk.errors import InputError

_TIMEOUT_S = 10.0
_PRESETS = {
    "demo": trainer_pb2.TRAINING_PRESET_DEMO,
    "standard": trainer_pb2.TRAINING_PRESET_STANDARD,
    "best": trainer_pb2.TRAINING_PRESET_BEST,
}


@dataclass(frozen=True)
class Preprocessed:
    """What a preprocess job has shown so far."""

    dataset: ArtifactRef | None
    quality_report: ObjectRef | None


@dataclass(frozen=True)
class Trained:
    """The version that a training job made."""

    version: int
    bundle: ArtifactRef
    metrics: Mapping[str, float] = field(hash=False)


class Services:
    """Channels to both; an async context manager.

    Calls raise the services' errors, :class:`services.common.errors.Unavailable` while one is away.
    """

    def __init__(self, preprocess_target: str, trainer_target: str, settings: RpcSettings) -> None:
        self._targets = (preprocess_target, trainer_target)
        self._settings = settings

    async def __aenter__(self) -> Services:
        self._channels: list[grpc.aio.Channel] = [
            open_channel(target, self._settings) for target in self._targets
        ]
        self._preprocess = PreprocessServiceStub(self._channels[0])
        self._trainer = TrainerServiceStub(self._channels[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._channels:
            await channel.close()

    async def preprocess(self, avatar: AvatarRecord, source: ObjectRef) -> str:
        """Make the job, or find the one that this try has made; returns its id."""
        request = preprocess_pb2.CreatePreprocessJobRequest(
            parent=f"tenants/{avatar.tenant}",
            preprocess_job=preprocess_pb2.PreprocessJob(
                avatar=avatar.resource, source=object_ref_message(source), size_px=avatar.size_px
            ),
            request_id=f"{avatar.id}.preprocess.{avatar.round}",
        )
        with remote_errors():
            made = await self._preprocess.CreatePreprocessJob(request, timeout=_TIMEOUT_S)
        return _job_id(made.preprocess_job.name)

    async def preprocessed(self, avatar: AvatarRecord) -> Preprocessed:
        """What the avatar's preprocess job has shown."""
        name = f"tenants/{avatar.tenant}/preprocessJobs/{avatar.preprocess_job}"
        request = preprocess_pb2.GetPreprocessJobRequest(name=name)
        with remote_errors():
            got = await self._preprocess.GetPreprocessJob(request, timeout=_TIMEOUT_S)
        job = got.preprocess_job
        return Preprocessed(
            artifact_ref(job.dataset) if job.HasField("dataset") else None,
            object_ref(job.quality_report) if job.HasField("quality_report") else None,
        )

    async def train(self, avatar: AvatarRecord, dataset: ArtifactRef) -> str:
        """Make the job, or find the one that this try has made; returns its id."""
        request = trainer_pb2.CreateTrainingJobRequest(
            parent=f"tenants/{avatar.tenant}",
            training_job=trainer_pb2.TrainingJob(
                avatar=avatar.resource,
                dataset=artifact_ref_message(dataset),
                preset=_PRESETS[avatar.preset],
                consent=f"tenants/{avatar.tenant}/consents/{avatar.consent}",
            ),
            request_id=f"{avatar.id}.train.{avatar.round}",
        )
        with remote_errors():
            made = await self._trainer.CreateTrainingJob(request, timeout=_TIMEOUT_S)
        return _job_id(made.training_job.name)

    async def trained(self, avatar: AvatarRecord) -> Trained:
        """What the avatar's training job made.

        Raises:
            InputError: nothing yet.
        """
        name = f"tenants/{avatar.tenant}/trainingJobs/{avatar.train_job}"
        request = trainer_pb2.GetTrainingJobRequest(name=name)
        with remote_errors():
            got = await self._trainer.GetTrainingJob(request, timeout=_TIMEOUT_S)
        if not got.training_job.HasField("avatar_version"):
            raise InputError(f"{name} has no result", reason="NOT_TRAINED")
        made = got.training_job.avatar_version
        number = int(_job_id(made.name))
        return Trained(number, artifact_ref(made.bundle), dict(made.metrics))


def _job_id(name: str) -> str:
    return name.rpartition("/")[2]
