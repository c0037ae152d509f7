"""``avatar jobs``, ``cancel``, ``requeue``, ``logs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.calls import Limit, find_avatar
from services.cli.session import EXIT_CODES, AsJson, Outcome, run
from services.suite.settings import default_folder
from synctalk.errors import InputError

if TYPE_CHECKING:
    from services.cli.api import Api, Resource
    from services.cli.screen import Screen

_OPEN = ("queued", "waiting", "running")


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (jobs, cancel, requeue, logs):
        app.command(epilog=EXIT_CODES, rich_help_panel="Jobs")(command)


def jobs(
    context: typer.Context,
    type_: Annotated[str, typer.Option("--type", help="preprocess, train or dub.")] = "",
    state: Annotated[
        str, typer.Option(help="queued, waiting, running, succeeded, failed, cancelled or dead.")
    ] = "",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""

    def work(screen: Screen) -> Outcome:
        from rich.text import Text

        from services.cli import words

        query = {name: value for name, value in (("type", type_), ("state", state)) if value}
        with context.obj.connect(screen) as api:
            found = api.list("jobs", limit, **query)
        rows = [
            (
                one["id"], one["type"], Text.from_markup(words.state(one)).plain,
                f"{one['attempt']}/{one['max_attempts']}", one["resource"], one["stage"],
            )
            for one in found
        ]  # fmt: skip
        columns = ("id", "type", "state", "attempt", "for", "stage")
        return Outcome({"data": found}, words.table(columns, rows, "No such jobs."))

    run("jobs", work, as_json=as_json)


def cancel(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="ID", help="Of a job; or of an avatar or dub, for its job.")
    ],
    as_json: AsJson = False,
) -> None:
    """Cancel a job within seconds. What it was for can be tried again with avatar requeue."""
    run("cancel", lambda screen: _act(context, screen, what, "cancel"), as_json=as_json)


def requeue(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="ID", help="Of a job; or of an avatar or dub, for its job.")
    ],
    as_json: AsJson = False,
) -> None:
    """Queue a job again that has failed or was cancelled; it goes on from its last checkpoint."""
    run("requeue", lambda screen: _act(context, screen, what, "requeue"), as_json=as_json)


def logs(
    context: typer.Context,
    process: Annotated[
        str, typer.Argument(metavar="[PROCESS]", help="E.g. gateway or renderer-1; all if absent.")
    ] = "",
    job: Annotated[str, typer.Option("--job", metavar="ID", help="The log of this job.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many.")] = 50,
    raw: Annotated[bool, typer.Option("--raw", help="As they are written, in JSON.")] = False,
) -> None:
    """Show the logs of the processes on this machine, or of one job, wherever it ran.

    Examples: [bold]avatar logs gateway -f[/], [bold]avatar logs --job job_…[/]
    """

    def work(screen: Screen) -> Outcome:
        from services.cli import log_lines

        if job:
            with context.obj.connect(screen, patient=follow) as api:
                log_lines.show_job(api, job, lines, follow=follow)
        else:
            log_lines.show_processes(_files(default_folder(), process), lines, follow, raw)
        return Outcome({}, "")

    run("logs", work)


def _act(context: typer.Context, screen: Screen, what: str, action: str) -> Outcome:
    from services.cli import words

    with context.obj.connect(screen) as api:
        done = [api.post(f"jobs/{job}/{action}") for job in _jobs_of(api, what, action)]
    return Outcome({"data": done}, "\n".join(words.job(job) for job in done))


def _jobs_of(api: Api, what: str, action: str) -> list[str]:
    """The jobs that are meant: what to cancel is open, what to requeue is the last one."""
    if what.startswith("av_"):
        jobs = [str(job["id"]) for job in find_avatar(api, what)["jobs"]]
    elif what.startswith("dub_"):
        jobs = [str(api.get(f"dubs/{what}")["job"])]
    else:
        return [what]
    found: list[Resource] = [api.get(f"jobs/{job}") for job in jobs]
    opened = [str(job["id"]) for job in found if job["state"] in _OPEN]
    ended = [str(job["id"]) for job in found if job["state"] in ("failed", "cancelled", "dead")]
    meant = opened if action == "cancel" else ended[-1:]
    if not meant:
        raise InputError(
            f"{what} has no job to {action}.",
            reason="NO_SUCH_JOB",
            remedy=f"See how it stands: avatar show {what}",
        )
    return meant


def _files(folder: Path, process: str) -> list[Path]:
    found = sorted((folder / "logs").glob(f"{process or '*'}.log"))
    if not found:
        names = ", ".join(path.stem for path in sorted((folder / "logs").glob("*.log")))
        raise InputError(
            f"No log of {process or 'a suite'} in {folder / 'logs'}.",
            reason="NO_LOG",
            remedy=f"There are: {names}." if names else "Nothing was started there yet: avatar up.",
        )
    return found
