"""``avatar me``, ``keys``, ``webhooks``, ``consents``: the tenant and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.avatar_commands import Limit
from services.cli.session import EXIT_CODES, AsJson, Outcome, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.cli.api import Api, Resource
    from services.cli.screen import Screen

EVENTS = tuple(
    f"{what}.{end}"
    for what, good in (("avatar", "ready"), ("dub", "succeeded"))
    for end in (good, "failed", "cancelled")
)
_PANEL = "Tenant"

keys = typer.Typer(no_args_is_help=True, help="API keys of the tenant; role admin needed.")
webhooks = typer.Typer(no_args_is_help=True, help="Where events are sent.")
consents = typer.Typer(no_args_is_help=True, help="Who agreed to an avatar of themselves.")


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command(epilog=EXIT_CODES, rich_help_panel=_PANEL)(me)
    app.add_typer(keys, name="keys", rich_help_panel=_PANEL)
    app.add_typer(webhooks, name="webhooks", rich_help_panel=_PANEL)
    app.add_typer(consents, name="consents", rich_help_panel=_PANEL)


def me(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the tenant and role of the key, its quotas and what is used of them."""

    def tell(found: Resource) -> str:
        from rich.markup import escape

        lines = [f"Tenant [bold]{escape(str(found['tenant']))}[/], role {found['role']}"]
        used = [f"{name} {value}" for name, value in _flat(found) if name not in ("tenant", "role")]
        return "\n".join([*lines, *map(escape, used)])

    _run(context, "me", lambda api: api.get("me"), tell, as_json)


@keys.command("list", epilog=EXIT_CODES)
def list_keys(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List keys, without the keys themselves."""
    _list(context, "keys", ("id", "name", "role", "created_at"), limit, as_json)


@keys.command("make", epilog=EXIT_CODES)
def make_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[Literal["member", "admin"], typer.Option()] = "member",
    tenant: Annotated[str, typer.Option(help="For the operator's key only.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once, on stdout."""
    body = {"name": name, "role": role} | ({"tenant": tenant} if tenant else {})
    _run(
        context, "keys make", lambda api: api.post("keys", body), lambda made: made["key"], as_json
    )


@keys.command("revoke", epilog=EXIT_CODES)
def revoke_key(context: typer.Context, key_id: str, as_json: AsJson = False) -> None:
    """Make a key useless, at once."""
    _remove(context, "keys", key_id, as_json)


@webhooks.command("list", epilog=EXIT_CODES)
def list_webhooks(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List webhooks."""
    _list(context, "webhooks", ("id", "url", "events", "created_at"), limit, as_json)


@webhooks.command("add", epilog=EXIT_CODES)
def add_webhook(
    context: typer.Context,
    url: str,
    events: Annotated[
        list[str] | None,
        typer.Option("--event", help=f"Repeat it; all if absent: {', '.join(EVENTS)}."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have events sent to a URL. The secret that signs them is shown once."""
    body = {"url": url, "events": events or EVENTS}

    def tell(made: Resource) -> str:
        return f"{made['id']}  secret {made['secret']}"

    _run(context, "webhooks add", lambda api: api.post("webhooks", body), tell, as_json)


@webhooks.command("remove", epilog=EXIT_CODES)
def remove_webhook(context: typer.Context, webhook_id: str, as_json: AsJson = False) -> None:
    """Send nothing there any more."""
    _remove(context, "webhooks", webhook_id, as_json)


@webhooks.command("test", epilog=EXIT_CODES)
def send_test(context: typer.Context, webhook_id: str, as_json: AsJson = False) -> None:
    """Send a test event; avatar webhooks deliveries shows what came of it."""
    path = f"webhooks/{webhook_id}/test"
    _run(context, "webhooks test", lambda api: api.post(path), lambda made: "Sent.", as_json)


@webhooks.command("deliveries", epilog=EXIT_CODES)
def deliveries(
    context: typer.Context, webhook_id: str, limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List what was sent to a webhook, and what it answered."""
    columns = ("id", "event", "state", "attempts", "status_code", "message")
    _list(context, f"webhooks/{webhook_id}/deliveries", columns, limit, as_json)


@consents.command("list", epilog=EXIT_CODES)
def list_consents(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List consents."""
    columns = ("id", "subject_name", "state", "granted_by", "expires_at", "created_at")
    _list(context, "consents", columns, limit, as_json)


@consents.command("revoke", epilog=EXIT_CODES)
def revoke_consent(context: typer.Context, consent_id: str, as_json: AsJson = False) -> None:
    """Take a consent back: nothing new is made with the avatars that stand on it."""

    def tell(done: Resource) -> str:
        return f"{done['id']} is {done['state']}."

    path = f"consents/{consent_id}/revoke"
    _run(context, "consents revoke", lambda api: api.post(path), tell, as_json)


def _run(
    context: typer.Context,
    command: str,
    ask: Callable[[Api], Resource],
    tell: Callable[[Resource], str],
    as_json: bool,
) -> None:
    def work(screen: Screen) -> Outcome:
        with context.obj.connect(screen) as api:
            answer = ask(api)
        return Outcome(answer, tell(answer))

    run(command, work, as_json=as_json)


def _list(
    context: typer.Context, path: str, columns: Sequence[str], limit: int, as_json: bool
) -> None:
    def tell(answer: Resource) -> str:
        from services.cli import words

        rows = [[_cell(one.get(column)) for column in columns] for one in answer["data"]]
        return words.table(columns, rows, "None.")

    _run(context, path, lambda api: {"data": api.list(path, limit)}, tell, as_json)


def _remove(context: typer.Context, collection: str, resource_id: str, as_json: bool) -> None:
    path = f"{collection}/{resource_id}"
    _run(context, path, lambda api: api.delete(path), lambda gone: "Gone.", as_json)


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _flat(found: Resource, prefix: str = "") -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in found.items():
        lines += (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(prefix + name, value)]
        )
    return lines
