"""``avatar me``, ``keys``, ``webhooks``: the tenant and who may call, and whom it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from services.cli.calls import Limit, ask, ask_list, ask_remove
from services.cli.session import EXIT_CODES, AsJson

if TYPE_CHECKING:
    from services.cli.api import Resource

EVENTS = (
    *(f"avatar.{end}" for end in ("ready", "failed", "cancelled")),
    *(f"dub.{end}" for end in ("succeeded", "failed", "cancelled")),
    "consent.revoked",
)
_PANEL = "Tenant"

keys = typer.Typer(no_args_is_help=True, help="API keys of the tenant; role admin needed.")
webhooks = typer.Typer(no_args_is_help=True, help="Where events are sent.")


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    app.command(epilog=EXIT_CODES, rich_help_panel=_PANEL)(me)
    app.add_typer(keys, name="keys", rich_help_panel=_PANEL)
    app.add_typer(webhooks, name="webhooks", rich_help_panel=_PANEL)


def me(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the tenant and role of the key, its quotas and what is used of them."""

    def tell(found: Resource) -> str:
        from rich.markup import escape

        lines = [f"Tenant [bold]{escape(str(found['tenant']))}[/], role {found['role']}"]
        used = [f"{name} {value}" for name, value in _flat(found) if name not in ("tenant", "role")]
        return "\n".join([*lines, *map(escape, used)])

    ask(context, "me", lambda api: api.get("me"), tell, as_json)


@keys.command("list", epilog=EXIT_CODES)
def list_keys(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List keys, without the keys themselves."""
    ask_list(
        context,
        "keys",
        ("id", "name", "role", "scopes", "last_used_at", "created_at"),
        limit,
        as_json,
    )


@keys.command("make", epilog=EXIT_CODES)
def make_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[Literal["member", "admin", "reviewer", "viewer"], typer.Option()] = "member",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Of what it is good for, e.g. dubs or avatars:read; repeat it."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="For the operator's key only.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once, on stdout."""
    body = {"name": name, "role": role, "scopes": scope or []}
    body |= {"tenant": tenant} if tenant else {}
    ask(context, "keys make", lambda api: api.post("keys", body), lambda made: made["key"], as_json)


@keys.command("rotate", epilog=EXIT_CODES)
def rotate_key(
    context: typer.Context,
    key_id: str,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that the old one stays good beside the new.")
    ] = 86_400.0,
    as_json: AsJson = False,
) -> None:
    """Replace a key. The new one is shown once, on stdout."""
    ask(
        context,
        "keys rotate",
        lambda api: api.post(f"keys/{key_id}/rotate", {"grace_s": grace}),
        lambda made: made["key"],
        as_json,
    )


@keys.command("revoke", epilog=EXIT_CODES)
def revoke_key(context: typer.Context, key_id: str, as_json: AsJson = False) -> None:
    """Make a key useless, at once."""
    ask_remove(context, "keys", key_id, as_json)


@webhooks.command("list", epilog=EXIT_CODES)
def list_webhooks(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List webhooks."""
    ask_list(context, "webhooks", ("id", "url", "events", "created_at"), limit, as_json)


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

    ask(context, "webhooks add", lambda api: api.post("webhooks", body), tell, as_json)


@webhooks.command("remove", epilog=EXIT_CODES)
def remove_webhook(context: typer.Context, webhook_id: str, as_json: AsJson = False) -> None:
    """Send nothing there any more."""
    ask_remove(context, "webhooks", webhook_id, as_json)


@webhooks.command("test", epilog=EXIT_CODES)
def send_test(context: typer.Context, webhook_id: str, as_json: AsJson = False) -> None:
    """Send a test event; avatar webhooks deliveries shows what came of it."""
    path = f"webhooks/{webhook_id}/test"
    ask(context, "webhooks test", lambda api: api.post(path), lambda made: "Sent.", as_json)


@webhooks.command("deliveries", epilog=EXIT_CODES)
def deliveries(
    context: typer.Context, webhook_id: str, limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List what was sent to a webhook, and what it answered."""
    columns = ("id", "event", "state", "attempts", "status_code", "message")
    ask_list(context, f"webhooks/{webhook_id}/deliveries", columns, limit, as_json)


def _flat(found: Resource, prefix: str = "") -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in found.items():
        lines += (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [(prefix + name, value)]
        )
    return lines
