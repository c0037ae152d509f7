"""The gRPC services that the gateway calls, in its own types.

It makes jobs through them, and asks them for what came out: payload and result of a job are the
service's own. How far a job is, its log, cancelling and watching are the same for all queues and
are read from Redis (:mod:`services.common.jobs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
from services.gateway.model import AvatarRecord, UploadRecord
from services.gen.avatar.v1 import preprocess_pb2, trainer_pb2, verification_pb2
from services.gen.avatar.v1.preprocess_pb2_grpc import PreprocessServiceStub
from services.gen.avatar.v1.trainer_pb2_grpc import TrainerServiceStub
from services.gen.avatar.v1.verification_pb2_grpc import VerificationServiceStub
from synctalk.errors import InputError

_TIMEOUT_S = 10.0
_VERIFY_TIMEOUT_S = 240.0  # 150 s at most of looking, and a file of 512 MiB to fetch
Verdict = Literal["signed", "watermarked", "unknown"]
Signature = Literal["trusted", "unknown signer", "broken", "none"]
_PRESETS = {
    "demo": trainer_pb2.TRAINING_PRESET_DEMO,
    "standard": trainer_pb2.TRAINING_PRESET_STANDARD,
    "best": trainer_pb2.TRAINING_PRESET_BEST,
}
_VERDICTS: Mapping[int, Verdict] = {
    verification_pb2.VERDICT_SIGNED: "signed",
    verification_pb2.VERDICT_WATERMARKED: "watermarked",
    verification_pb2.VERDICT_UNKNOWN: "unknown",
}
_SIGNATURES: Mapping[int, Signature] = {
    verification_pb2.SIGNATURE_TRUSTED: "trusted",
    verification_pb2.SIGNATURE_UNKNOWN_SIGNER: "unknown signer",
    verification_pb2.SIGNATURE_BROKEN: "broken",
    verification_pb2.SIGNATURE_NONE: "none",
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


@dataclass(frozen=True)
class FoundMark:
    """The watermark in a file's frames; ``score`` in standard deviations of chance."""

    id: int
    score: float
    development: bool


@dataclass(frozen=True)
class Verified:
    """Where a file comes from; ``manifest_json`` is empty without a manifest."""

    verdict: Verdict
    signature: Signature
    signer: str
    development: bool
    words: str
    mark: FoundMark | None
    signed_mark_id: int | None
    manifest_json: str


class Services:
    """Channels to them; an async context manager.

    Calls raise the services' errors, :class:`services.common.errors.Unavailable` while one is away.
    """

    def __init__(self, preprocess_target: str, trainer_target: str, settings: RpcSettings) -> None:
        self._targets = (preprocess_target, trainer_target)
        self._settings = settings

    async def __aenter__(self) -> Services:
        preprocess, trainer = self._targets
        self._channels: list[grpc.aio.Channel] = [
            open_channel(preprocess, self._settings),
            open_channel(trainer, self._settings),
            # A file that ended one replica is not to be shown to the others.
            open_channel(preprocess, self._settings, retries=False),
        ]
        self._preprocess = PreprocessServiceStub(self._channels[0])
        self._trainer = TrainerServiceStub(self._channels[1])
        self._verification = VerificationServiceStub(self._channels[2])
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

    async def verify(self, upload: UploadRecord) -> Verified:
        """Where an uploaded file comes from.

        Raises:
            InputError: it is no video or picture, or too large.
        """
        request = verification_pb2.VerifyFileRequest(
            parent=f"tenants/{upload.tenant}", upload_key=upload.key
        )
        with remote_errors():
            found = await self._verification.VerifyFile(request, timeout=_VERIFY_TIMEOUT_S)
        mark = found.mark if found.HasField("mark") else None
        return Verified(
            verdict=_VERDICTS[found.verdict],
            signature=_SIGNATURES[found.signature],
            signer=found.signer,
            development=found.development,
            words=found.words,
            mark=None if mark is None else FoundMark(mark.id, mark.score, mark.development),
            signed_mark_id=found.signed_mark_id if found.HasField("signed_mark_id") else None,
            manifest_json=found.manifest_json,
        )


def _job_id(name: str) -> str:
    return name.rpartition("/")[2]
