"""SIGKILL of everything while work runs: every job succeeds, once, and nothing is left over.

One round with the other tests, and one victim of each kind; ``make chaos`` runs twenty with all of
them and keeps what it saw. The seed of a round is its number.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import Made, Suite, Tenant, until
from redis import Redis
from redis.exceptions import RedisError

from services.suite.storage import store

ROUNDS = int(os.environ.get("SYNCTALK_CHAOS_ROUNDS", "1"))
REPORT = os.environ.get("SYNCTALK_CHAOS_REPORT", "")
REPEATED_S = 60.0
QUEUES = ("preprocess", "train", "dub")
# who is killed, and the kind of job that must be running at that moment
VICTIMS = {
    "preprocess-work-1": "preprocess",
    "trainer-work-1": "train",
    "renderer-1": "dub",
    "redis": "train",
    "objects": "train",
    "gateway": "preprocess",
}
if REPORT:
    VICTIMS |= {
        "renderer-2": "dub",
        "dubbing-work-1": "dub",
        "expression": "dub",
        "preprocess": "preprocess",
        "trainer": "train",
    }
ATTEMPT = re.compile(r".*/attempts/\d+")


@dataclass
class Seen:
    """One job as it went: attempt → moments and the share that was done then."""

    progress: dict[int, list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def repeated_s(self) -> float:
        """Longest time that a later attempt took to get where one before it had been."""
        worst, reached = 0.0, 0.0
        for attempt in sorted(self.progress):
            moments = self.progress[attempt]
            began = moments[0][0]
            caught_up = next((t for t, done in moments if done >= reached), moments[-1][0])
            if reached:
                worst = max(worst, caught_up - began)
            reached = max(reached, max(done for _, done in moments))
        return worst


class Jobs:
    """All jobs of the suite, read straight from Redis, as it was and is."""

    def __init__(self, suite: Suite) -> None:
        url = suite.settings.variables["AVATAR_REDIS_URL"]
        self.redis = Redis.from_url(url, decode_responses=True, socket_timeout=5)
        self.seen: dict[str, Seen] = defaultdict(Seen)

    def records(self) -> dict[str, dict[str, str]]:
        found = {}
        for queue in QUEUES:
            for key in self.redis.scan_iter(f"jobs:{{{queue}}}:job:*"):
                if key.count(":") == 3:
                    found[f"{queue}/{key.rpartition(':')[2]}"] = self.redis.hgetall(key)
        return found

    def running(self, queue: str) -> bool:
        """Whether a job of the queue is in the middle of its work."""
        try:
            return any(
                name.startswith(queue) and job["state"] == "running" and job.get("stage")
                for name, job in self.records().items()
            )
        except RedisError:
            return False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note how far each job is, five times a second."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.2):
                try:
                    records = self.records()
                except RedisError:
                    continue
                for name, job in records.items():
                    if job["state"] == "running":
                        moment = (time.monotonic(), float(job.get("fraction") or 0))
                        self.seen[name].progress[int(job["attempt"])].append(moment)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def successes(self) -> dict[str, int]:
        """How often each job's change to "succeeded" was announced."""
        counts: dict[str, int] = defaultdict(int)
        for queue in QUEUES:
            for _, event in self.redis.xrange(f"jobs:{{{queue}}}:events"):
                counts[f"{queue}/{event['id']}"] += event["state"] == "succeeded"
        return counts


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_is_killed_every_job_succeeds_once_and_leaves_nothing(
    seed: int, suite: Suite, made: Mapping[str, Made], small_video: Path, speech: Path
) -> None:
    chance, jobs, start = random.Random(seed), Jobs(suite), time.monotonic()
    tenant, avatar = made["umbrella"].tenant, made["umbrella"].avatar["id"]
    audio = tenant.upload_audio(speech)
    with jobs.watched():
        growing = tenant.create_avatar(small_video, f"round {seed}")
        dubs: list[str] = []
        for victim in _shuffled(chance):
            if VICTIMS[victim] == "dub":
                dubs.append(str(tenant.create_dub(avatar, audio)["id"]))
            while not _comes_to_work(jobs, tenant, victim, f"avatars/{growing['id']}"):
                growing = tenant.create_avatar(small_video, f"round {seed} again")
            time.sleep(chance.uniform(0, 2))  # any moment of it
            suite.kill(victim)
        ends = [tenant.wait(f"dubs/{dub}") for dub in dubs]
        ends.append(tenant.wait(f"avatars/{growing['id']}"))
    assert [end["error"] for end in ends] == [None] * len(ends)
    # other tests of this suite have jobs that fail, and tenants of their own for them
    mine = {each.tenant.name for each in made.values()}
    records = {name: job for name, job in jobs.records().items() if job["tenant"] in mine}
    assert {job["state"] for job in records.values()} == {"succeeded"}
    twice = {name: n for name, n in jobs.successes().items() if n > 1}
    assert not twice
    slow = {name: seen.repeated_s() for name, seen in jobs.seen.items()}
    assert max(slow.values()) <= REPEATED_S, slow
    until(lambda: not _leavings(suite, jobs), "the leavings of other attempts are swept", 90)
    if REPORT:
        _report(seed, jobs, max(slow.values()), time.monotonic() - start)


def _shuffled(chance: random.Random) -> list[str]:
    """All victims; those of one avatar's stages follow each other, those of dubs come anywhere."""
    spans = {"preprocess": (0, 1), "train": (1, 2), "dub": (0, 2)}
    return sorted(VICTIMS, key=lambda victim: chance.uniform(*spans[VICTIMS[victim]]))


def _comes_to_work(jobs: Jobs, tenant: Tenant, victim: str, avatar: str) -> bool:
    """Wait for work that ``victim`` has to do; False when the avatar in the making is done."""
    kind = VICTIMS[victim]
    done = False

    def amid() -> bool:
        nonlocal done
        done = kind != "dub" and tenant.api.get(avatar)["state"] == "ready"
        return done or jobs.running(kind)

    until(amid, f"a {kind} job runs")
    return not done


def _leavings(suite: Suite, jobs: Jobs) -> list[str]:
    """Keys of attempts that no record names, and everything temporary."""
    named = " ".join(" ".join(job.values()) for job in jobs.records().values())
    objects = store(suite.settings)
    keys = [found.key for folder in ("tenants", "tmp") for found in objects.list(folder)]
    attempts = [(key, ATTEMPT.match(key)) for key in keys]
    unnamed = [key for key, match in attempts if match and match.group() not in named]
    return unnamed + [key for key in keys if key.startswith("tmp/")]


def _report(seed: int, jobs: Jobs, repeated_s: float, wall_s: float) -> None:
    attempts = [max(seen.progress) for seen in jobs.seen.values()]
    line = {
        "seed": seed,
        "killed": len(VICTIMS),
        "jobs": len(attempts),
        "attempts": sum(attempts),
        "longest_repeated_s": round(repeated_s, 1),
        "wall_s": round(wall_s, 1),
    }
    with Path(REPORT).open("a") as report:
        report.write(json.dumps(line) + "\n")
