"""Numbers of an avatar's versions, in Redis: from 1, one for each job that got so far.

The gateway erases them with their avatar.
"""

from __future__ import annotations

from typing import Any, cast

from redis import Redis

from services.common.names import versions_key

_NUMBER = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then return tonumber(known) end
local number = redis.call('HLEN', KEYS[1]) + 1
redis.call('HSET', KEYS[1], ARGV[1], number)
return number
"""


def version_number(redis: Redis, avatar: str, job_id: str) -> int:
    """The number of the version that the job makes: the same for all its attempts.

    A job that ends without publishing leaves a gap.
    """
    script = redis.register_script(_NUMBER)
    return int(cast(Any, script(keys=[versions_key(avatar)], args=[job_id])))


def known_version(redis: Redis, avatar: str, job_id: str) -> int | None:
    """The number that :func:`version_number` gave to the job, if it did."""
    number = cast(Any, redis.hget(versions_key(avatar), job_id))
    return None if number is None else int(number)
