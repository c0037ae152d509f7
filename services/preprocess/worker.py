"""The work of a preprocess job: download the video, ``synctalk.preprocess``, upload the dataset.

Each stage's files stay in a folder of this machine until the job has ended, so an attempt after a
crash begins where the last one here stopped; on another machine it begins anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from services.common.artifacts import upload_folder
from services.common.erased_copies import ErasedCopies
from services.common.errors import NotFound, ServiceError
from services.common.job_progress import JobProgress, shown_picture
from services.common.jobs import Job, JobContext
from services.common.storage import ObjectRef, ObjectStore
from services.common.sweeping import sweep_all_but
from services.common.work_folders import WorkFolders
from services.preprocess.job import (
    PreprocessCheckpoint,
    PreprocessResult,
    PreprocessTask,
    attempt_prefix,
    dataset_of,
    dump_checkpoint,
    job_prefix,
    quality_report,
    report_prefix,
)
from services.preprocess.settings import PreprocessSettings
from synctalk.errors import InputError
from synctalk.progress import ProgressEvent

# Seconds on two cores for 71 s of video at 512 px, and what transfers may take.
SHARES = {
    "download": 2.0, "locate": 1.0, "normalise": 3.5, "cuts": 4.7, "track": 19.4, "quality": 5.3,
    "head motion": 8.0, "head points": 8.0, "head model": 13.0, "head poses": 13.0,
    "scene": 10.0, "parse": 48.0, "audio": 1.3, "upload": 5.0,
}  # fmt: skip

DATASET = Path("dataset")
WORK = Path("dataset.preprocessing")


class PreprocessWork:
    """Handler and sweeper of preprocess jobs."""

    def __init__(self, settings: PreprocessSettings) -> None:
        self._settings = settings
        self._folders = WorkFolders(settings.work_dir / "preprocess")
        self.tidy = ErasedCopies(
            settings.redis_url.get_secret_value(), [(self._folders, settings.preprocess_keep_s)]
        )

    def handle(self, context: JobContext, task: PreprocessTask) -> PreprocessResult:
        """Work on one job, in a process of its own."""
        name, of = context.job.id, context.job.publish_as
        try:
            # A process of an earlier attempt may still have the job's folder: stopped, not dead.
            with self._folders.own(name, f"{name}.{context.attempt}", of=of) as folder:
                # Errors name files by relative paths: nobody learns where they lie on this machine.
                os.chdir(folder)
                result = _Attempt(context, task, ObjectStore(self._settings.storage)).run()
        except InputError:  # no retry can help, so none will need the folder
            self._folders.remove(name)
            raise
        self._folders.remove(name)
        return result

    def sweep(self, job: Job) -> None:
        """Remove from the store, and from this machine, what the ended job does not show."""
        self._folders.remove(job.id)
        shown = (shown_picture(job.progress.preview), quality_report(job))
        keep = [ref.key for ref in shown if ref is not None]
        dataset = dataset_of(job)
        if dataset is not None:
            keep.append(dataset.prefix)
        sweep_all_but(ObjectStore(self._settings.storage), job_prefix(job), keep)


class _Attempt:
    """One attempt, in its folder."""

    def __init__(self, context: JobContext, task: PreprocessTask, store: ObjectStore) -> None:
        self._context, self._task, self._store = context, task, store
        self._progress = JobProgress(context, SHARES)
        self._report: ObjectRef | None = None
        self._early_report = False

    def run(self) -> PreprocessResult:
        source = self._download()
        if not (DATASET / "manifest.json").is_file():  # else it only was not uploaded
            self._preprocess(source)
        self._progress.report("upload")
        report = self._publish_report(DATASET)
        dataset = upload_folder(self._store, DATASET, attempt_prefix(self._context.job))
        self._progress.report("upload", 1.0)
        return PreprocessResult(dataset, report)

    def _download(self) -> Path:
        self._progress.report("download")
        source = Path("source", self._task.source.key.rpartition("/")[2])
        if not source.is_file():
            try:
                self._store.get_file(self._task.source, source)
            except NotFound:
                raise InputError(
                    f"{self._task.source.key} is not there.",
                    reason="SOURCE_GONE",
                    remedy="Upload the video again and create a new job.",
                ) from None
        return source

    def _preprocess(self, source: Path) -> None:
        from synctalk.preprocessing import preprocess
        from synctalk.preprocessing.pipeline import QualityRefused

        try:
            preprocess(source, DATASET, size=self._task.size_px, progress=self._on_progress)
        except QualityRefused as error:
            self._show_report(error.report.to_json())
            raise

    def _on_progress(self, event: ProgressEvent) -> None:
        self._progress(event)
        if self._early_report or not self._progress.after("quality"):
            return
        self._early_report = True
        try:
            self._publish_report(WORK)
        except ServiceError as error:  # the store is away; the end is time enough
            self._progress.log(f"report not shown yet: {error}")

    def _publish_report(self, folder: Path) -> ObjectRef:
        """Show what the stage ``quality`` wrote; only once."""
        if self._report is not None:
            return self._report
        from synctalk.dataset import QUALITY, QUALITY_PICTURE

        key = f"{report_prefix(self._context.job)}/{QUALITY_PICTURE}"
        self._progress.show(self._store.put_file(key, folder / QUALITY_PICTURE, "image/png"))
        return self._show_report((folder / QUALITY).read_text())

    def _show_report(self, text: str) -> ObjectRef:
        key = f"{report_prefix(self._context.job)}/quality.json"
        self._report = self._store.put_bytes(key, text.encode(), "application/json")
        self._context.save_checkpoint(dump_checkpoint(PreprocessCheckpoint(self._report)))
        return self._report
