"""The messages of types.proto, to and from what the services hold."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.artifacts import ArtifactRef
from services.common.job_desk import JobView
from services.common.job_progress import shown_picture
from services.common.jobs import Failure, Job, JobState, Progress
from services.common.jobs.model import PayloadT, ResultT
from services.common.storage import ObjectRef
from services.gen.avatar.v1 import types_pb2 as pb

_STATES = {
    JobState.QUEUED: pb.JOB_STATE_QUEUED,
    JobState.WAITING: pb.JOB_STATE_WAITING,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    JobState.FAILED: pb.JOB_STATE_FAILED,
    JobState.CANCELLED: pb.JOB_STATE_CANCELLED,
    JobState.DEAD: pb.JOB_STATE_DEAD,
}


def object_ref(message: pb.ObjectRef) -> ObjectRef:
    """Raises :class:`synctalk.errors.InputError` when it is not a whole reference."""
    return ObjectRef(message.key, message.size_bytes, message.sha256)


def object_ref_message(ref: ObjectRef) -> pb.ObjectRef:
    """The same on the wire."""
    return pb.ObjectRef(key=ref.key, size_bytes=ref.size_bytes, sha256=ref.sha256)


def artifact_ref(message: pb.ArtifactRef) -> ArtifactRef:
    """Raises :class:`synctalk.errors.InputError` when it is not a whole reference."""
    return ArtifactRef(message.prefix, object_ref(message.listing))


def artifact_ref_message(ref: ArtifactRef) -> pb.ArtifactRef:
    """The same on the wire."""
    return pb.ArtifactRef(prefix=ref.prefix, listing=object_ref_message(ref.listing))


def job_status_message(view: JobView[PayloadT, ResultT]) -> pb.JobStatus:
    """What all kinds of jobs have."""
    job: Job = view.job
    return pb.JobStatus(
        state=_STATES[job.state],
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        progress=_progress(job.progress),
        failure=None if job.failure is None else _failure(job.failure),
        create_time=_timestamp(job.created_s),
        start_time=_timestamp(job.started_s),
        end_time=_timestamp(job.finished_s),
        log_tail=view.log_tail,
    )


def _progress(progress: Progress) -> pb.Progress:
    preview = shown_picture(progress.preview)
    return pb.Progress(
        stage=progress.stage,
        fraction=progress.fraction,
        eta=None if progress.eta_s is None else _duration(progress.eta_s),
        preview=None if preview is None else object_ref_message(preview),
        metrics=progress.metrics,
    )


def _failure(failure: Failure) -> pb.Failure:
    return pb.Failure(reason=failure.reason, message=failure.message, remedy=failure.remedy)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    timestamp = Timestamp()
    timestamp.FromMilliseconds(round(seconds * 1000))
    return timestamp
