"""The work of a training job: download the dataset, ``synctalk.train``, upload the bundle.

While it trains, checkpoints go to the object store, so that any worker goes on where another one
stopped, and pictures show how far it is.
"""

from __future__ import annotations

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from services.common.artifacts import download_folder, upload_folder
from services.common.consents import Scope, require_consent
from services.common.erased_copies import ErasedCopies
from services.common.errors import FailedPrecondition, NotFound, PermissionDenied, ServiceError
from services.common.job_progress import JobProgress, shown_picture
from services.common.jobs import Job, JobContext, JobState
from services.common.jobs.connect import connect_worker
from services.common.storage import ObjectStore
from services.common.sweeping import sweep_all_but
from services.common.work_folders import WorkFolders
from services.trainer.checkpoints import Checkpoints
from services.trainer.job import (
    TrainingResult,
    TrainingTask,
    checkpoints_prefix,
    load_checkpoint,
    previews_prefix,
    result_of,
    version_prefix,
)
from services.trainer.settings import TrainerSettings
from services.trainer.versions import known_version, version_number
from synctalk.errors import InputError, TrainingError

if TYPE_CHECKING:  # imported where they are used: the worker's process stays small
    from synctalk.bundle import AvatarBundle
    from synctalk.training import HeldOutCheck

_AWAY_S = 0.5
_DEAD_RUN_KEEP_S = 60.0  # nobody takes it up again: the checkpoint is in the store

OUT = Path("avatar")
WORK = Path("avatar.training")

# Seconds on two cores for 26 s of video at 512 px; a step costs about 31 ms there.
_STEP_S = 0.031
_AROUND_S = {
    "download": 1.0, "load frames": 4.0, "lips": 1.0, "expression": 6.0, "torso": 25.0,
    "mattes": 5.0, "torso plates": 10.0, "upload": 2.0,
}  # fmt: skip


class TrainingWork:
    """Handler and sweeper of training jobs."""

    def __init__(self, settings: TrainerSettings) -> None:
        self._settings = settings
        self._redis_url = settings.redis_url.get_secret_value()
        self._datasets = WorkFolders(settings.work_dir / "datasets")
        self._runs = WorkFolders(settings.work_dir / "training")
        self.tidy = ErasedCopies(
            self._redis_url,
            [(self._datasets, settings.trainer_dataset_keep_s), (self._runs, _DEAD_RUN_KEEP_S)],
        )

    def handle(self, context: JobContext, task: TrainingTask) -> TrainingResult:
        """Work on one job, in a process of its own."""
        store = ObjectStore(self._settings.storage)
        run = _Run(context, task, store, self._settings)
        name, of = f"{context.job.id}.{context.attempt}", task.avatar
        fetch = partial(_fetch, store, task)
        try:
            run.check_consent()
            run.progress.report("download")
            # The listing's digest stands for all files of the dataset.
            with (
                self._datasets.share(task.dataset.listing.sha256, fetch, of=of) as dataset,
                self._runs.own(name, of=of) as folder,
            ):
                # Errors name files by relative paths: nobody learns where they lie here.
                os.chdir(folder)
                return run.work(dataset)
        finally:
            self._runs.remove(name)

    def sweep(self, job: Job) -> None:
        """Remove from the store what the ended job does not show.

        The checkpoint of a dead job stays: requeued, it goes on from there.
        """
        store = ObjectStore(self._settings.storage)
        picture, result = shown_picture(job.progress.preview), result_of(job)
        checkpoint = load_checkpoint(job.checkpoint) if job.state is JobState.DEAD else None
        sweep_all_but(store, previews_prefix(job), [picture.key] if picture else [])
        sweep_all_but(
            store, checkpoints_prefix(job), [checkpoint.folder.prefix] if checkpoint else []
        )
        with connect_worker(self._redis_url) as redis:
            version = known_version(redis, job.publish_as, job.id)
        if version is not None:
            keep = [result.bundle.prefix] if result else []
            sweep_all_but(store, version_prefix(job.publish_as, version), keep)


class _Run:
    """One attempt, in its folder."""

    def __init__(
        self, context: JobContext, task: TrainingTask, store: ObjectStore, settings: TrainerSettings
    ) -> None:
        from synctalk.training import preset

        self._context, self._task, self._store, self._settings = context, task, store, settings
        self._config = preset(task.preset, settings.trainer_steps)
        around = dict(_AROUND_S)
        before = {name: around.pop(name) for name in ("download", "load frames")}
        train_s = self._config.steps * _STEP_S
        self.progress = JobProgress(context, {**before, "train": train_s, **around})
        self._redis_url = settings.redis_url.get_secret_value()
        self._checkpoints = Checkpoints(context, self.progress, store, self._redis_url)

    def check_consent(self) -> None:
        """Refuse to begin without the consent of the person shown, whoever made the job."""
        try:
            with connect_worker(self._redis_url) as redis:
                require_consent(
                    redis, self._context.job.tenant, self._task.consent, Scope.AVATAR,
                    self._context.check,
                )  # fmt: skip
        except (FailedPrecondition, PermissionDenied) as error:  # no retry can help
            raise InputError(error.message, reason=error.reason, remedy=error.remedy) from error

    def work(self, dataset: Path) -> TrainingResult:
        try:
            bundle = self._train(dataset, self._checkpoints.restore(WORK))
        except TrainingError as error:
            if error.reason != "CHECKPOINT_MISMATCH":
                raise
            # The attempt before ran another release, which trains in another way.
            self.progress.log("the checkpoint is of another release: training begins anew")
            shutil.rmtree(WORK)
            bundle = self._train(dataset, False)
        return self._publish(bundle)

    def _train(self, dataset: Path, resume: bool) -> AvatarBundle:
        from synctalk.training import train

        return train(
            dataset,
            OUT,
            config=self._config,
            resume=resume,
            consent_id=self._task.consent,
            checkpoint_every_s=self._settings.trainer_checkpoint_s,
            on_checkpoint=self._checkpoints.keep,
            on_check=self._show,
            progress=self.progress,
        )

    def _show(self, check: HeldOutCheck) -> None:
        from services.trainer.preview import draw_preview

        last = check.curve[-1]
        self.progress.log(f"train: step {last.step}, held-out PSNR {last.psnr_db:.2f} dB")
        job = self._context.job
        key = f"{previews_prefix(job)}/attempts/{job.attempt}/{check.step:06d}.jpg"
        try:
            shown = draw_preview(check, self._config.steps)
            picture = self._store.put_bytes(key, shown, "image/jpeg")
        except ServiceError as error:  # the next one will do
            self.progress.log(f"preview not kept: {error}")
            return
        self.progress.show(picture)

    def _publish(self, bundle: AvatarBundle) -> TrainingResult:
        self.progress.report("upload")
        version = self._version()
        prefix = f"{version_prefix(self._task.avatar, version)}/attempts/{self._context.attempt}"
        artifact = upload_folder(self._store, bundle.path, prefix)
        self.progress.report("upload", 1.0)
        return TrainingResult(version, artifact, dict(bundle.manifest.metrics))

    def _version(self) -> int:
        """Waits for Redis where it is away: an outage is to cost no attempt."""
        with connect_worker(self._redis_url) as redis:
            while True:
                try:
                    return version_number(redis, self._task.avatar, self._context.job.id)
                except RedisError:
                    self._context.check()
                    time.sleep(_AWAY_S)


def _fetch(store: ObjectStore, task: TrainingTask, folder: Path) -> None:
    try:
        download_folder(store, task.dataset, folder)
    except NotFound:
        raise InputError(
            f"the dataset {task.dataset.prefix} is not there, or not whole.",
            reason="DATASET_GONE",
            remedy="Preprocess the video again and create a new job.",
        ) from None
