"""The disaster drill: back up, lose everything by SIGKILL and rm -r, restore, and speak again.

    python benchmarks/drill.py [--suite FOLDER] [--avatar NAME]

Starts a suite as `avatar up` does, on a copy of FOLDER (a stopped suite that has an avatar), or
makes an avatar of the sample portrait first, which takes minutes. Everything is done by the
commands that an operator has. Checks that the dub from before plays by a new signed URL, byte by
byte, that a new dub shows the same pictures, and that what was made after the backup is what is
lost. Measures how long backup and restore keep one waiting, and for how long Redis answers nobody.
Writes benchmarks/results/drill.json, or --out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
from redis import Redis

from services.common import local_folder
from services.common.local import LocalServers
from services.gateway.backup.snapshot import connect_raw, take
from synctalk.evaluation.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
KEYS = 100_000
# Off: pictures of two dubs are compared, and each dub has a mark of its own.
WATERMARK = "AVATAR_PROVENANCE__WATERMARK"
RECORD = json.dumps({"text": "a record of the usual size, half a kilobyte " * 12}).encode()
Json = dict[str, Any]


def avatar(home: Path, *arguments: object) -> Json:
    """A command of the command line, and what it says to programs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AVATAR_")}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", *map(str, arguments), "--json"],
        cwd=ROOT, env={**clean, "AVATAR_HOME": str(home), WATERMARK: "false"},
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"avatar {arguments[0]}: exit code {done.returncode}\n{done.stdout}")
    result: Json = json.loads(done.stdout)["result"]
    return result


@contextmanager
def clock(figures: Json, name: str) -> Iterator[None]:
    """Notes the seconds that the body took, and says them."""
    began_s = time.monotonic()
    yield
    figures[name] = round(time.monotonic() - began_s, 2)
    print(f"{name}: {figures[name]} s", flush=True)


def pictures(video: Path) -> str:
    """Digest of all decoded frames."""
    digest = hashlib.sha256()
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def prepare(home: Path, suite: Path | None, name: str) -> None:
    """A running suite with an avatar of this name."""
    if suite is not None:
        ignored = shutil.ignore_patterns("logs", "run", "lock", "work")
        shutil.copytree(suite, home, ignore=ignored)
    avatar(home, "up", "--detach")
    if suite is None:
        avatar(
            home, "create", SAMPLES / "portrait.mp4", "--name", name, "--i-have-consent",
            "--preset", "demo", "--wait",
        )  # fmt: skip


def destroy(home: Path) -> None:
    """As when the machine burns down."""
    while found := local_folder.holders(home):
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(home)


def drill(folder: Path, suite: Path | None, name: str) -> Json:
    """All of it; the figures."""
    figures: Json = {}
    home, vault = folder / "suite", folder / "vault"
    speech, before, after = SAMPLES / "speech.wav", folder / "before.mp4", folder / "after.mp4"
    prepare(home, suite, name)
    dub = avatar(home, "dub", name, speech, "-o", before)
    with clock(figures, "backup_s"):
        saved = avatar(home, "backup", vault)
    figures |= {fact: saved[fact] for fact in ("keys", "objects", "bytes")}
    with clock(figures, "backup_again_s"):
        again = avatar(home, "backup", vault)
    figures["copied_again_bytes"] = again["copied_bytes"]
    late = avatar(home, "dub", name, speech, "--wait")
    destroy(home)
    with clock(figures, "recovery_s"):
        with clock(figures, "restore_s"):
            restored = avatar(home, "restore", vault, "--nothing-gone")
        with clock(figures, "start_s"):
            avatar(home, "up", "--detach")
        with clock(figures, "first_dub_s"):
            avatar(home, "dub", name, speech, "-o", after)
    check(home, restored, saved, dub, late, before, after)
    avatar(home, "down")
    return figures


def check(
    home: Path, restored: Json, saved: Json, dub: Json, late: Json, before: Path, after: Path
) -> None:
    """Ends with what is not as it was."""
    wrong = []
    if restored["objects"] != saved["objects"]:
        wrong.append(f"{restored['objects']} objects of {saved['objects']} came back")
    found = {each["id"]: each for each in avatar(home, "dubs")["data"]}
    if dub["id"] not in found or late["id"] in found:
        wrong.append("the dubs are not those of the backup")
    url = avatar(home, "show", dub["id"])["video_url"]
    if fetched(url) != before.read_bytes():
        wrong.append("the dub from before is another one now")
    if pictures(before) != pictures(after):
        wrong.append("the restored avatar makes other pictures")
    if wrong:
        sys.exit("; ".join(wrong))


def standstill(folder: Path) -> Json:
    """How long Redis answers nobody while a large installation's records are read."""
    with LocalServers.start(folder) as servers, connect_raw(servers.redis_url) as redis:
        fill(redis)
        began_s = time.monotonic()
        snapshot = take(redis)
        whole_s = time.monotonic() - began_s
        slowest: Any = redis.slowlog_get(128)
        blocked_us = max(each["duration"] for each in slowest)
        return {
            "keys": len(snapshot.entries), "bytes": sum(len(e.value) for e in snapshot.entries),
            "redis_stands_still_s": round(blocked_us / 1e6, 3), "read_s": round(whole_s, 2),
        }  # fmt: skip


def fill(redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    redis.config_set("slowlog-log-slower-than", 1000)
    pipe = redis.pipeline(transaction=False)
    for number in range(KEYS):
        pipe.set(f"gw:tenant-{number % 100}:dub:{number}", RECORD)
        if number % 10_000 == 9_999:
            pipe.execute()
    redis.slowlog_reset()


def main() -> None:
    """Run it, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, help="a stopped suite; it is copied")
    parser.add_argument("--avatar", default="drill", help="name of the avatar")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "drill.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avatar-drill-") as made:
        folder = Path(made)
        try:
            figures = drill(folder, arguments.suite, arguments.avatar)
        finally:
            if (folder / "suite").exists():
                local_folder.stop(folder / "suite")
        large = standstill(folder / "large")
    print(json.dumps(large))
    report = {"machine": asdict(describe_machine()), "drill": figures, "large": large}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
