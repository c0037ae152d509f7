"""PreprocessService and VerificationService on the wire: messages to calls and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

from services.common.job_desk import JobDesk, JobView
from services.common.names import parse_name
from services.common.rpc.messages import (
    artifact_ref_message,
    job_status_message,
    object_ref,
    object_ref_message,
)
from services.gen.avatar.v1 import preprocess_pb2 as pb
from services.gen.avatar.v1 import verification_pb2
from services.gen.avatar.v1.preprocess_pb2_grpc import PreprocessServiceServicer
from services.gen.avatar.v1.verification_pb2_grpc import VerificationServiceServicer
from services.preprocess.job import (
    DEFAULT_SIZE_PX,
    PreprocessResult,
    PreprocessTask,
    check_task,
    quality_report,
)
from services.preprocess.verification import Found, Verifier

Desk: TypeAlias = JobDesk[PreprocessTask, PreprocessResult]
View: TypeAlias = JobView[PreprocessTask, PreprocessResult]
_VERDICTS = {
    "signed": verification_pb2.VERDICT_SIGNED,
    "watermarked": verification_pb2.VERDICT_WATERMARKED,
    "unknown": verification_pb2.VERDICT_UNKNOWN,
}
_SIGNATURES = {
    "trusted": verification_pb2.SIGNATURE_TRUSTED,
    "unknown signer": verification_pb2.SIGNATURE_UNKNOWN_SIGNER,
    "broken": verification_pb2.SIGNATURE_BROKEN,
    "none": verification_pb2.SIGNATURE_NONE,
}


class PreprocessServicer(PreprocessServiceServicer):
    """See preprocess.proto."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def CreatePreprocessJob(  # noqa: N802 - gRPC's name
        self, request: pb.CreatePreprocessJobRequest, context: Any
    ) -> pb.CreatePreprocessJobResponse:
        """Queue a job."""
        (tenant,) = parse_name("parent", request.parent, "tenants")
        job = request.preprocess_job
        task = PreprocessTask(job.avatar, object_ref(job.source), job.size_px or DEFAULT_SIZE_PX)
        check_task(tenant, task)
        view = await self._desk.create(
            tenant, task, request_id=request.request_id, publish_as=task.avatar
        )
        return pb.CreatePreprocessJobResponse(preprocess_job=_message(view))

    async def GetPreprocessJob(  # noqa: N802 - gRPC's name
        self, request: pb.GetPreprocessJobRequest, context: Any
    ) -> pb.GetPreprocessJobResponse:
        """One job."""
        view = await self._desk.get(request.name)
        return pb.GetPreprocessJobResponse(preprocess_job=_message(view))

    async def ListPreprocessJobs(  # noqa: N802 - gRPC's name
        self, request: pb.ListPreprocessJobsRequest, context: Any
    ) -> pb.ListPreprocessJobsResponse:
        """A page of jobs."""
        views, token = await self._desk.list(request.parent, request.page_size, request.page_token)
        return pb.ListPreprocessJobsResponse(
            preprocess_jobs=[_message(view) for view in views], next_page_token=token
        )

    async def CancelPreprocessJob(  # noqa: N802 - gRPC's name
        self, request: pb.CancelPreprocessJobRequest, context: Any
    ) -> pb.CancelPreprocessJobResponse:
        """Ask a job to stop."""
        view = await self._desk.cancel(request.name)
        return pb.CancelPreprocessJobResponse(preprocess_job=_message(view))

    async def WatchPreprocessJob(  # noqa: N802 - gRPC's name
        self, request: pb.WatchPreprocessJobRequest, context: Any
    ) -> AsyncIterator[pb.WatchPreprocessJobResponse]:
        """A job and its changes."""
        async with aclosing(self._desk.watch(request.name)) as views:
            async for view in views:
                yield pb.WatchPreprocessJobResponse(preprocess_job=_message(view))


def _message(view: View) -> pb.PreprocessJob:
    report = quality_report(view.job)
    result = view.result
    return pb.PreprocessJob(
        name=view.name,
        avatar=view.payload.avatar,
        source=object_ref_message(view.payload.source),
        size_px=view.payload.size_px,
        status=job_status_message(view),
        quality_report=None if report is None else object_ref_message(report),
        dataset=None if result is None else artifact_ref_message(result.dataset),
    )


class VerificationServicer(VerificationServiceServicer):
    """See verification.proto."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def VerifyFile(  # noqa: N802 - gRPC's name
        self, request: verification_pb2.VerifyFileRequest, context: Any
    ) -> verification_pb2.VerifyFileResponse:
        """What a file is."""
        (tenant,) = parse_name("parent", request.parent, "tenants")
        return _verified(await self._verifier.verify(tenant, request.upload_key))


def _verified(found: Found) -> verification_pb2.VerifyFileResponse:
    mark = None
    if found.mark_id is not None and found.mark_score is not None:
        mark = verification_pb2.FoundMark(
            id=found.mark_id, score=found.mark_score, development=found.mark_development
        )
    return verification_pb2.VerifyFileResponse(
        verdict=_VERDICTS[found.verdict],
        signature=_SIGNATURES[found.signature],
        signer=found.signer,
        development=found.development,
        words=found.words,
        mark=mark,
        signed_mark_id=found.signed_mark_id,
        manifest_json="" if found.manifest is None else json.dumps(found.manifest),
    )
