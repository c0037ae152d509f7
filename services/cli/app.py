"""The command line ``avatar``."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli import (
    avatar_commands,
    backup_commands,
    dub_commands,
    job_commands,
    suite_commands,
    tenant_commands,
    trust_commands,
    verify_command,
)
from services.cli.connect import Target
from services.cli.session import EXIT_CODES

app = typer.Typer(
    name="avatar",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the ``avatar`` script."""
    app(prog_name="avatar")


def _version(wanted: bool) -> None:
    if wanted:
        from synctalk import __version__

        print(f"avatar {__version__}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def _root(
    context: typer.Context,
    url: Annotated[
        str,
        typer.Option(envvar="AVATAR_URL", help="The suite; without it, the one of this machine."),
    ] = "",
    key: Annotated[
        str,
        typer.Option(
            envvar="AVATAR_KEY", show_envvar=True, help="API key. Better in the environment."
        ),
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A portrait video in, a talking avatar out, by the services.

    On one machine, from nothing to a video of someone saying what you want:

    [bold]avatar up --detach[/]

    [bold]avatar create me.mp4 --name me --i-have-consent --wait[/]

    [bold]avatar dub me speech.wav -o dubbed.mp4[/]

    A suite that runs elsewhere is named by AVATAR_URL and AVATAR_KEY. Every command has --help.
    """
    context.obj = Target(url, key)


suite_commands.add_commands(app)
backup_commands.add_commands(app)
avatar_commands.add_commands(app)
dub_commands.add_commands(app)
job_commands.add_commands(app)
tenant_commands.add_commands(app)
trust_commands.add_commands(app)
verify_command.add_commands(app)
