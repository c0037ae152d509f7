"""Everything of ours in Redis at one moment, and the way back into an empty one.

One script reads it, so no change falls between two keys. It needs no files of the server and no
rights of a replica, so it works with Redis as a service, too; other users of the same database
(Ray, for one) are left alone. The server answers nobody else while it runs: see docs/disaster.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis

from services.common.errors import CorruptData

OURS = ("gw:", "jobs:")
_TIMEOUT_S = 300.0
_BATCH = 1000
_ALL = """
local found, cursor = {}, '0'
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    for _, prefix in ipairs(ARGV) do
      if string.sub(key, 1, #prefix) == prefix then
        local text = redis.call('TYPE', key).ok == 'string'
        local value = text and redis.call('GET', key) or redis.call('DUMP', key)
        if value then
          local left = redis.call('PTTL', key)
          found[#found + 1] = {key, left, text and 'text' or 'dump', value}
        end
      end
    end
  end
until cursor == '0'
return {redis.call('TIME'), found}
"""


@dataclass(frozen=True)
class Entry:
    """One key.

    Args:
        expires_ms: since the epoch; None: never.
        kind: of ``value``: the string itself, or what DUMP gives of another type.
    """

    key: str
    expires_ms: int | None
    kind: Literal["text", "dump"]
    value: bytes

    def to_line(self) -> str:
        """As one line of JSON."""
        value = base64.b64encode(self.value).decode()
        return json.dumps([self.key, self.expires_ms, self.kind, value])

    @classmethod
    def from_line(cls, line: str) -> Entry:
        """What :meth:`to_line` made. Raises :class:`CorruptData`."""
        try:
            key, expires_ms, kind, value = json.loads(line)
            return cls(key, expires_ms, kind, base64.b64decode(value, validate=True))
        except ValueError as error:
            raise CorruptData(
                f"a line of the copy of Redis cannot be read ({error})",
                reason="BACKUP_DAMAGED",
                remedy="Restore an earlier backup: --at.",
            ) from None


@dataclass(frozen=True)
class Snapshot:
    """All keys.

    Args:
        taken_s: by the clock of Redis, seconds since the epoch.
    """

    taken_s: float
    entries: tuple[Entry, ...]


def connect_raw(url: str) -> Redis:
    """A client that gives bytes as they are, and the time that a large reply takes."""
    return Redis.from_url(url, socket_timeout=_TIMEOUT_S)


def take(redis: Redis) -> Snapshot:
    """Read all keys of ours."""
    (seconds, micros), rows = _answer(redis.eval(_ALL, 0, *OURS))
    taken_s = int(seconds) + int(micros) / 1e6
    found = {bytes(key): row for key, *row in rows}  # SCAN may name a key twice
    return Snapshot(taken_s, tuple(_entry(key, row, taken_s) for key, row in found.items()))


def _answer(reply: Any) -> Any:
    """redis-py types the replies of both its clients at once."""
    return reply


def _entry(key: bytes, row: list[Any], taken_s: float) -> Entry:
    left, kind, value = row
    expires_ms = None if left < 0 else round(taken_s * 1000) + int(left)
    return Entry(key.decode(), expires_ms, "text" if kind == b"text" else "dump", bytes(value))


def put(redis: Redis, entries: Iterable[Entry], now_s: float) -> int:
    """Write keys, but those whose time is over; how many were written."""
    living = [each for each in entries if each.expires_ms is None or each.expires_ms > now_s * 1000]
    for first in range(0, len(living), _BATCH):
        pipe = redis.pipeline(transaction=False)
        for each in living[first : first + _BATCH]:
            if each.kind == "text":
                pipe.set(each.key, each.value, pxat=each.expires_ms)
            else:
                absolute = each.expires_ms is not None
                pipe.restore(each.key, each.expires_ms or 0, each.value, absttl=absolute)
        pipe.execute()
    return len(living)


def ours(redis: Redis) -> Iterator[bytes]:
    """Names of all keys of ours."""
    for prefix in OURS:
        yield from redis.scan_iter(match=prefix + "*", count=_BATCH)
