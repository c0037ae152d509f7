"""Clients of Redis as the job system needs them."""

from __future__ import annotations

import asyncio
from typing import Any, cast

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
_BATCHES = 2
_LONGEST_BATCH = 100


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
    return _Together.from_pool(pool)


def connect_worker(url: str) -> Redis:
    """For workers, whose loop does the retrying: one quick second try on a stale connection."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=_TRANSIENT),
    )


class _Together(AsyncRedis):
    """Sends commands that are given at the same time as one pipeline.

    A quarter of what a busy gateway did was to write single commands to sockets. While as many
    batches as may be are under way, what comes makes up the next one: the busier, the fewer writes.
    Each command has its own answer or error; a batch whose connection breaks is sent again whole.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: list[tuple[tuple[Any, ...], dict[str, Any], asyncio.Future[Any]]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As the base's; what waits in Redis has a connection for itself."""
        if "BLOCK" in args or b"BLOCK" in args:
            return await cast(Any, super()).execute_command(*args, **options)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((args, options, answer))
        if len(self._sending) < _BATCHES:
            task = asyncio.create_task(self._send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return await answer

    async def _send(self) -> None:
        while batch := self._waiting[:_LONGEST_BATCH]:
            del self._waiting[: len(batch)]
            pipe = self.pipeline(transaction=False)
            for args, options, _ in batch:
                pipe.execute_command(*args, **options)
            try:
                replies: list[Any] = await pipe.execute(raise_on_error=False)
            except Exception as error:
                replies = [error] * len(batch)
            for (_, _, answer), reply in zip(batch, replies, strict=True):
                if answer.done():  # whoever asked has gone
                    continue
                if isinstance(reply, Exception):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
