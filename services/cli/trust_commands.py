"""``avatar consents``, ``receipts``, ``audit``: who agreed, what was erased, who did what."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.cli.calls import Limit, ask, ask_list, ask_remove
from services.cli.session import EXIT_CODES, AsJson, Outcome, run

if TYPE_CHECKING:
    from services.cli.api import Api, Resource
    from services.cli.screen import Screen

_PANEL = "Trust"
_PAGE = 1000

consents = typer.Typer(no_args_is_help=True, help="Who agreed to an avatar of themselves.")
audit = typer.Typer(no_args_is_help=True, help="Who did what; role admin needed.")


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.add_typer(consents, name="consents", rich_help_panel=_PANEL)
    app.add_typer(audit, name="audit", rich_help_panel=_PANEL)
    app.command(epilog=EXIT_CODES, rich_help_panel=_PANEL)(receipts)


@consents.command("list", epilog=EXIT_CODES)
def list_consents(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List consents."""
    columns = ("id", "subject_name", "state", "scope", "granted_by", "expires_at", "created_at")
    ask_list(context, "consents", columns, limit, as_json)


@consents.command("record", epilog=EXIT_CODES)
def record_consent(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Name of the person.")],
    statement: Annotated[str, typer.Option(help="What the person agrees to, in words.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="avatar, dub or live; repeat it. All if absent.")
    ] = None,
    reviewed: Annotated[
        bool, typer.Option("--reviewed", help="Ask for evidence, even if nobody else does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record a consent. A draft says what the person is to read on camera."""
    body: dict[str, object] = {
        "subject_name": subject, "statement": statement, "granted_by": getpass.getuser(),
        **({"scope": scope} if scope else {}), **({"level": "reviewed"} if reviewed else {}),
    }  # fmt: skip
    ask(context, "consents record", lambda api: api.post("consents", body), _told, as_json)


@consents.command("evidence", epilog=EXIT_CODES)
def give_evidence(
    context: typer.Context,
    consent_id: str,
    evidence: Annotated[Path, typer.Argument(help="A clip of the person reading, or a PDF.")],
    footage: Annotated[
        str, typer.Option(metavar="FILE|up_ID", help="Of what the avatar is to be made.")
    ],
    as_json: AsJson = False,
) -> None:
    """Give evidence of a consent; then a reviewer decides."""

    def work(screen: Screen) -> Outcome:
        from services.cli.transfer import upload
        from services.cli.waiting import bytes_shown

        with context.obj.connect(screen) as api:
            kind: Literal["video", "document"] = (
                "document" if evidence.suffix.lower() == ".pdf" else "video"
            )
            shown = bytes_shown(screen, "upload")
            body: dict[str, object] = {
                "upload": upload(api, evidence, kind, shown),
                "footage": footage
                if footage.startswith("up_")
                else upload(api, Path(footage), "video", shown),
            }
            found = api.post(f"consents/{consent_id}/evidence", body)
            return Outcome(found, f"{_told(found)} Its footage is {body['footage']}.")

    run("consents evidence", work, as_json=as_json)


@consents.command("review", epilog=EXIT_CODES)
def review_consent(
    context: typer.Context,
    consent_id: str,
    decision: Annotated[Literal["approve", "refuse"], typer.Argument()],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    passphrase_heard: Annotated[
        bool, typer.Option("--passphrase-heard", help="The clip's voice says the words.")
    ] = False,
    same_person: Annotated[
        bool, typer.Option("--same-person", help="Clip and footage show the same person.")
    ] = False,
    override: Annotated[
        bool, typer.Option("--override", help="Approve without both; the reason says why.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Decide on evidence; for roles reviewer and admin, not for who recorded the consent."""
    body: dict[str, object] = {
        "decision": decision, "reason": reason, "passphrase_heard": passphrase_heard,
        "same_person": same_person, "override": override,
    }  # fmt: skip
    path = f"consents/{consent_id}/review"
    ask(context, "consents review", lambda api: api.post(path, body), _told, as_json)


@consents.command("revoke", epilog=EXIT_CODES)
def revoke_consent(
    context: typer.Context,
    consent_id: str,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a consent back: every avatar that stands on it is erased, with footage and dubs."""
    if not yes:
        typer.confirm(
            f"Erase everything that stands on {consent_id} for good?", abort=True, err=True
        )
    path = f"consents/{consent_id}/revoke"
    ask(context, "consents revoke", lambda api: api.post(path), _told, as_json)


@consents.command("export", epilog=EXIT_CODES)
def export_consent(context: typer.Context, consent_id: str) -> None:
    """Print, as JSON, all that is held about the person, with links to every file."""
    path = f"consents/{consent_id}/export"
    ask(context, "consents export", lambda api: api.get(path), lambda found: "", True)


@consents.command("delete", epilog=EXIT_CODES)
def delete_consent(context: typer.Context, consent_id: str, as_json: AsJson = False) -> None:
    """Erase a consent with its evidence, once nothing stands on it."""
    ask_remove(context, "consents", consent_id, as_json)


def receipts(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List what was erased; --json has every object's key."""
    ask_list(context, "receipts", ("id", "collection", "why", "done_at"), limit, as_json)


@audit.command("list", epilog=EXIT_CODES)
def list_entries(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="For the operator's key only.")] = "",
    as_json: AsJson = False,
) -> None:
    """List what was done, the oldest first."""

    def tell(found: Resource) -> str:
        from services.cli import words

        columns = ("number", "actor", "action", "resource")
        rows = [[entry[column] for column in columns] for entry in found["data"]]
        return words.table(columns, rows, "Nothing yet.")

    ask(context, "audit list", lambda api: {"data": _entries(api, tenant)}, tell, as_json)


@audit.command("verify", epilog=EXIT_CODES)
def verify(
    context: typer.Context,
    expect: Annotated[
        str,
        typer.Option(metavar="N:DIGEST", help="An entry noted before, which must still be there."),
    ] = "",
    tenant: Annotated[str, typer.Option(help="For the operator's key only.")] = "",
    as_json: AsJson = False,
) -> None:
    """Prove that no entry was changed, dropped or put in. Note the end that it prints elsewhere:
    --expect then proves that nothing before it was written anew.
    """

    def check(api: Api) -> Resource:
        from services.common.audit_chain import GENESIS, verify_chain
        from services.common.errors import CorruptData

        entries = _entries(api, tenant)
        end = verify_chain(entries)
        if expect:
            number, _, digest = expect.partition(":")
            at = int(number) if number.isdigit() else -1
            found = ([GENESIS] + [entry["digest"] for entry in entries])[at : at + 1]
            if at < 0 or found != [digest]:
                raise CorruptData(
                    f"entry {number} of the audit log is not the one that was noted",
                    reason="AUDIT_BROKEN",
                    remedy="Compare with a backup of the database: the log was written anew.",
                )
        return {"entries": len(entries), "digest": end}

    def tell(found: Resource) -> str:
        end = f"{found['entries']}:{found['digest']}"
        return f"[bold green]Whole[/], {found['entries']} entries. Its end: {end}"

    ask(context, "audit verify", check, tell, as_json)


def _entries(api: Api, tenant: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        query = {"tenant": tenant} if tenant else {}
        page = api.get("audit", limit=_PAGE, after=after, **query)
        entries += page["data"]
        after = page["next_after"]
    return entries


def _told(found: Resource) -> str:
    said = f"{found['id']} is {found['state'].replace('_', ' ')}."
    if found["state"] == "draft":
        said += f" To be read on camera: {found['to_read']}"
    return said
