"""What is wrong with the suite of this machine, running or not, and the remedy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from services.common import local_folder
from services.common.local_server import (
    HOST,
    port_is_free,
    rclone_program,
    redis_program,
    write_private,
)
from services.suite import settings as suite_settings
from services.suite.settings import SuiteSettings
from services.suite.state import Phase, ProcessState, SuiteState
from synctalk import __version__
from synctalk.doctor import Finding
from synctalk.errors import SyncTalkError

MIN_DISK_GIB = 5.0
MIN_MEMORY_GIB = 4.0
_GIB = 2**30
_TIMEOUT_S = 5.0
_DURABLE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def examine(folder: Path, state: SuiteState | None) -> list[Finding]:
    """Look at everything; ``state`` is that of the running suite."""
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("versions", _versions),
        ("redis-server", _redis_program),
        ("rclone", _rclone_program),
        ("folder", lambda: _folder(folder)),
        ("disk", lambda: disk(folder)),
        ("memory", _memory),
    ]
    findings = [_guarded(name, check) for name, check in checks]
    settings = _guarded("settings", lambda: _settings(folder))
    read = suite_settings.read(folder) if settings.ok else None
    findings.append(settings)
    if read is None:
        return findings
    if state is None:
        left = _leftovers(folder)
        return [*findings, left, _port(read)] if left.ok else [*findings, left]
    findings += [
        _guarded("Redis", lambda: _redis(read)),
        _guarded("object store", lambda: object_store(read)),
        *_processes(read, state),
        _guarded("API", lambda: _api(read)),
    ]
    return findings


def disk(folder: Path) -> Finding:
    """Whether there is room for videos and avatars."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    gib = shutil.disk_usage(place).free / _GIB
    ok = gib >= MIN_DISK_GIB
    remedy = "" if ok else f"At least {MIN_DISK_GIB:g} GiB are needed: free some, or use --folder."
    return Finding("disk", ok, f"{gib:.1f} GiB free at {place}", remedy)


def object_store(settings: SuiteSettings) -> Finding:
    """Write, read, delete, and see whether a wrong signature is refused.

    Raises:
        SyncTalkError: the store cannot be used.
    """
    from services.suite.storage import store

    objects = store(settings)
    objects.ensure_bucket()
    key, data = f"tmp/doctor-{os.getpid()}", os.urandom(64)
    try:
        ref = objects.put_bytes(key, data)
        if objects.get_bytes(ref) != data:
            return _wrong("object store", "returns other bytes than were stored")
        url = objects.presigned_get(key, timedelta(minutes=5))
        forged = _status(url[:-1] + ("0" if url[-1] != "0" else "1"))
        if forged < 400:
            remedy = "Anyone can read it: run the suite's own, or switch authentication on."
            return _wrong("object store", f"takes a wrong signature (HTTP {forged})", remedy)
        if _status(url) != 200:
            remedy = "Clocks more than 15 minutes apart do this, and proxies that rewrite requests."
            return _wrong("object store", "refuses URLs that we signed", remedy)
    finally:
        objects.delete(key)
    where = settings.variables["AVATAR_STORAGE__URL"]
    return Finding("object store", True, f"{where}: writes, reads, refuses wrong signatures")


def _versions() -> Finding:
    detail = f"avatar {__version__}, Python {platform.python_version()}, {platform.platform()}"
    ok = Path("/proc/self/fd").is_dir()
    remedy = "" if ok else "One machine needs Linux: processes are found through /proc."
    return Finding("versions", ok, detail, remedy)


def _redis_program() -> Finding:
    program = redis_program()
    return Finding("redis-server", True, f"{program}: {_first_line([str(program), '--version'])}")


def _rclone_program() -> Finding:
    program = rclone_program()
    return Finding("rclone", True, f"{program}: {_first_line([str(program), 'version'])}")


def _folder(folder: Path) -> Finding:
    place = next(path for path in (folder, *folder.parents) if path.exists())
    ok = os.access(place, os.W_OK)
    remedy = "" if ok else "Give another one with --folder or AVATAR_HOME."
    return Finding("folder", ok, str(folder), remedy)


def _memory() -> Finding:
    total, available = (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB,
        os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB,
    )
    ok = total >= MIN_MEMORY_GIB
    remedy = "" if ok else f"At least {MIN_MEMORY_GIB:g} GiB are needed to train and render."
    return Finding("memory", ok, f"{total:.1f} GiB, {available:.1f} free", remedy)


def _settings(folder: Path) -> Finding:
    path = folder / suite_settings.FILE
    read = suite_settings.read(folder)
    if read is None:
        return Finding("settings", True, f"{path} will be made at the first start")
    read.check()
    if path.stat().st_mode & 0o077:
        write_private(path, path.read_text())
        return Finding("settings", True, f"{path}: others could read it, which is put right now")
    return Finding("settings", True, str(path))


def _leftovers(folder: Path) -> Finding:
    left = local_folder.holders(folder) if folder.is_dir() else []
    if left:
        detail = f"the supervisor is gone, its processes {left} are not"
        return _wrong("processes", detail, "avatar down ends them, and so does avatar up.")
    return Finding("processes", True, "none: the suite does not run")


def _port(settings: SuiteSettings) -> Finding:
    if port_is_free(settings.api_port):
        return Finding("port", True, f"{settings.api_port} is free for the API")
    remedy = "Free it, or choose another with avatar up --port."
    return _wrong("port", f"{settings.api_port}, the API's, is taken", remedy)


def _redis(settings: SuiteSettings) -> Finding:
    from redis import Redis

    url = settings.variables["AVATAR_REDIS_URL"]
    with Redis.from_url(url, decode_responses=True, socket_timeout=_TIMEOUT_S) as redis:
        version = redis.info("server")["redis_version"]
        found = {name: redis.config_get(name)[name] for name in _DURABLE}
    wrong = [f"{name} is {found[name]}" for name in _DURABLE if found[name] != _DURABLE[name]]
    if wrong:
        wanted = ", ".join(f"{name} {value}" for name, value in _DURABLE.items())
        return _wrong("Redis", "; ".join(wrong), f"Jobs could be lost. Set {wanted}.")
    return Finding("Redis", True, f"{version}, every write on disk before it is answered")


def _processes(settings: SuiteSettings, state: SuiteState) -> Iterator[Finding]:
    from pydantic import SecretStr

    from services.common.rpc.health import health
    from services.common.settings import RpcSettings

    rpc = RpcSettings(token=SecretStr(settings.variables["AVATAR_RPC__TOKEN"]))
    for process in state.processes:
        speaks_grpc = process.metrics_port and process.port and process.name != "gateway"
        if process.phase is not Phase.READY:
            yield _not_ready(process)
        elif speaks_grpc and (found := health(f"{HOST}:{process.port}", rpc)) != "SERVING":
            yield _wrong(process.name, found, f"Look at avatar logs {process.name}.")
        elif process.metrics_port and not _serves_metrics(process.metrics_port):
            yield _wrong(process.name, "no /metrics", f"Look at avatar logs {process.name}.")
        else:
            yield Finding(process.name, True, "healthy" if speaks_grpc else "runs")


def _not_ready(process: ProcessState) -> Finding:
    died = f", died {process.deaths} times, last with {process.last_exit}" if process.deaths else ""
    remedy = f"Look at avatar logs {process.name}."
    return _wrong(process.name, f"{process.phase.value}{died}", remedy)


def _api(settings: SuiteSettings) -> Finding:
    status = _status(f"{settings.url}/readyz")
    if status == 200:
        return Finding("API", True, f"{settings.url} is ready")
    return _wrong("API", f"{settings.url}/readyz answers {status}", "Look at avatar logs gateway.")


def _serves_metrics(port: int) -> bool:
    return _status(f"http://{HOST}:{port}/metrics") == 200


def _status(url: str) -> int:
    """HTTP status; 599 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 599


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout or done.stderr).partition("\n")[0]


def _wrong(name: str, detail: str, remedy: str = "") -> Finding:
    return Finding(name, False, detail, remedy)


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    """A check that itself fails is a finding, not a traceback."""
    try:
        return check()
    except SyncTalkError as error:
        return _wrong(name, error.message, error.remedy)
    except Exception as error:  # whatever a machine in trouble raises
        return _wrong(name, f"{type(error).__name__}: {error}", "See the logs: avatar logs.")
