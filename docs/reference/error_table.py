"""Every reason that an error of ours may carry, wherever it is raised."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from source import GENERATED, ROOT, Module, last_name, modules, table

sys.path.insert(0, str(ROOT))  # the checkout, whatever is installed

from services.common.rpc.errors import code_of

_BASE = "SyncTalkError"
_JOB = "failure of a job"
_OPEN = "by the call's status"  # the class is chosen while it runs
_ROOTS = ("synctalk.errors", "services.common.errors")
_LUA = re.compile(r"blame\(id, '([A-Z_]+)', (?:'[^']*'|\w+), '([^']*)'\)")
_REASON = re.compile(r"…?_?[A-Z][A-Z0-9_]+…?")
INTRO = f"""{GENERATED}

# Errors

Each error carries a `reason`, which stays as it is from release to release, and a remedy for a
person. gRPC carries them in `google.rpc.ErrorInfo`; the command line prints them, and ends with the
exit code. A job that failed has them in its record. *…* stands for what only the case itself tells.
"""
COLUMNS = ("reason", "class", "gRPC status", "exit code", "what to do", "raised in")


@dataclass(frozen=True, order=True)
class Raised:
    """One place that may raise."""

    reason: str
    kind: str
    module: str
    remedy: str


def page() -> str:
    """The whole page."""
    raised = sorted({*(found for module in modules() for found in _in(module)), *_in_scripts()})
    rows = []
    for (reason, kind), each in groupby(raised, key=lambda found: (found.reason, found.kind)):
        places = list(each)
        remedies = dict.fromkeys(place.remedy for place in places if place.remedy)
        where = dict.fromkeys(f"`{place.module}`" for place in places)
        status, code = _status(kind)
        rows.append(
            (f"`{reason}`", kind, status, code, " / ".join(remedies) or "—", ", ".join(where))
        )
    return f"{INTRO}\n{table(COLUMNS, rows)}\n"


def _in(module: Module) -> Iterator[Raised]:
    homes = {
        call: node.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__"
    }
    named = set(homes.values())  # give themselves a reason
    for call in module.calls():
        kind = homes.get(call) or last_name(call.func)
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if isinstance(call.func, ast.Call) and {"reason", "remedy"} <= given.keys():
            kind = _OPEN
        if kind == "Ending" and len(call.args) > 2:
            given |= dict(zip(("reason", "message", "remedy"), call.args[2:], strict=False))
        if kind not in (*_classes(), "Ending", _OPEN):
            continue
        if "reason" not in given and (kind == "Ending" or kind in named or module.name in _ROOTS):
            continue
        remedy = module.words(given["remedy"]) if "remedy" in given else ""
        for reason in _reasons(given.get("reason"), kind, module, call):
            name = _JOB if kind == "Ending" else kind
            yield Raised(reason, name, module.name, remedy)
    yield from _answers(module)


def _reasons(node: ast.expr | None, kind: str, module: Module, call: ast.Call) -> list[str]:
    if node is None:
        return [kind.upper()]
    if isinstance(node, ast.IfExp):
        return [
            reason
            for branch in (node.body, node.orelse)
            for reason in _reasons(branch, kind, module, call)
        ]
    if last_name(node) == "reason" or isinstance(node, ast.Subscript):
        return []  # handed on from another error
    reason = module.words(node)
    if not _REASON.fullmatch(reason):
        raise SystemExit(
            f"{module.path}:{call.lineno}: the reason cannot be read; write it as a literal"
        )
    return [reason]


def _answers(module: Module) -> Iterator[Raised]:
    """What the limited process that decodes reports to its caller, who raises it."""
    for node in ast.walk(module.tree):
        if module.name == "synctalk.media.worker" and isinstance(node, ast.Dict):
            given = {module.words(k): v for k, v in zip(node.keys, node.values, strict=True) if k}
            if isinstance(given.get("reason"), ast.Constant):
                yield Raised(module.words(given["reason"]), "MediaError", module.name, "")


def _in_scripts() -> Iterator[Raised]:
    """What the scripts in Redis say of jobs."""
    for path in sorted((ROOT / "services").rglob("*.lua")):
        for reason, remedy in _LUA.findall(path.read_text()):
            yield Raised(reason, _JOB, "services.common.jobs", remedy)


@cache
def _classes() -> dict[str, str]:
    """Names of our exceptions, each with its nearest ancestor, or itself, in the two trees."""
    bases = {
        node.name: (module.name, [last_name(base) for base in node.bases])
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }

    def ancestor(name: str) -> str:
        module, parents = bases.get(name, ("", []))
        above = next((found for parent in parents if (found := ancestor(parent))), "")
        return name if (above or name == _BASE) and module in _ROOTS else above

    return {name: found for name in bases if (found := ancestor(name))}


def _status(kind: str) -> tuple[str, str]:
    if kind in (_JOB, _OPEN):
        return "—", "—"
    name = _classes()[kind]
    home = next(
        module
        for module in map(importlib.import_module, _ROOTS)
        if getattr(getattr(module, name, None), "__module__", "") == module.__name__
    )
    error = getattr(home, name)("")
    return code_of(error).name, str(error.exit_code)
