"""Clients of Redis as the job system needs them."""

from __future__ import annotations

from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

_TIMEOUT_S = 5.0
_CONNECTIONS = 32
_TRANSIENT = (RedisConnectionError, RedisTimeoutError)


def connect(url: str) -> AsyncRedis:
    """For services: rides out a restart of Redis of a second or two, then raises.

    Retrying is safe: every script that changes a job may be sent twice.
    """
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=1.0)
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=30,  # a burst of callers waits for its turn
        decode_responses=True,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        health_check_interval=15,
        retry=AsyncRetry(backoff, 6, supported_errors=_TRANSIENT),
    )
    return AsyncRedis.from_pool(pool)


def connect_worker(url: str) -> Redis:
    """For workers, whose loop does the retrying: one quick second try on a stale connection."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=_TRANSIENT),
    )
