"""What a training job is made of, and where in the object store it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import TypeAdapter

from services.common.artifacts import ArtifactRef
from services.common.jobs import Job, JobState, JobType
from services.common.names import check_owned, parse_name
from synctalk.errors import InputError

COLLECTION = "trainingJobs"


class Preset(StrEnum):
    """As :data:`synctalk.training.PRESETS`."""

    DEMO = "demo"
    STANDARD = "standard"
    BEST = "best"


@dataclass(frozen=True)
class TrainingTask:
    """What the caller hands in.

    Args:
        avatar: ``tenants/{tenant}/avatars/{avatar}``.
        dataset: what a preprocess job published.
        preset: how long and how well.
        consent: ``tenants/{tenant}/consents/{consent}``; goes into the bundle.
    """

    avatar: str
    dataset: ArtifactRef
    preset: Preset
    consent: str


@dataclass(frozen=True)
class TrainingResult:
    """What a job that succeeded publishes: version ``version`` of its avatar."""

    version: int
    bundle: ArtifactRef
    metrics: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class TrainingCheckpoint:
    """From where the next attempt goes on."""

    folder: ArtifactRef


JOB_TYPE = JobType("train", TrainingTask, TrainingResult)
_CHECKPOINT = TypeAdapter(TrainingCheckpoint)


def check_task(tenant: str, task: TrainingTask) -> None:
    """Refuse what cannot succeed.

    Raises:
        InputError: a name is missing or no name, or the listing is not the dataset's.
        NotFound: avatar, dataset or consent are not the tenant's.
    """
    parse_name("avatar", task.avatar, "tenants", "avatars")
    if not task.consent:
        raise InputError(
            "consent is not set",
            reason="CONSENT_REQUIRED",
            remedy="Record the person's consent and name it: tenants/{tenant}/consents/{consent}.",
        )
    parse_name("consent", task.consent, "tenants", "consents")
    check_owned("avatar", task.avatar, tenant)
    check_owned("consent", task.consent, tenant)
    check_owned("dataset.prefix", task.dataset.prefix, tenant)
    if not task.dataset.listing.key.startswith(task.dataset.prefix + "/"):
        raise InputError(
            "dataset.listing does not lie under dataset.prefix",
            reason="INVALID_ARTIFACT_REF",
            remedy="Use the reference that the preprocess job published.",
        )


def version_prefix(avatar: str, version: int) -> str:
    """Where a version's bundle lies; each attempt has a folder of its own there."""
    return f"{avatar}/bundles/v{version}"


def checkpoints_prefix(job: Job) -> str:
    """Where the job's checkpoints lie."""
    return f"{job.publish_as}/checkpoints/{job.id}"


def previews_prefix(job: Job) -> str:
    """Where the job's previews lie."""
    return f"{job.publish_as}/previews/{job.id}"


def dump_checkpoint(checkpoint: TrainingCheckpoint) -> str:
    """As JSON."""
    return _CHECKPOINT.dump_json(checkpoint).decode()


def load_checkpoint(text: str) -> TrainingCheckpoint | None:
    """What :func:`dump_checkpoint` wrote; None of an empty text."""
    return _CHECKPOINT.validate_json(text) if text else None


def result_of(job: Job) -> TrainingResult | None:
    """What a job that succeeded published."""
    if job.state is not JobState.SUCCEEDED or job.result_json is None:
        return None
    return JOB_TYPE.load_result(job.result_json)
