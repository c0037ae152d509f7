"""``avatar up``, ``down``, ``status``, ``doctor``: the suite on this machine."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.session import EXIT_CODES, AsJson, ExitCode, Missing, Outcome, run
from services.common.errors import Unauthenticated, Unavailable
from services.suite import control
from services.suite import state as suite_state
from services.suite.settings import FILE as SETTINGS_FILE
from services.suite.settings import HOME, SuiteSettings, default_folder
from services.suite.state import Phase, ProcessState, SuiteState

if TYPE_CHECKING:
    from rich.table import Table

    from services.cli.screen import Screen

TENANT = "local"
_LOOK_S = 0.5
_SIGNS = {Phase.READY: "[green]ready[/]", Phase.WAITING: "[red]waiting[/]"}

Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", envvar=HOME, help="Data, logs and settings of the suite.",
        show_default="~/.avatar",
    ),
]  # fmt: skip


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (up, down, status, doctor):
        app.command(epilog=EXIT_CODES, rich_help_panel="This machine")(command)


def up(
    folder: Folder = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Workers of each kind of job; kept.")
    ] = None,
    renderers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Replicas of the renderer; kept.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API; kept.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready, and leave it running.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start everything on this machine: Redis, object storage, all services, the API.

    Without --detach it stays and shows its processes; Ctrl-C stops all of them. Data and settings
    are kept in the folder, so the next start finds every avatar again. An S3 server of your own is
    used when AVATAR_STORAGE__URL, …__ACCESS_KEY and …__SECRET_KEY are set at the first start.

    Example: [bold]avatar up --detach[/], then [bold]avatar create me.mp4 --name me[/]
    """
    where = folder_of(folder)
    changes = {
        name: str(value)
        for name, value in (("SUITE_WORKERS", workers), ("SUITE_RENDERERS", renderers))
        if value is not None
    }
    if port is not None:
        changes["AVATAR_URL"] = f"http://127.0.0.1:{port}"
    run("up", lambda screen: _up(where, changes, screen, detach=detach), as_json=as_json)


def down(folder: Folder = None, as_json: AsJson = False) -> None:
    """Stop the suite on this machine. Running jobs go on at the next start; data stays."""
    where = folder_of(folder)

    def work(screen: Screen) -> Outcome:
        ran = control.stop(where)
        words = "Stopped; no process is left." if ran else f"Nothing runs on {where}."
        return Outcome({"stopped": ran, "folder": str(where)}, words)

    run("down", work, as_json=as_json)


def status(folder: Folder = None, as_json: AsJson = False) -> None:
    """Show the processes of the suite. Exits with 6 when it does not run or is not ready."""
    where = folder_of(folder)

    def work(screen: Screen) -> Outcome:
        state = control.look(where)
        if state is None:
            words = f"No suite runs on {where}. Start it: avatar up"
            return Outcome({"running": False, "folder": str(where)}, words, ExitCode.AWAY)
        from rich.console import Console

        if not as_json:
            Console().print(_table(state, where))
        code = ExitCode.OK if state.phase is Phase.READY else ExitCode.AWAY
        return Outcome({"running": True, "folder": str(where), **asdict(state)}, "", code)

    run("status", work, as_json=as_json)


def doctor(folder: Folder = None, as_json: AsJson = False) -> None:
    """Look for what is wrong with the suite on this machine, running or not, and say the remedy.

    What the method itself needs is looked at by synctalk doctor.
    """
    where = folder_of(folder)

    def work(screen: Screen) -> Outcome:
        from services.suite.checks import examine

        findings = examine(where, control.look(where))
        lines = []
        for finding in findings:
            sign = "[green]✓[/]" if finding.ok else "[red]✗[/]"
            lines.append(f"{sign} {finding.name:<18} {_plain(finding.detail)}")
            if finding.remedy:
                lines.append(f"  {'':<18} [dim]{_plain(finding.remedy)}[/]")
        wrong = [finding.name for finding in findings if not finding.ok]
        lines += [
            "",
            f"[bold red]Wrong: {', '.join(wrong)}[/]" if wrong else "[bold green]All well.[/]",
        ]
        result = {"ok": not wrong, "findings": [asdict(finding) for finding in findings]}
        return Outcome(result, "\n".join(lines), ExitCode.MISSING if wrong else ExitCode.OK)

    run("doctor", work, as_json=as_json)


def _up(where: Path, changes: dict[str, str], screen: Screen, *, detach: bool) -> Outcome:
    settings, supervisor = start(where, changes, screen, attached=not detach)
    said = [
        f"[bold green]Ready[/]  API {settings.url}, its pages {settings.url}/docs",
        f"Studio {settings.url}/studio/, in a browser; avatar keys make studio prints a key for it",
        f"Key    AVATAR_KEY in {_plain(str(where / SETTINGS_FILE))}; avatar finds it there",
        "Next   avatar create VIDEO --name NAME --i-have-consent --wait",
    ]
    result = {"url": settings.url, "folder": str(where), "settings": str(where / SETTINGS_FILE)}
    if detach:
        return Outcome(result, "\n".join([*said, "Stop   avatar down"]))
    screen.say_marked("\n".join([*said, "Stop   Ctrl-C"]))
    _stay(where, supervisor, screen)
    return Outcome(result, "Stopped; no process is left.")


def start(
    where: Path, changes: Mapping[str, str], screen: Screen, *, attached: bool
) -> tuple[SuiteSettings, subprocess.Popen[bytes]]:
    """Start the suite, wait until it is ready, and make the command line's key.

    Raises:
        SyncTalkError: it does not come up; nothing is left running.
    """
    from services.cli.screen import Bar
    from services.suite.checks import disk

    if not (room := disk(where)).ok:
        raise Missing(f"The disk is full: {room.detail}.", reason="DISK_FULL", remedy=room.remedy)
    settings = control.prepare(where, changes)
    supervisor = control.launch(where, attached=attached)

    def on_change(state: SuiteState) -> None:
        screen.show_table(_table(state, where))
        ready = sum(process.phase is Phase.READY for process in state.processes)
        screen.show_plainly(Bar("starting", None, note=f"{ready} of {len(state.processes)} ready"))

    try:
        control.wait_ready(where, supervisor, on_change)
        return make_key(settings), supervisor
    except BaseException:
        control.stop(where)
        raise


def make_key(settings: SuiteSettings) -> SuiteSettings:
    """Make an API key for the command line unless it has one that is good; saves it.

    Raises:
        SyncTalkError: the API refuses or is away.
    """
    from services.cli.api import PATIENCE_S, Api

    if settings.key:
        api = Api(settings.url, settings.key, PATIENCE_S)
        try:
            api.get("me")
            return settings
        except Unauthenticated:  # the data was removed, the settings were not
            pass
        finally:
            api.close()
    operator = Api(settings.url, settings.bootstrap_key, PATIENCE_S)
    try:
        made = operator.post("keys", {"tenant": TENANT, "name": "command line", "role": "admin"})
    finally:
        operator.close()
    settings = settings.with_changes({"AVATAR_KEY": made["key"]})
    settings.save()
    return settings


def _stay(where: Path, supervisor: subprocess.Popen[bytes], screen: Screen) -> None:
    """Show the processes until Ctrl-C or SIGTERM, and stop them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while supervisor.poll() is None:
            if (state := suite_state.read(where)) is not None:
                screen.show_table(_table(state, where))
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        screen.say("Stopping …")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave some behind
        control.stop(where)
    if supervisor.wait() != 0:
        raise Unavailable(
            "The supervisor died.", reason="SUITE_DIED",
            remedy=f"Its log is {where / control.SUPERVISOR_LOG}.",
        )  # fmt: skip


def _table(state: SuiteState, folder: Path) -> Table:
    from rich.table import Table

    table = Table(title=f"{state.url}   {folder}", title_justify="left", box=None, padding=(0, 2))
    for name in ("process", "state", "pid", "port", "metrics", "deaths", "for"):
        table.add_column(name, justify="left" if name in ("process", "state") else "right")
    for process in state.processes:
        table.add_row(*_row(process))
    return table


def _row(process: ProcessState) -> tuple[str, ...]:
    from services.cli.screen import clock

    return (
        process.name,
        _SIGNS.get(process.phase, process.phase.value),
        str(process.pid or ""),
        str(process.port or ""),
        str(process.metrics_port or ""),
        f"{process.deaths} (exit {process.last_exit})" if process.deaths else "",
        clock(time.time() - process.since_s),
    )


def folder_of(given: Path | None) -> Path:
    """The suite's folder: as given, or where it is by itself."""
    return (given or default_folder()).expanduser().resolve()


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
