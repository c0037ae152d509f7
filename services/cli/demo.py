"""The whole path in one command, by the services: the same result as ``synctalk demo``."""

from __future__ import annotations

import asyncio
import getpass
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.markup import escape

from services.cli import words
from services.cli.api import FOREVER_S, Api, Resource
from services.cli.screen import Screen
from services.cli.session import Outcome
from services.cli.suite_commands import start
from services.cli.transfer import check_file, upload
from services.cli.waiting import bytes_shown, fetch_dub, wait_for
from services.common.artifacts import ArtifactRef, download_folder
from services.common.jobs import JobQueue, JobSettings, connect
from services.common.local_server import HOST, free_port
from services.preprocess import job as preprocess_job
from services.suite import control
from services.suite.settings import FILE as SETTINGS_FILE
from services.suite.settings import SuiteSettings
from services.suite.storage import store
from services.trainer import job as train_job
from synctalk.cli.demo import given_or_sample
from synctalk.errors import SyncTalkError

_SAMPLE_CONSENT = "The person is invented: nobody is shown."
_OWN_CONSENT = (
    "No statement was asked for: {user} made this avatar of {file} in a demonstration on their own "
    "machine, and answers for the consent of the person shown."
)
_MADE = ("dataset", "avatar", "report")


def run_demo(
    video: Path | None, audio: Path | None, out: Path, preset: str, screen: Screen
) -> Outcome:
    """Start a suite in ``out/suite``, make and dub an avatar through its API, stop it, evaluate.

    Raises:
        SyncTalkError: whatever a part raises; no process is left.
    """
    consent = _SAMPLE_CONSENT
    if video is not None:
        consent = _OWN_CONSENT.format(user=getpass.getuser(), file=video.name)
    video, audio = given_or_sample(video, "portrait.mp4"), given_or_sample(audio, "speech.wav")
    check_file(video)
    check_file(audio)
    timings_s: dict[str, float] = {}
    with _suite(out, screen, timings_s) as settings:
        api = Api(settings.url, settings.key, FOREVER_S, screen.note)
        avatar = _make_avatar(api, video, consent, preset, screen, timings_s)
        dub = _make_dub(api, avatar, audio, out, screen, timings_s)
        api.close()
        asyncio.run(_fetch_artifacts(settings, avatar, out))
    began_s = time.monotonic()
    evaluation = _evaluate(out)
    timings_s["evaluate"] = round(time.monotonic() - began_s, 2)
    return _closing(out, timings_s, avatar, dub, evaluation)


@contextmanager
def _suite(out: Path, screen: Screen, timings_s: dict[str, float]) -> Iterator[SuiteSettings]:
    """A suite of the demo's own, from nothing; what an earlier demo made is removed."""
    folder = (out / "suite").resolve()
    control.stop(folder)
    if (folder / SETTINGS_FILE).is_file():
        shutil.rmtree(folder)
    for name in _MADE:
        shutil.rmtree(out / name, ignore_errors=True)
    began_s = time.monotonic()
    changes = {"AVATAR_URL": f"http://{HOST}:{free_port()}"}
    settings, supervisor = start(folder, changes, screen, attached=True)
    timings_s["start"] = round(time.monotonic() - began_s, 2)
    try:
        yield settings
    finally:
        control.stop(folder)
        supervisor.wait()


def _make_avatar(
    api: Api, video: Path, consent: str, preset: str, screen: Screen, timings_s: dict[str, float]
) -> Resource:
    uploaded = upload(api, video, "video", bytes_shown(screen, "upload"))
    statement = {"subject_name": "demo", "statement": consent, "granted_by": getpass.getuser()}
    body = {
        "name": "demo",
        "video": uploaded,
        "preset": preset,
        "consent": api.post("consents", statement)["id"],
    }
    made = wait_for(api, f"avatars/{api.post('avatars', body)['id']}", screen)
    for job in made["jobs"]:
        timings_s[job["type"]] = _duration_s(api.get(f"jobs/{job['id']}"))
    return made


def _make_dub(
    api: Api, avatar: Resource, audio: Path, out: Path, screen: Screen, timings_s: dict[str, float]
) -> Resource:
    uploaded = upload(api, audio, "audio", bytes_shown(screen, "upload speech"))
    made = api.post("dubs", {"avatar": avatar["id"], "audio": uploaded})
    done = wait_for(api, f"dubs/{made['id']}", screen)
    timings_s["dub"] = _duration_s(api.get(f"jobs/{made['job']}"))
    fetch_dub(api, done, out / "dubbed.mp4", screen)
    return done


async def _fetch_artifacts(settings: SuiteSettings, avatar: Resource, out: Path) -> None:
    """Dataset and bundle, which the API gives to nobody: whoever runs a suite has its storage."""
    jobs = {job["type"]: job["id"] for job in avatar["jobs"]}
    async with connect(settings.redis.url) as redis:
        preprocess = JobQueue(redis, preprocess_job.JOB_TYPE, JobSettings())
        train = JobQueue(redis, train_job.JOB_TYPE, JobSettings())
        dataset = preprocess_job.dataset_of(await preprocess.get(jobs["preprocess"]))
        result = train_job.result_of(await train.get(jobs["train"]))
    assert dataset is not None
    assert result is not None
    for artifact, name in ((dataset, "dataset"), (result.bundle, "avatar")):
        _fetch(settings, artifact, out / name)


def _fetch(settings: SuiteSettings, artifact: ArtifactRef, folder: Path) -> None:
    download_folder(store(settings), artifact, folder)


def _evaluate(out: Path) -> Resource:
    """In a process of its own, because it loads torch; its progress is on our stderr."""
    command = ["evaluate", out / "avatar", out / "dataset", "--out", out / "report", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "synctalk", *map(str, command)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout) if done.stdout.strip() else {}
    if done.returncode != 0:
        if "error" not in said:
            raise SyncTalkError(f"synctalk evaluate ended with {done.returncode}.")
        error = said["error"]
        raise SyncTalkError(error["message"], reason=error["reason"], remedy=error["remedy"])
    return dict(said["result"])


def _duration_s(job: Resource) -> float:
    """From queueing to the end: a second attempt counts too."""
    began, ended = (datetime.fromisoformat(job[name]) for name in ("created_at", "ended_at"))
    return round((ended - began).total_seconds(), 2)


def _closing(
    out: Path, timings_s: dict[str, float], avatar: Resource, dub: Resource, evaluation: Resource
) -> Outcome:
    page = out / "report" / "index.html"
    seconds = "  ".join(f"{name} {value:.1f} s" for name, value in timings_s.items())
    total = sum(timings_s.values())
    said = [
        f"[bold green]Avatar[/] {avatar['id']}: {words.figures(avatar['metrics'])}",
        f"[bold green]Video[/] {escape(str(out / 'dubbed.mp4'))}: {dub['duration_s']:.1f} s",
        "",
        f"Timings: {seconds}  total {total:.1f} s",
        f"Watch   {escape(str(out / 'dubbed.mp4'))}",
        f"Open    {escape(str(page))}",
        f"Look at {escape(str(page.with_name('contact_sheet.png')))}",
        f"Go on   AVATAR_HOME={escape(str(out / 'suite'))} avatar up",
    ]
    result = {
        "path": str(out),
        "timings_s": timings_s,
        "avatar": {"path": str(out / "avatar"), **avatar},
        "dub": {**dub, "path": str(out / "dubbed.mp4")},
        "evaluation": evaluation,
    }
    return Outcome(result, "\n".join(said))
