"""Stand-ins for the workers of all three queues, on the real queues.

What they do with a job is written in the upload itself: a :class:`Script` as JSON takes the place
of video and audio. What they leave behind has the form of the real thing, and its places.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from services.common import logs
from services.common.artifacts import ArtifactRef, artifact_files, upload_folder
from services.common.dubs import DUB_JOBS, DubOutput, DubRequest, dub_prefix
from services.common.job_progress import JobProgress
from services.common.jobs import JobContext, JobSettings, JobType, Worker
from services.common.jobs.connect import connect_worker
from services.common.settings import StorageSettings
from services.common.storage import ObjectStore
from services.preprocess import job as preprocess
from services.trainer import job as trainer
from services.trainer.versions import version_number
from synctalk.errors import FootageError, TrainingError

SCRIPT = "script.json"
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Script:
    """What the stand-ins do.

    Args:
        hold: stage that goes on until the job is told to stop or ``go`` is an object's key.
        refuse: the footage is no good.
        fail_until: training fails before this attempt.
    """

    hold: str = ""
    go: str = ""
    refuse: bool = False
    fail_until: int = 0


def read(store: ObjectStore, key: str) -> Script:
    data = store.get_bytes(store.reference(key))
    return Script(**json.loads(data))


class Work:
    """The three handlers."""

    def __init__(self, storage: StorageSettings, redis_url: str) -> None:
        self._storage, self._redis_url = storage, redis_url

    def preprocess(
        self, context: JobContext, task: preprocess.PreprocessTask
    ) -> preprocess.PreprocessResult:
        store = ObjectStore(self._storage)
        script, progress = read(store, task.source.key), JobProgress(context, {"track": 1.0})
        level = "refuse" if script.refuse else "good"
        verdict = {
            "name": "face_size", "value": 0.4, "unit": "", "level": level,
            "message": "the face fills 40 %", "remedy": "",
        }  # fmt: skip
        quality = {"schema_version": 1, "level": level, "verdicts": [verdict]}
        folder = preprocess.report_prefix(context.job)
        progress.show(store.put_bytes(f"{folder}/quality.png", b"png", "image/png"))
        report = store.put_bytes(f"{folder}/quality.json", json.dumps(quality).encode())
        context.save_checkpoint(preprocess.dump_checkpoint(preprocess.PreprocessCheckpoint(report)))
        progress.report("track", 0.5)
        self._hold(context, store, script, "preprocess")
        if script.refuse:
            raise FootageError("no face in frame 7", reason="NO_FACE", remedy="Face the camera.")
        data = store.get_bytes(task.source)
        dataset = self._folder(store, preprocess.attempt_prefix(context.job), data)
        return preprocess.PreprocessResult(dataset, report)

    def train(self, context: JobContext, task: trainer.TrainingTask) -> trainer.TrainingResult:
        store = ObjectStore(self._storage)
        files = artifact_files(store, task.dataset)
        script, progress = read(store, files[SCRIPT].key), JobProgress(context, {"train": 1.0})
        key = f"{trainer.previews_prefix(context.job)}/attempts/{context.attempt}/1.jpg"
        progress.show(store.put_bytes(key, b"jpg", "image/jpeg"))
        progress.report("train", 0.5)
        self._hold(context, store, script, "train")
        if context.attempt < script.fail_until:
            raise TrainingError("the loss is not finite", reason="LOSS_NOT_FINITE")
        with connect_worker(self._redis_url) as redis:
            version = version_number(redis, task.avatar, context.job.id)
        prefix = f"{trainer.version_prefix(task.avatar, version)}/attempts/{context.attempt}"
        bundle = self._folder(store, prefix, store.get_bytes(files[SCRIPT]))
        return trainer.TrainingResult(version, bundle, {"psnr_db": 40.0})

    def dub(self, context: JobContext, request: DubRequest) -> DubOutput:
        store = ObjectStore(self._storage)
        script, progress = read(store, request.audio.key), JobProgress(context, {"render": 1.0})
        progress.report("render", 0.5)
        self._hold(context, store, script, "dub")
        prefix = f"{dub_prefix(context.job.tenant, context.job.id)}/attempts/{context.attempt}"
        video = store.put_bytes(f"{prefix}/video.mp4", b"a video", "video/mp4")
        preview = store.put_bytes(f"{prefix}/preview.jpg", b"jpg", "image/jpeg")
        vtt = store.put_bytes(f"{prefix}/c.vtt", b"WEBVTT") if request.text else None
        return DubOutput(video, preview, vtt, None, 25, 1.0)

    def _hold(self, context: JobContext, store: ObjectStore, script: Script, stage: str) -> None:
        while script.hold == stage and not (script.go and store.exists(script.go)):
            context.check()
            time.sleep(0.05)

    def _folder(self, store: ObjectStore, prefix: str, script: bytes) -> ArtifactRef:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / SCRIPT).write_bytes(script)
            return upload_folder(store, Path(folder), prefix)


def follow(run: Callable[[], None]) -> None:
    """Work, and die with whoever started this process, however that dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    run()


def main() -> None:
    logs.configure("gateway-worker")
    settings = JobSettings.model_validate_json(os.environ["AVATAR_JOBS"])
    storage = TypeAdapter(StorageSettings).validate_python(
        {
            "url": os.environ["AVATAR_STORAGE__URL"],
            "access_key": os.environ["AVATAR_STORAGE__ACCESS_KEY"],
            "secret_key": os.environ["AVATAR_STORAGE__SECRET_KEY"],
        }
    )
    work = Work(storage, os.environ["AVATAR_REDIS_URL"])
    queues: list[tuple[JobType[Any, Any], Callable[..., Any]]] = [
        (preprocess.JOB_TYPE, work.preprocess),
        (trainer.JOB_TYPE, work.train),
        (DUB_JOBS, work.dub),
    ]
    workers = [
        Worker(os.environ["AVATAR_REDIS_URL"], kind, handler, settings) for kind, handler in queues
    ]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=follow, args=(worker.run,)) for worker in workers]
    for process in processes:
        process.start()
    signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in processes])
    print(json.dumps({"metrics_port": 0}), flush=True)
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
