"""Training jobs through real processes: the service, workers, Redis, an S3 server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from job_services import AVATAR, PreprocessRun, Running, Suite, call, until, watch
from tiny import CONSENT

from services.common.artifacts import ArtifactRef, download_folder
from services.common.errors import NotFound
from services.common.rpc.messages import artifact_ref, artifact_ref_message, object_ref
from services.common.storage import ObjectRef
from services.gen.avatar.v1 import trainer_pb2, types_pb2
from services.gen.avatar.v1.trainer_pb2_grpc import TrainerServiceStub
from synctalk.avatar import Avatar
from synctalk.bundle import AvatarBundle
from synctalk.errors import InputError


def create(server: Running, **fields: object) -> trainer_pb2.TrainingJob:
    job = trainer_pb2.TrainingJob(
        avatar=AVATAR, preset=trainer_pb2.TRAINING_PRESET_DEMO, consent=CONSENT
    )
    job.MergeFrom(trainer_pb2.TrainingJob(**fields))  # type: ignore[arg-type]
    request = trainer_pb2.CreateTrainingJobRequest(parent="tenants/acme", training_job=job)
    made = call(server, TrainerServiceStub, "CreateTrainingJob", request).training_job
    assert isinstance(made, trainer_pb2.TrainingJob)
    return made


def job_id(job: trainer_pb2.TrainingJob) -> str:
    return job.name.rpartition("/")[2]


@dataclass
class TrainingRun:
    """A training job whose worker was killed halfway, as its watcher saw it."""

    seen: list[trainer_pb2.TrainingJob] = field(default_factory=list)

    @property
    def job(self) -> trainer_pb2.TrainingJob:
        return self.seen[-1]


@pytest.fixture(scope="module")
def trained(suite: Suite, trainer_server: Running, preprocessed: PreprocessRun) -> TrainingRun:
    """A worker is killed soon after its first preview; one on another machine takes the job."""
    run = TrainingRun()
    job = create(trainer_server, dataset=preprocessed.job.dataset)
    with suite.run("trainer", "work", "a") as first, suite.redis() as redis:

        def checkpoint() -> str | None:
            return redis.hget(f"jobs:{{train}}:job:{job_id(job)}", "checkpoint")

        def previewed() -> bool:
            request = trainer_pb2.GetTrainingJobRequest(name=job.name)
            got = call(trainer_server, TrainerServiceStub, "GetTrainingJob", request).training_job
            run.seen.append(got)
            return got.status.progress.HasField("preview")

        until(previewed, "a preview")
        before = checkpoint()
        until(lambda: checkpoint() != before, "a checkpoint of a later step")
        first.kill()
    with suite.run("trainer", "work", "b"):
        request = trainer_pb2.WatchTrainingJobRequest(name=job.name)
        watch(
            trainer_server, TrainerServiceStub, "WatchTrainingJob", request,
            lambda response: run.seen.append(response.training_job),
        )  # fmt: skip
        suite.until_swept("train")
    return run


def test_training_killed_on_one_machine_goes_on_from_its_checkpoint_on_another(
    trained: TrainingRun,
) -> None:
    status = trained.job.status
    assert status.state == types_pb2.JOB_STATE_SUCCEEDED, status
    assert status.attempt == 2
    log = [line.partition(" ")[2] for line in status.log_tail]
    assert log.count("train") == 2
    assert any(line.startswith(f"going on from {AVATAR}/checkpoints/") for line in log)
    steps = [line for line in log if line.startswith("train: step")]
    assert len(set(steps)) == 3  # at 100, 200, 300; one that is repeated finds the same


def test_exactly_one_bundle_is_published_and_can_be_rendered(
    suite: Suite, trained: TrainingRun, preprocessed: PreprocessRun, tmp_path: Path
) -> None:
    version = trained.job.avatar_version
    assert version.name == f"{AVATAR}/versions/1"
    assert version.bundle.prefix == f"{AVATAR}/bundles/v1/attempts/2"
    assert version.metrics["held_out_psnr_db"] > 30
    keys = suite.keys(f"{AVATAR}/bundles")
    assert keys
    assert all(key.startswith(f"{version.bundle.prefix}/") for key in keys)
    download_folder(suite.store, artifact_ref(version.bundle), tmp_path / "avatar")
    bundle = AvatarBundle.open(tmp_path / "avatar")
    bundle.verify()
    assert bundle.manifest.consent_id == CONSENT
    assert [point.step for point in bundle.manifest.training_curve] == [100, 200, 300]
    avatar = Avatar.load(bundle.path)
    plate = np.zeros((192, 192, 3), np.uint8)
    (frame,) = avatar.render(avatar.source[slice(0, 1)], [plate])
    assert frame.std() > 10


def test_success_removes_checkpoints_and_leaves_one_preview(
    suite: Suite, trained: TrainingRun
) -> None:
    name = job_id(trained.job)
    assert suite.keys(f"{AVATAR}/checkpoints/{name}") == []
    preview = object_ref(trained.job.status.progress.preview)
    assert suite.keys(f"{AVATAR}/previews/{name}") == [preview.key]
    picture = cv2.imdecode(np.frombuffer(suite.store.get_bytes(preview), np.uint8), 1)
    rendered, source = picture[:200, :200].astype(float), picture[:200, -200:].astype(float)
    assert rendered.std() > 10
    assert source.std() > 10
    assert not any((suite.folder / "b" / "training").iterdir())


def test_progress_and_held_out_quality_can_be_watched(trained: TrainingRun) -> None:
    running = [
        job.status for job in trained.seen if job.status.state == types_pb2.JOB_STATE_RUNNING
    ]
    last = [status.progress.fraction for status in running if status.attempt == 2]
    assert last == sorted(last)
    assert len(set(last)) > 5
    assert any(status.progress.HasField("eta") for status in running)
    assert any(status.progress.metrics["held_out_psnr_db"] > 25 for status in running)


def test_a_cancelled_training_stops_and_leaves_nothing(
    suite: Suite, trainer_server: Running, preprocessed: PreprocessRun
) -> None:
    job = create(trainer_server, dataset=preprocessed.job.dataset)
    name = job_id(job)
    before = suite.keys(f"{AVATAR}/bundles")
    with suite.run("trainer", "work", "b") as worker:

        def cancel(response: trainer_pb2.WatchTrainingJobResponse) -> None:
            if suite.keys(f"{AVATAR}/checkpoints/{name}"):
                request = trainer_pb2.CancelTrainingJobRequest(name=job.name)
                call(trainer_server, TrainerServiceStub, "CancelTrainingJob", request)

        request = trainer_pb2.WatchTrainingJobRequest(name=job.name)
        end = watch(trainer_server, TrainerServiceStub, "WatchTrainingJob", request, cancel)
        assert end.training_job.status.state == types_pb2.JOB_STATE_CANCELLED
        assert not end.training_job.HasField("avatar_version")
        until(lambda: not worker.children(), "nothing works on it any more")
        suite.until_swept("train")
    assert suite.keys(f"{AVATAR}/checkpoints/{name}") == []
    assert suite.keys(f"{AVATAR}/bundles") == before


def test_a_dataset_that_is_gone_fails_at_once(suite: Suite, trainer_server: Running) -> None:
    prefix = f"{AVATAR}/dataset/gone/attempts/1"
    gone = ArtifactRef(prefix, ObjectRef(f"{prefix}/_listing.json", 5, "0" * 64))
    job = create(trainer_server, dataset=artifact_ref_message(gone))
    with suite.run("trainer", "work"):
        request = trainer_pb2.WatchTrainingJobRequest(name=job.name)
        end = watch(
            trainer_server, TrainerServiceStub, "WatchTrainingJob", request, lambda seen: None
        )
    status = end.training_job.status
    assert (status.state, status.attempt) == (types_pb2.JOB_STATE_FAILED, 1)
    assert status.failure.reason == "DATASET_GONE"


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"preset": 9}, InputError, "UNKNOWN_PRESET"),
        ({"consent": "ann"}, InputError, "INVALID_NAME"),
        ({"consent": "tenants/others/consents/ann"}, NotFound, "NOT_FOUND"),
        ({"avatar": "tenants/others/avatars/ann"}, NotFound, "NOT_FOUND"),
        ({"dataset": types_pb2.ArtifactRef(prefix="tenants/others/x")}, NotFound, "NOT_FOUND"),
        (
            {"dataset": types_pb2.ArtifactRef(listing={"key": "tenants/others/y"})},
            InputError,
            "INVALID_ARTIFACT_REF",
        ),
    ],
)
def test_what_cannot_succeed_is_refused_at_the_door(
    trainer_server: Running, fields: dict[str, object], error: type[Exception], reason: str
) -> None:
    prefix = f"{AVATAR}/dataset/some/attempts/1"
    dataset = artifact_ref_message(
        ArtifactRef(prefix, ObjectRef(f"{prefix}/_listing.json", 5, "0" * 64))
    )
    dataset.MergeFrom(fields.pop("dataset", types_pb2.ArtifactRef()))  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        create(trainer_server, dataset=dataset, **fields)
    assert caught.value.reason == reason  # type: ignore[attr-defined]


def test_training_without_consent_is_refused(trainer_server: Running) -> None:
    request = trainer_pb2.CreateTrainingJobRequest(
        parent="tenants/acme",
        training_job=trainer_pb2.TrainingJob(
            avatar=AVATAR,
            preset=trainer_pb2.TRAINING_PRESET_DEMO,
            dataset=types_pb2.ArtifactRef(
                prefix=f"{AVATAR}/dataset",
                listing=types_pb2.ObjectRef(key=f"{AVATAR}/dataset/_listing.json", sha256="0" * 64),
            ),
        ),
    )
    with pytest.raises(InputError) as caught:
        call(trainer_server, TrainerServiceStub, "CreateTrainingJob", request)
    assert caught.value.reason == "CONSENT_REQUIRED"
