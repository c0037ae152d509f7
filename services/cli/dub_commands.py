"""``avatar dub``, ``dubs``: avatars saying something."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.calls import HINT, Limit, Wait, find_avatar, state_of
from services.cli.session import EXIT_CODES, AsJson, Outcome, run
from synctalk.errors import InputError

if TYPE_CHECKING:
    from services.cli.api import Resource
    from services.cli.screen import Screen

Expression = Literal["auto", "source", "natural", "neutral", "calm", "emphatic"]


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command("dub", epilog=EXIT_CODES, rich_help_panel="Make")(dub)
    app.command("dubs", epilog=EXIT_CODES, rich_help_panel="Look and tidy up")(dubs)


def dub(
    context: typer.Context,
    avatar: Annotated[str, typer.Argument(metavar="AVATAR", help="Name or id of a ready avatar.")],
    audio: Annotated[
        Path, typer.Argument(metavar="AUDIO", help="Speech of any person, in any audio format.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Save the video here when it is done; waits for it."),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="What is said: captions (.vtt, .srt) are made, and saved beside --out."),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Of the video, px; by default the avatar's own.")
    ] = "",
    expression: Annotated[
        Expression,
        typer.Option(
            help="What brows and lids do: by the voice (auto, natural, calm, emphatic; neutral "
            "only blinks), or as in the footage (source)."
        ),
    ] = "auto",
    blink_rate: Annotated[
        float | None,
        typer.Option(min=0, max=60, help="Blinks a minute, where the voice moves the lids."),
    ] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Make an avatar speak: any speech in, a video of the person saying it out.

    Example: [bold]avatar dub me speech.wav -o dubbed.mp4[/]
    """
    width_px, height_px = _size(size)

    def work(screen: Screen) -> Outcome:
        from services.cli import words
        from services.cli.transfer import check_file, upload
        from services.cli.waiting import bytes_shown, fetch_dub, wait_for

        check_file(audio)
        said = _text(text)
        with context.obj.connect(screen, patient=wait or out is not None) as api:
            body = {
                "avatar": find_avatar(api, avatar)["id"],
                "audio": upload(api, audio, "audio", bytes_shown(screen, "upload")),
                **({"width_px": width_px, "height_px": height_px} if size else {}),
                **({"text": said} if said else {}),
                "expression": expression,
                **({"blinks_per_minute": blink_rate} if blink_rate is not None else {}),
            }
            made = api.post("dubs", body)
            if not wait and out is None:
                hint = HINT.format(made["id"])
                return Outcome(made, f"[bold green]Accepted[/] {made['id']}. {hint}")
            done = wait_for(api, f"dubs/{made['id']}", screen)
            if out is None:
                return Outcome(done, words.dub(done))
            return saved(done, fetch_dub(api, done, out, screen))

    run("dub", work, as_json=as_json)


def dubs(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List dubs, the newest first. One is fetched by avatar wait ID -o FILE."""

    def work(screen: Screen) -> Outcome:
        from services.cli import words

        with context.obj.connect(screen) as api:
            found = api.list("dubs", limit)
        rows = [
            (one["id"], one["avatar"], state_of(one), _seconds(one), one["created_at"])
            for one in found
        ]
        columns = ("id", "avatar", "state", "length", "created")
        empty = "No dubs yet. Make one: avatar dub AVATAR AUDIO -o FILE.mp4"
        return Outcome({"data": found}, words.table(columns, rows, empty))

    run("dubs", work, as_json=as_json)


def saved(done: Resource, paths: list[Path]) -> Outcome:
    """Say where a dub's video was saved."""
    names = "  ".join(str(path) for path in paths)
    length = f"{done['duration_s']:.1f} s" if done.get("duration_s") else ""
    said = f"[bold green]Video[/] {names}  {length}"
    return Outcome({**done, "saved": [str(path) for path in paths]}, said)


def _size(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    if not (match := re.fullmatch(r"(\d+)x(\d+)", text)):
        raise typer.BadParameter(f"--size {text}: give width and height as in 1280x720")
    return int(match[1]), int(match[2])


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}.",
            reason="FILE_UNREADABLE",
            remedy="Give plain text in UTF-8.",
        ) from None


def _seconds(found: Resource) -> str:
    return f"{found['duration_s']:.1f} s" if found.get("duration_s") else ""
