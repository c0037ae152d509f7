"""What Prometheus is told about jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from services.common.jobs import scripts
from services.common.jobs.model import JobState
from services.common.jobs.worker import Finished

_log = structlog.get_logger(__name__)
_RATES = (0.5, 1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200, 400, 800)
_RATIOS = (0.25, 0.5, 0.67, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4)
_DURATIONS_S = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800)


@dataclass(frozen=True)
class QueueStats:
    """A queue at one moment.

    Args:
        jobs: how many are in each state.
        oldest_s: how long the longest-waiting queued, and the longest-running job have been so.
        events: how often jobs were enqueued, leased, retried, lost, released, requeued, and came
            to each end, since the queue began.
    """

    jobs: Mapping[JobState, int] = field(hash=False)
    oldest_s: Mapping[JobState, float] = field(hash=False)
    events: Mapping[str, int] = field(hash=False)


def queue_stats(redis: Redis, queue: str) -> QueueStats:
    """Read a queue's figures in one step; ``redis`` decodes responses."""
    script = redis.register_script(scripts.source("stats"))
    rows: Any = script(keys=[f"jobs:{{{queue}}}:"])
    states = [row for row in rows if len(row) == 3]
    return QueueStats(
        jobs={JobState(state): count for state, count, _ in states},
        oldest_s={
            JobState(state): age_ms / 1000
            for state, _, age_ms in states
            if state in (JobState.QUEUED, JobState.RUNNING)
        },
        events={row[0]: row[1] for row in rows if len(row) == 2},
    )


class QueueCollector(Collector):
    """Depth, age and events of queues, read from Redis at each scrape.

    Register it in one process per queue, or let the query take the maximum: all would report the
    same figures.
    """

    def __init__(self, redis: Redis, queues: Iterable[str]) -> None:
        self._redis = redis
        self._queues = tuple(queues)

    def collect(self) -> Iterator[Metric]:
        """Read and convert; a queue that cannot be read is left out, and ``…_up`` says so."""
        up = GaugeMetricFamily("synctalk_jobs_redis_up", "1 when Redis answers", labels=["queue"])
        jobs = GaugeMetricFamily("synctalk_jobs", "Jobs by state", labels=["queue", "state"])
        oldest = GaugeMetricFamily(
            "synctalk_jobs_oldest_seconds",
            "Age of the oldest queued and of the longest running job",
            labels=["queue", "state"],
        )
        events = CounterMetricFamily(
            "synctalk_job_events", "What happened to jobs", labels=["queue", "event"]
        )
        for queue in self._queues:
            try:
                stats = queue_stats(self._redis, queue)
            except RedisError as error:
                _log.warning("no figures of queue", queue=queue, error=str(error))
                up.add_metric([queue], 0)
                continue
            up.add_metric([queue], 1)
            for state, count in stats.jobs.items():
                jobs.add_metric([queue, state], count)
            for state, age_s in stats.oldest_s.items():
                oldest.add_metric([queue, state], age_s)
            for event, times in stats.events.items():
                events.add_metric([queue, event], times)
        yield from (up, jobs, oldest, events)


class WorkerMetrics:
    """How long attempts and their stages took; hand :meth:`on_finished` to a worker."""

    def __init__(self, queue: str, registry: CollectorRegistry) -> None:
        self._queue = queue
        self._attempt = Histogram(
            "synctalk_job_attempt_seconds", "Duration of attempts by the state they led to",
            ["queue", "state"], registry=registry, buckets=_DURATIONS_S,
        )  # fmt: skip
        self._stage = Histogram(
            "synctalk_job_stage_seconds", "Duration of the stages of attempts",
            ["queue", "stage"], registry=registry, buckets=_DURATIONS_S,
        )  # fmt: skip
        self._rate = Histogram(
            "synctalk_job_stage_rate", "Steps or frames a second of the stages of attempts",
            ["queue", "stage"], registry=registry, buckets=_RATES,
        )  # fmt: skip
        self._eta_ratio = Histogram(
            "synctalk_job_eta_ratio",
            "Time left as said half way, over the time that it took; of jobs that succeeded",
            ["queue"], registry=registry, buckets=_RATIOS,
        )  # fmt: skip

    def on_finished(self, finished: Finished) -> None:
        """Count one attempt."""
        state = finished.state or "lost"
        self._attempt.labels(self._queue, state).observe(finished.duration_s)
        for stage, spent_s in finished.account.stage_durations_s.items():
            self._stage.labels(self._queue, stage).observe(spent_s)
        for stage, rate in finished.account.stage_rates.items():
            self._rate.labels(self._queue, stage).observe(rate)
        if finished.state is JobState.SUCCEEDED and finished.account.eta_ratio is not None:
            self._eta_ratio.labels(self._queue).observe(finished.account.eta_ratio)
