"""The Lua scripts: every change of a job's state is one of them, and each is atomic."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(name: str) -> str:
    """Text of ``lua/{name}.lua`` behind the functions that all scripts share."""
    folder = files(__package__) / "lua"
    return "\n".join(
        (folder / part).read_text(encoding="utf-8") for part in ("common.lua", f"{name}.lua")
    )
