"""What a preprocess job is made of, and where in the object store it writes."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from services.common.artifacts import ArtifactRef
from services.common.jobs import Job, JobState, JobType
from services.common.names import check_owned, parse_name
from services.common.storage import ObjectRef
from synctalk.errors import InputError

COLLECTION = "preprocessJobs"
DEFAULT_SIZE_PX = 512
SIZES_PX = (128, 1024)
"""As :data:`synctalk.preprocessing.SIZES`, whose import would load half the method."""


@dataclass(frozen=True)
class PreprocessTask:
    """What the caller hands in.

    Args:
        avatar: ``tenants/{tenant}/avatars/{avatar}``.
        source: the uploaded video.
        size_px: side of the dataset's frames.
    """

    avatar: str
    source: ObjectRef
    size_px: int


@dataclass(frozen=True)
class PreprocessResult:
    """What a job that succeeded publishes."""

    dataset: ArtifactRef
    quality_report: ObjectRef


@dataclass(frozen=True)
class PreprocessCheckpoint:
    """What an attempt leaves to read while the job runs, and after it failed."""

    quality_report: ObjectRef


JOB_TYPE = JobType("preprocess", PreprocessTask, PreprocessResult)
_CHECKPOINT = TypeAdapter(PreprocessCheckpoint)


def check_task(tenant: str, task: PreprocessTask) -> None:
    """Refuse what cannot succeed.

    Raises:
        InputError: no avatar's name, or a size that is not possible.
        NotFound: avatar or source are not the tenant's.
    """
    parse_name("avatar", task.avatar, "tenants", "avatars")
    check_owned("avatar", task.avatar, tenant)
    check_owned("source.key", task.source.key, tenant)
    if not SIZES_PX[0] <= task.size_px <= SIZES_PX[1] or task.size_px % 16:
        raise InputError(
            f"size_px is {task.size_px}",
            reason="BAD_SIZE",
            remedy=f"Choose a multiple of 16 from {SIZES_PX[0]} to {SIZES_PX[1]}.",
        )


def job_prefix(job: Job) -> str:
    """What the keys of everything that the job writes begin with."""
    return f"{job.publish_as}/dataset/{job.id}"


def attempt_prefix(job: Job) -> str:
    """Where this attempt writes the dataset."""
    return f"{job_prefix(job)}/attempts/{job.attempt}"


def report_prefix(job: Job) -> str:
    """Where this attempt writes the report on the footage, which also a failed job shows."""
    return f"{job_prefix(job)}/report/{job.attempt}"


def dump_checkpoint(checkpoint: PreprocessCheckpoint) -> str:
    """As JSON."""
    return _CHECKPOINT.dump_json(checkpoint).decode()


def quality_report(job: Job) -> ObjectRef | None:
    """The report of the latest attempt that wrote one."""
    return _CHECKPOINT.validate_json(job.checkpoint).quality_report if job.checkpoint else None


def dataset_of(job: Job) -> ArtifactRef | None:
    """The dataset of a job that succeeded."""
    if job.state is not JobState.SUCCEEDED or job.result_json is None:
        return None
    return JOB_TYPE.load_result(job.result_json).dataset
