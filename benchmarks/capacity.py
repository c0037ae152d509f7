"""Live sessions over a day: how many renderers, who is refused, and where it breaks first.

    python benchmarks/capacity.py [--seeds 3]

A discrete-event simulation. Sessions come at random, with the day and in bursts, and stay for some
minutes; replicas start on pods that run or wait for a new node; and the policy that decides is
the very function of the renderer (services/renderer/autoscaling.py) under the limits and delays
of services/renderer/serve_config.yaml. Nothing is rendered: how many sessions a replica holds is
given. Writes benchmarks/results/capacity.json; docs/capacity.md says what follows.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from services.renderer.autoscaling import LiveLoad, wanted_replicas

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "services" / "renderer" / "serve_config.yaml"
RESULT = ROOT / "benchmarks" / "results" / "capacity.json"
DAY_S = 86_400.0


@dataclass(frozen=True)
class Scaling:
    """What serve_config.yaml says."""

    places: int
    target: float
    least: int
    most: int
    look_back_s: float
    interval_s: float
    upscale_delay_s: float
    downscale_delay_s: float

    @classmethod
    def read(cls) -> Scaling:
        """Of the one deployment in the file."""
        (application,) = yaml.safe_load(CONFIG.read_text())["applications"]
        (deployment,) = application["deployments"]
        scaling = deployment["autoscaling_config"]
        return cls(
            places=deployment["max_ongoing_requests"],
            target=scaling["target_ongoing_requests"],
            least=scaling["min_replicas"],
            most=scaling["max_replicas"],
            look_back_s=scaling["look_back_period_s"],
            interval_s=scaling["metrics_interval_s"],
            upscale_delay_s=scaling["upscale_delay_s"],
            downscale_delay_s=scaling["downscale_delay_s"],
        )


@dataclass(frozen=True)
class World:
    """What is outside our control.

    Args:
        sessions_a_day: that are asked for.
        mean_s: of a session, exponential.
        peak: busiest hour over the mean; a sine over the day.
        burst: for five minutes every hour, so many times as many.
        replicas_a_pod: that share a pod's CPUs or GPU.
        replica_s: from its start on a pod that runs to a replica that answers.
        node_s: from asking for a new node to a pod that runs there.
        pod_idle_s: an empty pod goes after so long.
    """

    sessions_a_day: float
    mean_s: float = 300.0
    peak: float = 3.0
    burst: float = 4.0
    replicas_a_pod: int = 4
    replica_s: float = 20.0
    node_s: float = 240.0
    pod_idle_s: float = 600.0

    def rate_hz(self, now_s: float) -> float:
        """Sessions a second that are asked for at this time."""
        day = 1 + (self.peak - 1) / 2 * (1 + math.sin(2 * math.pi * (now_s / DAY_S - 0.25)))
        mean_of_day = 1 + (self.peak - 1) / 2
        bursting = now_s % 3600 < 300
        mean_of_hour = (300 * self.burst + 3300) / 3600
        share = (self.burst if bursting else 1) / mean_of_hour
        return self.sessions_a_day / DAY_S * day / mean_of_day * share

    @property
    def most_hz(self) -> float:
        """No time has a higher rate."""
        return self.sessions_a_day / DAY_S * self.peak * self.burst


@dataclass(frozen=True)
class Outcome:
    """A day."""

    asked: int
    refused_share: float
    moved: int
    broken: int
    most_sessions: int
    most_replicas: int
    pod_hours: float
    places_used_share: float


@dataclass
class Fleet:
    """Replicas that answer, and pods that run them.

    Args:
        places: for sessions on a replica.
        sessions: held by each replica that answers.
        starting: replicas that do not answer yet.
        pods_run_s: when each pod runs, or will.
    """

    places: int
    sessions: list[int]
    pods_run_s: list[float]
    starting: int = 0
    held: int = 0

    @property
    def replicas(self) -> int:
        """Those that answer and those that start."""
        return len(self.sessions) + self.starting

    def place(self) -> bool:
        """One more session, on the replica that has fewest; whether there was room."""
        fewest = min(self.sessions, default=self.places)
        if fewest < self.places:
            self.sessions[self.sessions.index(fewest)] += 1
            self.held += 1
        return fewest < self.places

    def leave(self, rng: random.Random) -> None:
        """A session ends, anywhere."""
        at = rng.randrange(self.held)
        self.held -= 1
        for i, count in enumerate(self.sessions):
            if at < count:
                self.sessions[i] -= 1
                return
            at -= count

    def remove(self) -> tuple[int, int]:
        """Stop a replica, not an idle one in particular; its sessions (moved, broken)."""
        held = self.sessions.pop(0)
        self.held -= held
        moved = sum(self.place() for _ in range(held))
        return moved, held - moved


class Simulation:
    """One day of one world."""

    def __init__(self, world: World, scaling: Scaling, seed: int) -> None:
        self.world, self.scaling = world, scaling
        self.rng = random.Random(seed)
        pods = [0.0] * self._pods_for(scaling.least)
        self.fleet = Fleet(scaling.places, [0] * scaling.least, pods)
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._looks: deque[int] = deque(maxlen=int(scaling.look_back_s // scaling.interval_s))
        self._more_since_s: float | None = None
        self._fewer_since_s: float | None = None
        self._spare_since_s: float | None = None
        self.asked = self.refused = self.moved = self.broken = 0
        self.most_sessions = self.most_replicas = 0
        self.pod_s = self.place_s = self.used_s = 0.0

    def run(self) -> Outcome:
        """Until the day is over."""
        self._at(self._next_arrival(), self._arrive)
        self._at(0.0, self._look)
        while self._events and self._events[0][0] < DAY_S:
            then_s, _, happen = heapq.heappop(self._events)
            self._account(then_s - self.now_s)
            self.now_s = then_s
            happen()
        return Outcome(
            asked=self.asked,
            refused_share=round(self.refused / max(1, self.asked), 4),
            moved=self.moved,
            broken=self.broken,
            most_sessions=self.most_sessions,
            most_replicas=self.most_replicas,
            pod_hours=round(self.pod_s / 3600, 1),
            places_used_share=round(self.used_s / max(1.0, self.place_s), 3),
        )

    def _at(self, time_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_s, next(self._order), happen))

    def _account(self, passed_s: float) -> None:
        held = self.fleet.held
        self.pod_s += passed_s * len(self.fleet.pods_run_s)  # paid for from when they are asked for
        self.place_s += passed_s * len(self.fleet.sessions) * self.scaling.places
        self.used_s += passed_s * held
        self.most_sessions = max(self.most_sessions, held)
        self.most_replicas = max(self.most_replicas, self.fleet.replicas)

    def _next_arrival(self) -> float:
        """By thinning: candidates at the highest rate, each kept as often as the rate then says."""
        at_s = self.now_s
        while True:
            at_s += self.rng.expovariate(self.world.most_hz)
            if self.rng.random() < self.world.rate_hz(at_s) / self.world.most_hz:
                return at_s

    def _arrive(self) -> None:
        self.asked += 1
        if self.fleet.place():
            self._at(self.now_s + self.rng.expovariate(1 / self.world.mean_s), self._depart)
        else:
            self.refused += 1
        self._at(self._next_arrival(), self._arrive)

    def _depart(self) -> None:
        if self.fleet.held:  # it may have been broken off
            self.fleet.leave(self.rng)

    def _look(self) -> None:
        """What Serve does at each interval: ask the policy, heed the delays."""
        scaling, fleet = self.scaling, self.fleet
        self._looks.append(fleet.held)
        streams = sum(self._looks) / len(self._looks)
        load = LiveLoad(len(fleet.sessions), streams, 0.0)
        wanted = min(scaling.most, max(scaling.least, wanted_replicas(load, scaling.target)))
        self._more_since_s = self._since(self._more_since_s, wanted > fleet.replicas)
        self._fewer_since_s = self._since(self._fewer_since_s, wanted < len(fleet.sessions))
        if self._passed(self._more_since_s, scaling.upscale_delay_s):
            for _ in range(wanted - fleet.replicas):
                self._start()
        if self._passed(self._fewer_since_s, scaling.downscale_delay_s):
            for _ in range(len(fleet.sessions) - wanted):
                moved, broken = fleet.remove()
                self.moved += moved
                self.broken += broken
        needed = self._pods_for(fleet.replicas)
        self._spare_since_s = self._since(self._spare_since_s, len(fleet.pods_run_s) > needed)
        if self._passed(self._spare_since_s, self.world.pod_idle_s):
            del fleet.pods_run_s[needed:]
        self._at(self.now_s + scaling.interval_s, self._look)

    def _since(self, since_s: float | None, now: bool) -> float | None:
        return (self.now_s if since_s is None else since_s) if now else None

    def _passed(self, since_s: float | None, delay_s: float) -> bool:
        return since_s is not None and self.now_s - since_s >= delay_s

    def _start(self) -> None:
        fleet = self.fleet
        pod = fleet.replicas // self.world.replicas_a_pod
        if pod == len(fleet.pods_run_s):
            fleet.pods_run_s.append(self.now_s + self.world.node_s)
        fleet.starting += 1
        self._at(max(self.now_s, fleet.pods_run_s[pod]) + self.world.replica_s, self._up)

    def _up(self) -> None:
        self.fleet.starting -= 1
        self.fleet.sessions.append(0)

    def _pods_for(self, replicas: int) -> int:
        return max(1, math.ceil(replicas / self.world.replicas_a_pod))


def scenarios() -> Iterator[tuple[str, World, Scaling]]:
    """What docs/capacity.md compares."""
    scaling = Scaling.read()
    for sessions in (10, 1_000, 100_000):
        yield f"{sessions} a day, as configured", World(sessions), scaling
    free = replace(scaling, most=10_000)
    yield "100000 a day, max_replicas lifted", World(100_000), free
    warm = replace(free, least=40)
    yield "100000 a day, lifted, min_replicas 40", World(100_000), warm
    spare = replace(free, target=1.0)
    yield "100000 a day, lifted, target 1", World(100_000), spare
    yield "100000 a day, lifted, nodes in 60 s", replace(World(100_000), node_s=60.0), free
    yield "100000 a day, lifted, no bursts", replace(World(100_000), burst=1.0), free
    yield "1000 a day, min_replicas 4", World(1_000), replace(scaling, least=4)


def main() -> None:
    """All scenarios, each with several seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    rows: list[dict[str, Any]] = []
    for name, world, scaling in scenarios():
        days = [asdict(Simulation(world, scaling, seed).run()) for seed in seeds]
        mean = {key: round(sum(day[key] for day in days) / len(days), 4) for key in days[0]}
        print(name, mean)
        rows.append({"scenario": name, "seeds": len(days), **mean})
    written = {"scaling": asdict(Scaling.read()), "world": asdict(World(0)), "rows": rows}
    RESULT.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
