"""One suite for all these tests, and one dataset that a preprocess job makes for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from job_services import (
    AVATAR,
    ROOT,
    PreprocessRun,
    Running,
    Suite,
    create_preprocess,
    watch,
)
from tiny import shrink_video

from services.common.local import LocalServers
from services.common.storage import ObjectRef, ObjectStore
from services.gen.avatar.v1 import preprocess_pb2
from services.gen.avatar.v1.preprocess_pb2_grpc import PreprocessServiceStub


@pytest.fixture(scope="session")
def suite(
    local_servers: LocalServers,
    object_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Suite:
    return Suite(local_servers, object_store, tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="session")
def source(suite: Suite) -> ObjectRef:
    """An uploaded video."""
    clip = suite.folder / "clip.mp4"
    shrink_video(ROOT / "samples" / "portrait.mp4", clip, 12.0, 256)
    return suite.store.put_file(f"{AVATAR}/source/ann.mp4", clip, "video/mp4")


@pytest.fixture(scope="session")
def preprocess_server(suite: Suite) -> Iterator[Running]:
    with suite.run("preprocess", "serve") as server:
        yield server


@pytest.fixture(scope="session")
def trainer_server(suite: Suite) -> Iterator[Running]:
    with suite.run("trainer", "serve") as server:
        yield server


@pytest.fixture(scope="session")
def preprocessed(suite: Suite, preprocess_server: Running, source: ObjectRef) -> PreprocessRun:
    """The process that works is killed once the footage was judged; the work goes on."""
    run = PreprocessRun()
    job = create_preprocess(preprocess_server, source, 192)
    with suite.run("preprocess", "work") as worker:

        def see(response: preprocess_pb2.WatchPreprocessJobResponse) -> None:
            job = response.preprocess_job
            run.seen.append(job)
            if not run.killed_at and job.HasField("quality_report"):
                run.killed_at = job.status.progress.stage
                (child,) = worker.children()
                os.kill(child, signal.SIGKILL)

        request = preprocess_pb2.WatchPreprocessJobRequest(name=job.name)
        watch(preprocess_server, PreprocessServiceStub, "WatchPreprocessJob", request, see)
        suite.until_swept("preprocess")
    return run
