"""Every setting, from the pydantic models of ``services/*/settings.py``."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from source import GENERATED, ROOT, table

sys.path.insert(0, str(ROOT))  # the checkout, whatever is installed

from services.common.settings import PREFIX, DataSettings, ServiceSettings

COLUMNS = ("variable", "value", "default", "what it is")
INTRO = f"""{GENERATED}

# Settings

Every process reads environment variables, and a file of the same variables where `AVATAR_ENV_FILE`
names one; the environment wins. They are checked before anything starts: a process that cannot use
one names it and ends with exit code 2. Lists and tuples are JSON. Secrets are never logged.

The library needs none. `SYNCTALK_MODELS` names a folder of face models where the installed ones are
not to be used.
"""


def page() -> str:
    """The whole page."""
    found = dict(_services())
    common = _rows(ServiceSettings, ServiceSettings.model_fields)
    parts = [INTRO, "## Every service\n", table(COLUMNS, common)]
    own = {
        service: {k: v for k, v in model.model_fields.items() if k not in _inherited(model)}
        for service, model in found.items()
    }
    for field, users in _shared(own).items():
        rows = _rows(found[users[0]], {field: own[users[0]][field]})
        parts += [f"\n## {field}: {', '.join(users)}\n", table(COLUMNS, rows)]
    for service, fields in own.items():
        single = {k: v for k, v in fields.items() if k not in _shared(own)}
        if rows := _rows(found[service], single):
            parts += [f"\n## {service}\n", table(COLUMNS, rows)]
    return "\n".join(parts) + "\n"


def _services() -> Iterator[tuple[str, type[BaseSettings]]]:
    for path in sorted((ROOT / "services").glob("*/settings.py")):
        service = path.parent.name
        module = importlib.import_module(f"services.{service}.settings")
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, BaseSettings)
                and value.__module__ == module.__name__
                and value not in (DataSettings, ServiceSettings)
            ):
                yield service, value


def _inherited(model: type[BaseSettings]) -> set[str]:
    return set(ServiceSettings.model_fields) if issubclass(model, ServiceSettings) else set()


def _shared(own: dict[str, dict[str, FieldInfo]]) -> dict[str, list[str]]:
    """Fields that several services declare alike, such as ``jobs``, and those services."""
    users: dict[str, list[str]] = {}
    for service, fields in own.items():
        for name, field in fields.items():
            if _nested(field.annotation) is not None:
                users.setdefault(name, []).append(service)
    return {name: services for name, services in users.items() if len(services) > 1}


def _rows(
    model: type[BaseModel], fields: dict[str, FieldInfo], prefix: str = PREFIX, when: str = ""
) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for name, field in fields.items():
        variable = f"{prefix}{name}".upper()
        if (part := _nested(field.annotation)) is not None:
            optional = f"with any `{variable}__…`" if field.default is None else when
            rows += _rows(part, part.model_fields, f"{variable}__", optional)
            continue
        if not field.description:
            raise SystemExit(f"{model.__name__}.{name} has no description")
        required = f"required {when}".strip()
        default = required if field.is_required() else _default(field)
        rows.append((f"`{variable}`", _value(field), default, field.description))
    return rows


def _nested(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (tuple, list, frozenset, set):
        return None  # written as one JSON value
    kinds = [annotation, *get_args(annotation)]
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == ():
        return "none"
    if isinstance(value, Path) and value.is_relative_to(tempfile.gettempdir()):
        value = Path("/tmp") / value.relative_to(tempfile.gettempdir())
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, tuple):
        value = json.dumps(value)
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _value(field: FieldInfo) -> str:
    limits = [text for part in field.metadata if (text := _limit(part))]
    return ", ".join([_kind(field.annotation), *limits])


def _kind(annotation: Any) -> str:
    arguments = [kind for kind in get_args(annotation) if kind not in (NoneType, Ellipsis)]
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(argument) for argument in arguments)
    if origin in (tuple, list, frozenset, set):
        return f"list of {_kind(arguments[0])}"
    names = {SecretStr: "secret", str: "text", int: "whole number", float: "number", Path: "path"}
    names |= {bool: "`true` or `false`"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return " ".join(
            ("objects with", ", ".join(f"`{name}`" for name in annotation.model_fields))
        )
    if annotation not in names:
        raise SystemExit(f"setting_table.py has no words for a setting of type {annotation}")
    return names[annotation]


def _limit(part: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "a multiple of"}
    for name, sign in signs.items():
        if getattr(part, name, None) is not None:
            return f"{sign} {getattr(part, name)}"
    pattern = getattr(part, "pattern", None)
    return f"`{pattern}`" if pattern else ""
