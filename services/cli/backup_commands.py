"""``avatar backup`` and ``avatar restore``: the suite of this machine, copied and brought back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.session import EXIT_CODES, AsJson, ExitCode, Outcome, run
from services.cli.suite_commands import Folder, folder_of
from services.common.errors import NotFound
from services.suite import control
from services.suite import settings as suite_settings
from services.suite.settings import SuiteSettings

if TYPE_CHECKING:
    from services.cli.screen import Screen
    from services.gateway.backup.save import Told

Vault = Annotated[Path, typer.Argument(help="Folder of the backups, better on another disk.")]


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (backup, restore):
        app.command(epilog=EXIT_CODES, rich_help_panel="This machine")(command)


def backup(
    vault: Vault,
    folder: Folder = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Older backups are removed; the newest stays.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Copy everything that the suite keeps, while it runs: Redis as of one moment, then the files.

    What an earlier backup in the folder has is not copied again. What was erased meanwhile goes
    from all backups there. Settings and secrets are not copied: keep settings.env elsewhere.
    """
    where = folder_of(folder)

    def work(screen: Screen) -> Outcome:
        from services.gateway.backup.save import save
        from services.gateway.backup.snapshot import connect_raw
        from services.gateway.backup.vault import Vault as Backups
        from services.suite.storage import store

        with _servers(_settings(where)) as settings, connect_raw(settings.redis.url) as redis:
            saved = save(
                redis, store(settings), Backups(vault.resolve()), keep_days * 86_400,
                _progress(screen, "copying"),
            )  # fmt: skip
        facts = saved.backup.manifest
        result = {
            "backup": saved.backup.name, "keys": facts.keys, "objects": facts.objects,
            "bytes": facts.bytes, "copied": saved.copied, "copied_bytes": saved.copied_bytes,
            "broken": list(facts.broken),
        }  # fmt: skip
        words = (
            f"Backup {saved.backup.name}: {facts.keys} keys, {facts.objects} objects, "
            f"{facts.bytes / 1e6:.0f} MB; {saved.copied_bytes / 1e6:.0f} MB were new."
        )
        if facts.broken:
            words += f"\n[red]Files are missing or damaged of:[/] {', '.join(facts.broken)}"
        return Outcome(result, words, ExitCode.JOB_FAILED if facts.broken else ExitCode.OK)

    run("backup", work, as_json=as_json)


def restore(
    vault: Vault,
    folder: Folder = None,
    at: Annotated[str, typer.Option(help="Name of a backup; the newest without it.")] = "",
    gone: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File of names of what was erased, deleted or revoked after the newest backup.",
        ),
    ] = None,
    nothing_gone: Annotated[
        bool, typer.Option("--nothing-gone", help="Nothing was, as far as anybody knows.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill a suite that is new or was emptied, and does not run, from a backup.

    What had been erased until the newest backup does not come back. What was erased after it is
    known to nobody here: name it with --gone, or say --nothing-gone. Then start: avatar up.
    """
    where = folder_of(folder)
    if (gone is None) != nothing_gone:
        raise typer.BadParameter("Say either --gone FILE or --nothing-gone.")

    def work(screen: Screen) -> Outcome:
        from services.gateway.backup.restore import restore as bring_back
        from services.gateway.backup.snapshot import connect_raw
        from services.gateway.backup.vault import Vault as Backups
        from services.suite.storage import store

        names = gone.read_text().splitlines() if gone else ()
        made = control.prepare(where, {})
        with _servers(made) as settings, connect_raw(settings.redis.url) as redis:
            done = bring_back(
                redis, settings.redis.url, store(settings), Backups(vault.resolve()), names, at,
                _progress(screen, "bringing back"),
            )  # fmt: skip
        result = {
            "backup": done.backup.name, "keys": done.keys, "objects": done.objects,
            "left_out": done.left_out, "buried": list(done.buried),
        }  # fmt: skip
        words = (
            f"Restored {done.backup.name}: {done.keys} keys, {done.objects} objects. "
            f"{len(done.buried)} erased, deleted or revoked things stay away.\nNext: avatar up"
        )
        return Outcome(result, words)

    run("restore", work, as_json=as_json)


def _settings(where: Path) -> SuiteSettings:
    settings = suite_settings.read(where)
    if settings is None:
        raise NotFound(
            f"There never was a suite on {where}.",
            reason="NO_SUITE",
            remedy="Name its folder with --folder or AVATAR_HOME.",
        )
    return settings


@contextmanager
def _servers(settings: SuiteSettings) -> Iterator[SuiteSettings]:
    """Redis and the object store: those that run, else for as long as the context is open."""
    from services.common import local_folder
    from services.suite.plan import make_plan

    if control.look(settings.folder) is not None:
        yield settings
        return
    settings = settings.with_free_ports()
    lock_fd = local_folder.hold(settings.folder)
    servers = make_plan(settings, lock_fd).servers
    try:
        for server in servers:
            server.start()
        yield settings
    finally:
        for server in reversed(servers):
            server.stop()
        os.close(lock_fd)


def _progress(screen: Screen, what: str) -> Told:
    from services.cli.screen import Bar

    def told(done: int, of: int) -> None:
        screen.show_plainly(Bar(what, done / of if of else 1.0, note=f"{done} of {of} objects"))

    return told
