"""What Prometheus is told by the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from services.common import logs

log = logs.logger(__name__)

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_KINDS = ("upload", "avatar", "dub", "delivery", "session")

SECONDS = Histogram(
    "synctalk_http_request_seconds", "Time until an answer begins", ["method", "route", "status"],
    buckets=_BUCKETS,
)  # fmt: skip
IN_FLIGHT = Gauge("synctalk_http_in_flight", "Requests under way, event streams included")
STREAMS = Gauge("synctalk_sse_open", "Open event streams")
UPLOAD_BYTES = Counter("synctalk_upload_bytes", "Bytes announced for upload", ["kind"])
DELIVERIES = Counter("synctalk_webhook_attempts", "Attempts at webhooks", ["outcome"])
FAILED_LOOKS = Counter(
    "synctalk_reconcile_failures", "Looks at unfinished work that failed unexpectedly", ["kind"]
)


class StatesCollector(Collector):
    """Uploads, avatars, dubs and deliveries by state, read from Redis at each scrape.

    All replicas report the same figures: let the query take the maximum.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        """Nothing of a kind that cannot be read."""
        family = GaugeMetricFamily(
            "synctalk_gateway_records", "Records by kind and state", labels=["kind", "state"]
        )
        for kind in _KINDS:
            try:
                states = cast(dict[str, Any], self._redis.hgetall(f"gw:states:{kind}"))
            except RedisError as error:
                log.warning("no figures", kind=kind, error=str(error))
                continue
            for state, count in states.items():
                family.add_metric([kind, state], float(count))
        yield family
