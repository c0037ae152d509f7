"""Every metric that a process serves at /metrics, with the processes that serve it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from source import GENERATED, Module, last_name, modules, table

_TYPES = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "Summary": "summary",
    "Info": "info",
    "Enum": "stateset",
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
    "HistogramMetricFamily": "histogram",
}
ROLES = ("serve", "work")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
COLUMNS = ("metric", "type", "labels", "what it counts", "served by")
INTRO = f"""{GENERATED}

# Metrics

Every process serves them at `/metrics` (`AVATAR_METRICS_HOST`, `AVATAR_METRICS_PORT`), with those
of Python and of the process (`python_…`, `process_…`) beside them. A histogram has `…_bucket`,
`…_count` and `…_sum`. What counts a queue is read from Redis at each scrape, so all processes that
serve it say the same: take the maximum over them, not the sum. A process lists a metric also when
nothing in it counts.
"""


@dataclass(frozen=True)
class Found:
    """A metric in the code.

    Args:
        holder: class whose instances have it; empty: the module has it.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    what: str
    module: str
    holder: str


@dataclass(frozen=True)
class Process:
    """One that is started: a service, or a role of one.

    Args:
        name: e.g. ``"renderer"`` or ``"trainer work"``.
        modules: what it imports at its start. What a job's handler imports comes into the
            process forked for it, which serves nothing.
        called: names of what is called there.
    """

    name: str
    modules: frozenset[str]
    called: frozenset[str]


def page() -> str:
    """The whole page."""
    rows = [
        (f"`{found.name}`", found.kind, ", ".join(found.labels) or "—", found.what, served)
        for found in sorted(metrics(), key=lambda found: found.name)
        if (served := ", ".join(serving(found)))
    ]
    return f"{INTRO}\n{table(COLUMNS, rows)}\n"


@cache
def metrics() -> tuple[Found, ...]:
    """All of them."""
    return tuple(found for module in modules() for found in _in(module))


def serving(found: Found) -> list[str]:
    """Names of the processes that serve a metric; none while its service has no ``main.py``.

    Raises:
        SystemExit: none of the processes there are.
    """
    names = [
        process.name
        for process in processes()
        if found.module in process.modules and (not found.holder or found.holder in process.called)
    ]
    services = {"common", *(process.name.split()[0] for process in processes())}
    if not names and found.module.split(".")[1] in services:
        raise SystemExit(f"{found.module}: no process serves {found.name}")
    return names


@cache
def processes() -> tuple[Process, ...]:
    """Those of all services that can be started."""
    mains = [m for m in modules() if m.path.name == "main.py" and m.name.startswith("services.")]
    return tuple(process for main in mains for process in _of(main))


def _of(main: Module) -> Iterator[Process]:
    service = main.name.split(".")[1]
    functions = {node.name for node in main.tree.body if isinstance(node, _FUNCTIONS)}
    if not {f"_{role}" for role in ROLES} <= functions:
        yield _process(service, main, "")
        return
    for role, other in (ROLES, ROLES[::-1]):
        yield _process(f"{service} {role}", main, f"_{other}")


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _process(name: str, main: Module, left_out: str) -> Process:
    """What is imported from ``main`` on, but for its function ``left_out``."""
    body = [n for n in main.tree.body if not (isinstance(n, _FUNCTIONS) and n.name == left_out)]
    pruned = Module(main.name, main.path, ast.Module(body, []))
    by_name = {module.name: module for module in modules()} | {main.name: pruned}
    seen: set[str] = set()
    waiting = [main.name]
    while waiting:
        current = waiting.pop()
        if current not in seen and current in by_name:
            seen.add(current)
            waiting += _imports(by_name[current], everywhere=current == main.name)
    called = frozenset[str]().union(*(_called(by_name[each]) for each in seen))
    return Process(name, frozenset(seen), called)


@cache
def _called(module: Module) -> frozenset[str]:
    return frozenset(last_name(call.func) for call in module.calls())


@cache
def _imports(module: Module, everywhere: bool) -> frozenset[str]:
    """Names of the modules that it imports, ``everywhere`` or at its top."""
    nodes = ast.walk(module.tree) if everywhere else module.tree.body
    return frozenset(name for node in nodes for name in _imported(node))


def _imported(node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for name in names:  # importing a.b.c runs a and a.b too
        parts = name.split(".")
        yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _in(module: Module) -> Iterator[Found]:
    holders = {
        call: node.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
    }
    known = _imported_types(module)
    for call in module.calls():
        kind = last_name(call.func)
        if kind not in known:
            continue
        given = dict(zip(("name", "what", "labels"), call.args, strict=False))
        given |= {keyword.arg or "": keyword.value for keyword in call.keywords}
        name = module.words(given["name"])
        if not _NAME.fullmatch(name):
            raise SystemExit(f"{module.path}:{call.lineno}: write the metric's name as a literal")
        if _TYPES[kind] == "counter" and not name.endswith("_total"):
            name += "_total"
        labels = given.get("labels") or given.get("labelnames")
        yield Found(
            name, _TYPES[kind], tuple(_texts(module, labels)) if labels else (),
            module.words(given["what"]), module.name, holders.get(call, ""),
        )  # fmt: skip


def _imported_types(module: Module) -> set[str]:
    return {
        alias.name
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
        for alias in node.names
    } & _TYPES.keys()


def _texts(module: Module, node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Starred):
        yield from _texts(module, node.value)
    elif isinstance(node, ast.Name):
        value = module.constant(node.id)
        assert value is not None, f"{module.path}: labels {node.id} cannot be read"
        yield from _texts(module, value)
    elif isinstance(node, ast.Tuple | ast.List):
        for element in node.elts:
            yield from _texts(module, element)
    else:
        yield module.words(node)
