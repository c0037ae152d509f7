"""``python -m services.gateway.backup save FOLDER`` and ``… restore FOLDER``, on a cluster.

On one machine ``avatar backup`` and ``avatar restore`` do the same. Reads the variables of Redis
and of the object store; says what came of it as a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from redis.exceptions import RedisError

from services.common import logs
from services.common.settings import DataSettings, load
from services.common.storage import ObjectStore
from services.gateway.backup.restore import restore
from services.gateway.backup.save import save
from services.gateway.backup.snapshot import connect_raw
from services.gateway.backup.vault import Vault
from synctalk.errors import SyncTalkError

_DAY_S = 86_400.0
BROKEN = 5


def main() -> int:
    """Exit code 5: the backup was made, and avatars or dubs in it lack files."""
    arguments = parser().parse_args()
    try:
        settings = load(DataSettings)
        logs.configure("backup", settings.log_level)
        return _run(arguments, settings)
    except RedisError as error:
        print(f"Redis cannot be used ({error}). Check AVATAR_REDIS_URL.", file=sys.stderr)
        return 6
    except SyncTalkError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _run(arguments: argparse.Namespace, settings: DataSettings) -> int:
    url, store = settings.redis_url.get_secret_value(), ObjectStore(settings.storage)
    vault = Vault(arguments.folder)
    with connect_raw(url) as redis:
        if arguments.command == "save":
            saved = save(redis, store, vault, arguments.keep_days * _DAY_S)
            facts = saved.backup.manifest
            said = {
                "backup": saved.backup.name, "keys": facts.keys, "objects": facts.objects,
                "bytes": facts.bytes, "copied": saved.copied, "copied_bytes": saved.copied_bytes,
                "forgotten": saved.forgotten, "broken": facts.broken,
            }  # fmt: skip
            print(json.dumps(said))
            return BROKEN if facts.broken else 0
        gone = arguments.gone.read_text().splitlines() if arguments.gone else ()
        done = restore(redis, url, store, vault, gone, arguments.at)
    said = {
        "backup": done.backup.name, "keys": done.keys, "objects": done.objects,
        "left_out": done.left_out, "buried": done.buried,
    }  # fmt: skip
    print(json.dumps(said))
    return 0


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="services.gateway.backup", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    saving = commands.add_parser("save", help="copy Redis and the bucket while everything runs")
    saving.add_argument("folder", type=Path)
    saving.add_argument("--keep-days", type=float, default=30.0, help="how long backups are kept")
    giving = commands.add_parser("restore", help="fill an empty installation; services are down")
    giving.add_argument("folder", type=Path)
    giving.add_argument("--at", default="", help="name of a backup; the newest without it")
    since = giving.add_mutually_exclusive_group(required=True)
    since.add_argument(
        "--gone", type=Path,
        help="names of what was erased, deleted or revoked after the newest backup, one a line",
    )  # fmt: skip
    since.add_argument(
        "--nothing-gone", action="store_true", help="nothing was, as far as anybody knows"
    )
    return made
