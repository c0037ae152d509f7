"""``avatar verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.session import EXIT_CODES, AsJson, Outcome, run

if TYPE_CHECKING:
    from services.cli.screen import Screen

_LOOKING_S = 250.0  # a little longer than the gateway gives a file; asked twice, it looks twice
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def add_commands(app: typer.Typer) -> None:
    """Add it to the command line."""
    app.command(epilog=EXIT_CODES, rich_help_panel="Look and tidy up")(verify)


def verify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video or a picture.")],
    as_json: AsJson = False,
) -> None:
    """Tell whether a file was made by this suite: by its signature, and the mark in its frames.

    Example: [bold]avatar verify dubbed.mp4[/]
    """

    def work(screen: Screen) -> Outcome:
        from services.cli import words
        from services.cli.transfer import Kind, check_file, upload
        from services.cli.waiting import bytes_shown

        check_file(file)
        kind: Kind = "image" if file.suffix.lower() in _PICTURES else "video"
        with context.obj.connect(screen) as api:
            stored = upload(api, file, kind, bytes_shown(screen, "upload"))
            found = api.post("verify", {"upload": stored}, answer_s=_LOOKING_S)
        return Outcome(found, words.verdict(found))

    run("verify", work, as_json=as_json)
