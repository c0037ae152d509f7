"""Records of the gateway in Redis, which with its append-only file is the database.

A :class:`Table` holds the records of one kind as JSON, changed only by compare-and-set, with an
index per tenant (newest first), a set of those that are *open*, and a schedule over all tenants
of when an open one is to be looked at: that is what the reconciler works from. All of it changes
in one step, so that a process may die between any two.

Keys: ``gw:{tenant}:{kind}:{id}``, ``gw:{tenant}:{kind}s``, ``gw:{tenant}:{kind}s:open``,
``gw:due:{kind}``, ``gw:states:{kind}``, and the stream ``gw:changes``.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, PrivateAttr
from redis.asyncio import Redis

from services.common.errors import NotFound, ResourceExhausted
from synctalk.errors import InputError

CHANGES = "gw:changes"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SCANNED = 1000
_STEPPED_ASIDE_MS = 2000
_POSTPONE = """
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) == tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
"""


class Record(BaseModel):
    """One thing of one tenant. Times are seconds since the epoch.

    Args:
        revision: grows with every change.
    """

    model_config = ConfigDict(frozen=True)
    KIND: ClassVar[str]

    id: str
    tenant: str
    created_s: float
    revision: int = 0
    _stored: str = PrivateAttr("")

    @property
    def stored(self) -> str:
        """The text in Redis that it was read from or, of a changed copy, was made from."""
        return self._stored

    @property
    def due_s(self) -> float | None:
        """When the reconciler is to look at it: 0 is at once, None never: it is closed."""
        return None

    @property
    def status(self) -> str:
        """In which of the states that are counted for the metrics it is."""
        return ""

    @property
    def member(self) -> str:
        """Its name in the schedule and in the stream of changes."""
        return f"{self.KIND}/{self.tenant}/{self.id}"


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Limit:
    """How many records of a kind a tenant may have: of all, or of the open ones."""

    of: Literal["index", "open"]
    most: int
    error: ResourceExhausted


@dataclass(frozen=True)
class Change:
    """What is to become of one record, as ``records.lua`` takes it; see :meth:`Table.change`."""

    text: str  # the new record's
    revision: int
    keys: tuple[str, ...]
    args: tuple[str | int, ...]


class Stale(Exception):
    """A record is no longer what a change takes it for: read it again."""


@dataclass(frozen=True)
class Claim:
    """An open record that this process looks at, until ``until_ms``, when others may too."""

    tenant: str
    id: str
    member: str
    until_ms: int


class Table(Generic[R]):
    """The records of one kind."""

    def __init__(self, redis: Redis, model: type[R]) -> None:
        self._redis = redis
        self._model = model
        self.kind = model.KIND
        self.poked = asyncio.Event()
        self._put_script = redis.register_script(script_of("records.lua"))
        self._claim_script = redis.register_script(script_of("claim.lua"))
        self._postpone_script = redis.register_script(_POSTPONE)

    async def create(self, record: R, limit: Limit | None = None, *others: Change) -> R:
        """Keep a new record, and make other changes in the same step; where there is one of its
        id, that one is returned: the others were made with it.

        Raises:
            ResourceExhausted: the tenant has as many as it may.
            Stale: another of the changes cannot be made; so none was.
        """
        change = self.change(None, record, limit)
        status, at = await self._make(change, *others)
        if status == "full" and limit is not None:
            raise limit.error
        if at:
            raise Stale
        return _as_kept(record, change) if status == "ok" else await self.get(*_name(record))

    async def find(self, tenant: str, record_id: str) -> R | None:
        """The record, or None."""
        text = await self._text(tenant, record_id)
        return self._parse(text) if text else None

    async def get(self, tenant: str, record_id: str) -> R:
        """The record. Raises :class:`NotFound`."""
        found = await self.find(tenant, record_id)
        if found is None:
            raise self.missing(record_id)
        return found

    async def update(
        self,
        tenant: str,
        record_id: str,
        change: Callable[[R], R],
        *,
        known: R | None = None,
        kept_due: bool = False,
    ) -> R:
        """Put ``change`` of the record in its place; it is called again when another was first.

        Args:
            known: the record as it was read before; spares reading it again.
            kept_due: leave it due when it was: the caller is looking at it.

        Raises:
            NotFound: there is no such record (any more).
        """
        old = known
        while True:
            old = old or await self.get(tenant, record_id)
            new = change(old)
            if new == old:
                return old
            made = self.change(old, new, kept_due=kept_due)
            if (await self._make(made))[0] == "ok":
                return _as_kept(new, made)
            old = None

    async def delete(self, tenant: str, record_id: str) -> bool:
        """Forget a record; whether there was one."""
        while old := await self.find(tenant, record_id):
            if (await self._make(self.change(old, None)))[0] == "ok":
                return True
        return False

    def change(
        self, old: R | None, new: R | None, limit: Limit | None = None, *, kept_due: bool = False
    ) -> Change:
        """That ``new`` takes the place of ``old``, as it was read; None: there is none."""
        record = new or old
        assert record is not None
        index = f"gw:{record.tenant}:{self.kind}s"
        due_s = None if new is None else new.due_s
        at_once = due_s is not None and due_s <= time.time()
        when = "kept" if kept_due else "now" if at_once else "later"
        revision = 0 if old is None else old.revision + 1
        text = "" if new is None else _revised(new, revision).model_dump_json()
        return Change(
            text=text,
            revision=revision,
            keys=(
                self._key(*_name(record)), index, f"{index}:open", self._due,
                f"gw:states:{self.kind}", CHANGES,
            ),
            args=(
                "" if old is None else old.stored, text,
                _ms(record.created_s), record.id, record.member,
                "" if due_s is None else _ms(due_s), when,
                "" if old is None else old.status, "" if new is None else new.status,
                "" if limit is None else limit.of, "" if limit is None else limit.most,
            ),
        )  # fmt: skip

    async def page(self, tenant: str, limit: int, token: str = "") -> tuple[list[R], str]:
        """Records newest first, and the token for those that follow; empty at the end.

        Raises:
            InputError: the token is not one of ours.
        """
        # By (score, id), a total order: pages neither skip nor repeat when others come or go.
        score, last = parse_token(token)
        key = f"gw:{tenant}:{self.kind}s"
        ties = await self._await(self._redis.zcount(key, score, score)) if token else 0
        rows: list[tuple[str, float]] = await self._await(
            self._redis.zrange(
                key, score or "+inf", "-inf", desc=True, byscore=True, offset=0,
                num=limit + 1 + ties, withscores=True,
            )
        )  # fmt: skip
        if token:
            rows = [row for row in rows if (row[1], row[0]) < (float(score), last)]
        shown = rows[:limit]
        found = await self.many(tenant, (name for name, _ in shown))
        more = len(rows) > limit
        return found, make_token(shown[-1][1], shown[-1][0]) if more else ""

    async def many(self, tenant: str, ids: Iterable[str]) -> list[R]:
        """Those of the records that are there."""
        keys = [self._key(tenant, name) for name in ids]
        texts = await self._await(self._redis.mget(keys)) if keys else []
        return [self._parse(text) for text in texts if text]

    async def count(self, tenant: str, *, only_open: bool = False) -> int:
        """How many the tenant has."""
        key = f"gw:{tenant}:{self.kind}s" + (":open" if only_open else "")
        return int(await self._await(self._redis.zcard(key)))

    async def open_ids(self, tenant: str) -> list[str]:
        """Those of the tenant's that are open, oldest first."""
        key = f"gw:{tenant}:{self.kind}s:open"
        ids: list[str] = await self._await(self._redis.zrange(key, 0, -1))
        return ids

    async def claim(
        self,
        count: int,
        lease_s: float,
        most: int | None = None,
        under_way: Mapping[str, int] | None = None,
    ) -> list[Claim]:
        """Open records that are due, so that other replicas leave them alone for ``lease_s``.

        Args:
            most: how many of one tenant, together with those that it has ``under_way``; None: any.
        """
        now_ms, until_ms = _ms(time.time()), _ms(time.time() + lease_s)
        args: list[str | int] = [
            now_ms, until_ms, count, count if most is None else _SCANNED,
            now_ms + _STEPPED_ASIDE_MS, count if most is None else most,
        ]  # fmt: skip
        if most is not None:
            args += [each for pair in (under_way or {}).items() for each in pair]
        members = await self._await(self._claim_script(keys=[self._due], args=args))
        return [_claim(member, until_ms) for member in members]

    async def postpone(self, claim: Claim, seconds: float) -> Claim:
        """Look again after ``seconds``, unless something came up meanwhile."""
        until_ms = _ms(time.time() + seconds)
        args = (claim.member, claim.until_ms, until_ms)
        await self._await(self._postpone_script(keys=[self._due], args=args))
        return replace(claim, until_ms=until_ms)

    async def drop(self, claim: Claim) -> None:
        """Take a member off the schedule whose record is gone."""
        await self._await(self._redis.zrem(self._due, claim.member))

    async def poke(self, tenant: str, record_id: str) -> None:
        """Have an open record looked at now, if there is one; sets :attr:`poked`."""
        member = f"{self.kind}/{tenant}/{record_id}"
        await self._await(self._redis.zadd(self._due, {member: 0}, xx=True))
        self.poked.set()

    def missing(self, record_id: str) -> NotFound:
        """The error that there is no such record."""
        return NotFound(
            f"no {self.kind} {record_id}",
            reason=f"{self.kind.upper()}_NOT_FOUND",
            remedy="Check the id; it may have been deleted.",
        )

    @property
    def _due(self) -> str:
        return f"gw:due:{self.kind}"

    def _key(self, tenant: str, record_id: str) -> str:
        return f"gw:{tenant}:{self.kind}:{record_id}"

    async def _text(self, tenant: str, record_id: str) -> str:
        if not _ID.fullmatch(record_id):
            return ""
        return await self._await(self._redis.get(self._key(tenant, record_id))) or ""

    async def _make(self, *changes: Change) -> tuple[str, int]:
        status, at = await self._await(
            self._put_script(
                keys=[key for change in changes for key in change.keys],
                args=[arg for change in changes for arg in change.args],
            )
        )
        return str(status), int(at)

    def _parse(self, text: str) -> R:
        record = self._model.model_validate_json(text)
        record._stored = text
        return record

    @staticmethod
    async def _await(reply: Awaitable[Any] | Any) -> Any:
        """redis-py types the replies of both its clients at once; ours is the awaitable one."""
        return await cast(Awaitable[Any], reply)


def _name(record: Record) -> tuple[str, str]:
    return record.tenant, record.id


def _revised(record: R, revision: int) -> R:
    return (
        record if record.revision == revision else record.model_copy(update={"revision": revision})
    )


def _as_kept(record: R, change: Change) -> R:
    kept = _revised(record, change.revision)
    kept._stored = change.text
    return kept


def _claim(member: str, until_ms: int) -> Claim:
    _, tenant, record_id = member.split("/")
    return Claim(tenant, record_id, member, until_ms)


@cache
def script_of(name: str) -> str:
    """The text of a script of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def make_token(score: float, record_id: str) -> str:
    """The place in a list behind this record, not to be read by others."""
    return base64.urlsafe_b64encode(f"{score:.0f}|{record_id}".encode()).decode().rstrip("=")


def parse_token(token: str) -> tuple[str, str]:
    """Score and id from :func:`make_token`. Raises :class:`InputError`."""
    if not token:
        return "", ""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        text = ""
    if not re.fullmatch(r"\d{1,18}\|[A-Za-z0-9_.-]{1,128}", text):
        raise InputError(
            "token is not one that a list gave",
            reason="INVALID_PAGE",
            remedy="Give next_token of the page before.",
        )
    score, _, record_id = text.partition("|")
    return score, record_id
