"""Commands that are one call of the API, and how their answers are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.session import Outcome, run
from services.common.errors import NotFound
from synctalk.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.cli.api import Api, Resource
    from services.cli.screen import Screen

Limit = Annotated[int, typer.Option(min=1, help="The newest so many.")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Show progress until it is done; survives restarts.")
]
HINT = "Watch it with avatar wait {0}; end it with avatar cancel {0}."


def ask(
    context: typer.Context,
    command: str,
    question: Callable[[Api], Resource],
    tell: Callable[[Resource], str],
    as_json: bool,
) -> None:
    """Ask the API something, and tell the answer."""

    def work(screen: Screen) -> Outcome:
        with context.obj.connect(screen) as api:
            answer = question(api)
        return Outcome(answer, tell(answer))

    run(command, work, as_json=as_json)


def ask_list(
    context: typer.Context, path: str, columns: Sequence[str], limit: int, as_json: bool
) -> None:
    """Show a list as a table."""

    def tell(answer: Resource) -> str:
        from services.cli import words

        rows = [[_cell(one.get(column)) for column in columns] for one in answer["data"]]
        return words.table(columns, rows, "None.")

    ask(context, path, lambda api: {"data": api.list(path, limit)}, tell, as_json)


def ask_remove(context: typer.Context, collection: str, resource_id: str, as_json: bool) -> None:
    """Delete something."""
    path = f"{collection}/{resource_id}"
    ask(context, path, lambda api: api.delete(path), lambda gone: "Gone.", as_json)


def find_avatar(api: Api, name_or_id: str) -> Resource:
    """The avatar of this id, or the only one of this name.

    Raises:
        NotFound: there is none.
        InputError: several have the name.
    """
    if name_or_id.startswith("av_"):
        return api.get(f"avatars/{name_or_id}")
    found = [one for one in api.list("avatars", 1000) if one["name"] == name_or_id]
    if not found:
        raise NotFound(
            f"There is no avatar {name_or_id!r}.", reason="AVATAR_NOT_FOUND",
            remedy="avatar list shows those that there are.",
        )  # fmt: skip
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        raise InputError(
            f"{len(found)} avatars are called {name_or_id!r}.", reason="AVATAR_AMBIGUOUS",
            remedy=f"Give the id: {ids}.",
        )  # fmt: skip
    return found[0]


def state_of(found: Resource) -> str:
    """In words, without colours."""
    from rich.text import Text

    from services.cli import words

    return Text.from_markup(words.state(found)).plain


def _cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
