"""Preprocess jobs through real processes: the service, a worker, Redis, an S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest
from job_services import (
    AVATAR,
    PreprocessRun,
    Running,
    Suite,
    call,
    create_preprocess,
    until,
    watch,
)

from services.common.artifacts import download_folder
from services.common.errors import AlreadyExists, NotFound
from services.common.rpc.messages import artifact_ref, object_ref, object_ref_message
from services.common.storage import ObjectRef
from services.gen.avatar.v1 import preprocess_pb2, types_pb2
from services.gen.avatar.v1.preprocess_pb2_grpc import PreprocessServiceStub
from synctalk.dataset import SubjectDataset
from synctalk.errors import InputError
from synctalk.quality import QualityReport

GONE = ObjectRef("tenants/acme/avatars/ann/source/gone.mp4", 5, "0" * 64)


def test_a_video_becomes_a_dataset_whole_and_verified(
    suite: Suite, preprocessed: PreprocessRun, tmp_path: Path
) -> None:
    job = preprocessed.job
    assert job.status.state == types_pb2.JOB_STATE_SUCCEEDED, job.status
    download_folder(suite.store, artifact_ref(job.dataset), tmp_path / "dataset")
    dataset = SubjectDataset.open(tmp_path / "dataset")
    dataset.verify()
    assert dataset.manifest.size == 192
    assert dataset.manifest.source_name == "ann.mp4"


def test_work_of_a_killed_process_goes_on_where_it_stopped(preprocessed: PreprocessRun) -> None:
    assert preprocessed.killed_at.startswith("head")
    job = preprocessed.job
    assert job.status.attempt == 2
    stages = [line.split(" ", 1)[1] for line in job.status.log_tail if line[2] == ":"]
    again = stages[stages.index("download", 1) :]
    assert "track" in stages[: -len(again)]
    assert "track" not in again
    assert "parse" in again


def test_fraction_is_of_the_whole_job_and_never_falls_within_an_attempt(
    preprocessed: PreprocessRun,
) -> None:
    running = [j.status for j in preprocessed.seen if j.status.state == types_pb2.JOB_STATE_RUNNING]
    for attempt in (1, 2):
        fractions = [s.progress.fraction for s in running if s.attempt == attempt]
        assert fractions == sorted(fractions)
        assert len(set(fractions)) > 5
    assert any(s.progress.HasField("eta") for s in running)
    assert preprocessed.job.status.progress.fraction == 1.0


def test_the_report_on_the_footage_can_be_read_while_the_job_runs(
    suite: Suite, preprocessed: PreprocessRun
) -> None:
    first = next(job for job in preprocessed.seen if job.HasField("quality_report"))
    assert first.status.state == types_pb2.JOB_STATE_RUNNING
    assert first.status.progress.HasField("preview")
    final = preprocessed.job
    QualityReport.from_json(suite.store.get_bytes(object_ref(final.quality_report)).decode())
    picture = suite.store.get_bytes(object_ref(final.status.progress.preview))
    assert picture.startswith(b"\x89PNG")


def test_nothing_but_the_published_attempt_stays(suite: Suite, preprocessed: PreprocessRun) -> None:
    job = preprocessed.job
    prefix = job.dataset.prefix
    assert prefix.endswith("/attempts/2")
    attempts = [k for k in suite.keys(f"{AVATAR}/dataset") if "/attempts/" in k]
    assert attempts
    assert all(key.startswith(f"{prefix}/") for key in attempts)
    job_id = job.name.rpartition("/")[2]
    assert not (suite.folder / "a" / "preprocess" / job_id).exists()


def test_footage_that_cannot_become_an_avatar_fails_at_once_with_reason_and_report(
    suite: Suite, preprocess_server: Running, source: ObjectRef
) -> None:
    job = create_preprocess(preprocess_server, source, 128)  # a face too small to learn
    gone = create_preprocess(preprocess_server, GONE, 128)
    with suite.run("preprocess", "work"):
        ends = [_watch_to_end(preprocess_server, made.name) for made in (job, gone)]
        suite.until_swept("preprocess")
    for end in ends:
        assert (end.status.state, end.status.attempt) == (types_pb2.JOB_STATE_FAILED, 1)
        assert end.status.failure.remedy
        assert str(suite.folder) not in end.status.failure.message
    assert [end.status.failure.reason for end in ends] == ["FOOTAGE_REFUSED", "SOURCE_GONE"]
    text = suite.store.get_bytes(object_ref(ends[0].quality_report)).decode()
    assert QualityReport.from_json(text).refusals
    assert not ends[1].HasField("quality_report")


def test_a_cancelled_job_stops_and_leaves_nothing(
    suite: Suite, preprocess_server: Running, source: ObjectRef
) -> None:
    job = create_preprocess(preprocess_server, source, 256)
    job_id = job.name.rpartition("/")[2]
    with suite.run("preprocess", "work") as worker:

        def cancel(response: preprocess_pb2.WatchPreprocessJobResponse) -> None:
            if response.preprocess_job.status.progress.stage == "track":
                request = preprocess_pb2.CancelPreprocessJobRequest(name=job.name)
                call(preprocess_server, PreprocessServiceStub, "CancelPreprocessJob", request)

        request = preprocess_pb2.WatchPreprocessJobRequest(name=job.name)
        end = watch(preprocess_server, PreprocessServiceStub, "WatchPreprocessJob", request, cancel)
        assert end.preprocess_job.status.state == types_pb2.JOB_STATE_CANCELLED
        until(lambda: not worker.children(), "nothing works on it any more")
        suite.until_swept("preprocess")
    assert suite.keys(f"{AVATAR}/dataset/{job_id}") == []
    assert not (suite.folder / "a" / "preprocess" / job_id).exists()


def _watch_to_end(server: Running, name: str) -> preprocess_pb2.PreprocessJob:
    request = preprocess_pb2.WatchPreprocessJobRequest(name=name)
    end = watch(server, PreprocessServiceStub, "WatchPreprocessJob", request, lambda seen: None)
    job: preprocess_pb2.PreprocessJob = end.preprocess_job
    return job


# -- the service alone: what it takes, and who sees what ------------------------------------------


def _create(
    server: Running, tenant: str, *, request_id: str = "", **fields: object
) -> preprocess_pb2.PreprocessJob:
    source = ObjectRef(f"tenants/{tenant}/avatars/bob/source/bob.mp4", 5, "0" * 64)
    job = preprocess_pb2.PreprocessJob(
        avatar=f"tenants/{tenant}/avatars/bob", source=object_ref_message(source)
    )
    job.MergeFrom(preprocess_pb2.PreprocessJob(**fields))  # type: ignore[arg-type]
    request = preprocess_pb2.CreatePreprocessJobRequest(
        parent=f"tenants/{tenant}", preprocess_job=job, request_id=request_id
    )
    made = call(server, PreprocessServiceStub, "CreatePreprocessJob", request).preprocess_job
    assert isinstance(made, preprocess_pb2.PreprocessJob)
    return made


def test_the_same_request_gives_the_same_job_and_another_one_is_refused(
    preprocess_server: Running,
) -> None:
    first = _create(preprocess_server, "idem", request_id="one")
    assert _create(preprocess_server, "idem", request_id="one").name == first.name
    assert first.size_px == 512
    with pytest.raises(AlreadyExists) as caught:
        _create(preprocess_server, "idem", request_id="one", size_px=256)
    assert caught.value.reason == "IDEMPOTENCY_CONFLICT"


def test_a_tenant_sees_its_own_jobs_only_in_pages_newest_first(preprocess_server: Running) -> None:
    made = [_create(preprocess_server, "pages").name for _ in range(5)]
    other = _create(preprocess_server, "others").name
    names, token = [], ""
    while True:
        request = preprocess_pb2.ListPreprocessJobsRequest(
            parent="tenants/pages", page_size=2, page_token=token
        )
        page = call(preprocess_server, PreprocessServiceStub, "ListPreprocessJobs", request)
        names += [job.name for job in page.preprocess_jobs]
        token = page.next_page_token
        if not token:
            break
    assert names == made[::-1]
    stolen = other.replace("tenants/others", "tenants/pages")
    for method, kind in (("Get", "Get"), ("Cancel", "Cancel")):
        request = getattr(preprocess_pb2, f"{kind}PreprocessJobRequest")(name=stolen)
        with pytest.raises(NotFound):
            call(preprocess_server, PreprocessServiceStub, f"{method}PreprocessJob", request)
    with pytest.raises(NotFound):
        _watch_to_end(preprocess_server, stolen)


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"avatar": "tenants/others/avatars/bob"}, NotFound, "NOT_FOUND"),
        ({"avatar": "bob"}, InputError, "INVALID_NAME"),
        ({"size_px": 100}, InputError, "BAD_SIZE"),
        (
            {"source": types_pb2.ObjectRef(key="tenants/others/x.mp4", size_bytes=1)},
            NotFound,
            "NOT_FOUND",
        ),
        ({"source": types_pb2.ObjectRef(sha256="no digest")}, InputError, "INVALID_OBJECT_REF"),
        (
            {"source": types_pb2.ObjectRef(key="tenants/acme/../others/x.mp4")},
            InputError,
            "INVALID_KEY",
        ),
    ],
)
def test_what_cannot_succeed_is_refused_at_the_door(
    preprocess_server: Running, fields: dict[str, object], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error) as caught:
        _create(preprocess_server, "acme", **fields)
    assert caught.value.reason == reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("token", ["x", "1", "1|2|3", "-inf|a", "|"])
def test_a_page_token_of_ones_own_making_is_refused(preprocess_server: Running, token: str) -> None:
    request = preprocess_pb2.ListPreprocessJobsRequest(parent="tenants/acme", page_token=token)
    with pytest.raises(InputError) as caught:
        call(preprocess_server, PreprocessServiceStub, "ListPreprocessJobs", request)
    assert caught.value.reason == "INVALID_PAGE"
