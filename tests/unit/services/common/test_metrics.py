"""The page of metrics, and forks beside it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
import urllib3
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.common.errors import ConfigurationError
from services.common.metrics import serve_metrics


class SlowCollector(Collector):
    """Holds a lock while it is read, as every metric does, and takes its time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reading = threading.Event()
        self.go_on = threading.Event()

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        with self.lock:
            self.reading.set()
            assert self.go_on.wait(30)
            yield GaugeMetricFamily("slow", "A slow one", value=1)


def scrape(port: int) -> str:
    return urllib3.request("GET", f"http://127.0.0.1:{port}/metrics").data.decode()


def forked_child_gets(lock: threading.Lock) -> bool:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if lock.acquire(timeout=0.2) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_page_shows_what_was_counted() -> None:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc(3)
    with serve_metrics("127.0.0.1", 0, registry) as port:
        assert "things_total 3.0" in scrape(port)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigurationError, match=str(port)) as refused,
            serve_metrics("127.0.0.1", port),
        ):
            pass
    assert refused.value.reason == "METRICS_PORT_TAKEN"


def test_a_fork_waits_until_a_scrape_is_over_so_that_the_child_finds_no_lock_taken() -> None:
    slow, registry = SlowCollector(), CollectorRegistry()
    registry.register(slow)
    with serve_metrics("127.0.0.1", 0, registry) as port:
        scraping = threading.Thread(target=scrape, args=(port,))
        scraping.start()
        assert slow.reading.wait(30)
        assert slow.lock.locked()
        threading.Timer(0.2, slow.go_on.set).start()
        assert forked_child_gets(slow.lock)
        scraping.join()


def test_scrapes_and_forks_go_on_after_a_fork() -> None:
    slow, registry = SlowCollector(), CollectorRegistry()
    slow.go_on.set()
    registry.register(slow)
    with serve_metrics("127.0.0.1", 0, registry) as port:
        for _ in range(3):
            assert forked_child_gets(slow.lock)
            assert "slow 1.0" in scrape(port)
