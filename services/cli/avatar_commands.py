"""``avatar create``, ``wait``, ``demo``, ``list``, ``show``, ``delete``."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.calls import HINT, Limit, Wait, find_avatar, state_of
from services.cli.dub_commands import saved
from services.cli.session import EXIT_CODES, AsJson, Outcome, run
from services.common.errors import NotFound
from synctalk.errors import InputError

if TYPE_CHECKING:
    from services.cli.api import Api, Resource
    from services.cli.screen import Screen

Preset = Literal["demo", "standard", "best"]
SELF_STATEMENT = (
    "The person shown agreed that an avatar of them is made and used to say what they did not say."
)
PRESETS = "demo: about a minute. standard: minutes, the quality to judge. best: longer still."


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for name, make in (("create", create), ("wait", wait), ("demo", demo)):
        app.command(name, epilog=EXIT_CODES, rich_help_panel="Make")(make)
    for name, look in (("list", list_avatars), ("show", show), ("delete", delete)):
        app.command(name, epilog=EXIT_CODES, rich_help_panel="Look and tidy up")(look)


def create(
    context: typer.Context,
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="One person speaking, 2-5 minutes.")
    ],
    name: Annotated[str, typer.Option(help="Of the avatar; commands take it in place of the id.")],
    consent: Annotated[
        str,
        typer.Option(
            metavar="STATEMENT|con_ID",
            help="What the person has agreed to, in words; or the id of a consent on record.",
        ),
    ] = "",
    i_have_consent: Annotated[
        bool, typer.Option("--i-have-consent", help="You declare that the person has agreed.")
    ] = False,
    subject: Annotated[str, typer.Option(help="Name of the person; by default the avatar's.")] = "",
    preset: Annotated[
        Preset,
        typer.Option(help=PRESETS),
    ] = "standard",
    size: Annotated[int, typer.Option(help="Side of the face crop, px; a multiple of 16.")] = 512,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Turn a portrait video into an avatar: upload, consent, preprocess, train.

    Within seconds the footage is judged, before any long work. Consent is recorded with the
    avatar: no avatar without one.

    Example: [bold]avatar create me.mp4 --name me --consent "I agree to an avatar of me." --wait[/]
    """
    if bool(consent) == i_have_consent:
        raise typer.BadParameter(
            "give either --consent STATEMENT or --i-have-consent; an avatar of somebody who did "
            "not agree must not be made"
        )

    def work(screen: Screen) -> Outcome:
        from services.cli import words
        from services.cli.transfer import check_file, upload
        from services.cli.waiting import bytes_shown, wait_for

        check_file(video)
        with context.obj.connect(screen, patient=wait) as api:
            upload_id = upload(api, video, "video", bytes_shown(screen, "upload"))
            made = api.post(
                "avatars",
                {
                    "name": name, "video": upload_id, "preset": preset, "size_px": size,
                    "consent": _consent(api, consent or SELF_STATEMENT, subject or name),
                },
            )  # fmt: skip
            if not wait:
                said = f"[bold green]Accepted[/] {made['id']}. " + HINT.format(made["id"])
                return Outcome(made, said)
            screen.say(f"{made['id']} is queued.")
            done = wait_for(api, f"avatars/{made['id']}", screen)
            return Outcome(done, words.avatar(done))

    run("create", work, as_json=as_json)


def wait(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="ID", help="Of an avatar, a dub or a job.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Save the video of a dub here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the progress of something until it is done; -o fetches the video of a dub.

    Example: [bold]avatar wait dub_… -o dubbed.mp4[/]
    """

    def work(screen: Screen) -> Outcome:
        from services.cli.waiting import fetch_dub, path_of, wait_for

        with context.obj.connect(screen, patient=True) as api:
            path = path_of(what)
            done = wait_for(api, path, screen)
            if out is not None:
                if not path.startswith("dubs/"):
                    raise InputError(
                        f"{what} is no dub: there is no video to save.",
                        reason="NOT_A_DUB",
                        remedy="Leave -o out, or give the id of a dub (avatar dubs lists them).",
                    )
                return saved(done, fetch_dub(api, done, out, screen))
            return Outcome(done, _described(path, done))

    run("wait", work, as_json=as_json)


def demo(
    video: Annotated[
        Path | None, typer.Option(help="A portrait video; without it, the sample's.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Speech; without it, the sample's.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for everything made.")] = Path("out/demo"),
    preset: Annotated[Preset, typer.Option(help=PRESETS)] = "demo",
    as_json: AsJson = False,
) -> None:
    """Walk the whole path on the samples or your own files, through services started for it.

    It leaves a dubbed video, a report with figures on frames that training never saw, and no
    process. Example: [bold]avatar demo --video me.mp4 --audio speech.wav --out out/me[/]
    """

    def work(screen: Screen) -> Outcome:
        from services.cli.demo import run_demo

        return run_demo(video, audio, out, preset, screen)

    run("demo", work, as_json=as_json)


def show(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="ID", help="Of an avatar, a dub or a job; an avatar's name.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say how something stands: state, quality of the footage, figures, links that expire."""

    def work(screen: Screen) -> Outcome:
        from services.cli.waiting import path_of

        with context.obj.connect(screen) as api:
            path = path_of(what)
            try:
                found = api.get(path)
            except NotFound:
                if not path.startswith("jobs/"):
                    raise
                found = find_avatar(api, what)
                path = f"avatars/{found['id']}"
            return Outcome(found, _described(path, found))

    run("show", work, as_json=as_json)


def list_avatars(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List avatars, the newest first."""

    def work(screen: Screen) -> Outcome:
        from services.cli import words

        with context.obj.connect(screen) as api:
            found = api.list("avatars", limit)
        rows = [
            (one["name"], one["id"], state_of(one), one["version"] or "", one["created_at"])
            for one in found
        ]
        columns = ("name", "id", "state", "version", "created")
        empty = "No avatars yet. Make one: avatar create VIDEO --name NAME --i-have-consent"
        return Outcome({"data": found}, words.table(columns, rows, empty))

    run("list", work, as_json=as_json)


def delete(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="ID", help="Of an avatar (or its name) or a dub.")],
    with_dubs: Annotated[
        bool, typer.Option("--dubs", help="Of an avatar: erase the dubs made with it as well.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase an avatar or a dub for good, with every file of it; its jobs are cancelled."""
    if not yes:
        typer.confirm(f"Erase {what} for good?", abort=True, err=True)

    def work(screen: Screen) -> Outcome:
        with context.obj.connect(screen) as api:
            path = f"dubs/{what}" if what.startswith("dub_") else ""
            path = path or f"avatars/{find_avatar(api, what)['id']}"
            query = {"dubs": "true"} if with_dubs else {}
            gone = api.delete(path, **query)
            while gone["state"] != "erased":  # jobs are still being stopped
                screen.note("Still erasing …")
                time.sleep(1.0)
                gone = api.delete(path, **query)
        counts = ", ".join(f"{count} {name}" for name, count in gone["erased"].items())
        return Outcome(gone, f"[bold green]Erased[/] {counts}")

    run("delete", work, as_json=as_json)


def _consent(api: Api, statement: str, subject: str) -> str:
    if statement.startswith("con_"):
        return statement
    made = api.post(
        "consents",
        {"subject_name": subject, "statement": statement, "granted_by": getpass.getuser()},
    )
    return str(made["id"])


def _described(path: str, found: Resource) -> str:
    from services.cli import words

    tell = {"avatars": words.avatar, "dubs": words.dub}.get(path.partition("/")[0], words.job)
    return tell(found)
