"""The live sessions of this process, and where all others are.

The engine of a session lives in one process; Redis says in which (:class:`SessionRecord`). The
record is also how anybody else ends it: whoever deletes the record, or the avatar, ends the
session, for its process looks after both.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.common import logs
from services.common.errors import NotFound, ResourceExhausted, ServiceError, Unavailable
from services.gateway.audit import Audit
from services.gateway.changes import Changes
from services.gateway.errors import LimitReached, SessionElsewhere
from services.gateway.live import metrics
from services.gateway.live.clients import LiveServices
from services.gateway.live.clock import SystemClock
from services.gateway.live.ports import Subject
from services.gateway.live.session import EndedOut, LiveSession
from services.gateway.live.tokens import digest_of, new_token, token_key
from services.gateway.model import AvatarRecord, SessionRecord, now_s
from services.gateway.records import Limit, Table
from services.gateway.settings import GatewaySettings
from synctalk.errors import SyncTalkError

log = logs.logger(__name__)
_LOOK_S = 10.0
_RETRY_S = 5.0


@dataclass(frozen=True)
class Wishes:
    """How a session is to be; zeros and None leave it to avatar and installation."""

    width_px: int
    height_px: int
    colour: str
    sample_rate_hz: int
    max_duration_s: float | None
    idle_timeout_s: float | None


@dataclass(frozen=True)
class Opened:
    """A session with its token, which is not kept."""

    record: SessionRecord
    session: LiveSession
    token: str
    token_expires_s: float


class LiveDesk:
    """Opens, finds and ends sessions; an async context manager that ends all of them."""

    def __init__(
        self,
        settings: GatewaySettings,
        redis: Redis,
        sessions: Table[SessionRecord],
        avatars: Table[AvatarRecord],
        changes: Changes,
        audit: Audit,
    ) -> None:
        self.settings = settings.live
        self._redis = redis
        self._records = sessions
        self._avatars = avatars
        self._changes = changes
        self._audit = audit
        self._sessions: dict[str, LiveSession] = {}
        self._guards: set[asyncio.Task[None]] = set()
        self._opening = 0
        self._stack = AsyncExitStack()
        self._services: LiveServices | None = None
        if settings.expression_target and settings.renderer_targets:
            self._services = LiveServices(
                settings.expression_target, settings.renderer_targets, settings.rpc
            )

    async def __aenter__(self) -> LiveDesk:
        if self._services is not None:
            await self._stack.enter_async_context(self._services)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end_all()
        await self._stack.aclose()

    async def end_all(self) -> None:
        """This process stops: tell everybody, and let go of everything."""
        for session in list(self._sessions.values()):
            await session.end("STOPPING", "this server stops; open a new session")
        while self._guards:
            await asyncio.wait(self._guards)

    async def open(
        self, session_id: str, avatar: AvatarRecord, wishes: Wishes, url: str, most: int
    ) -> Opened:
        """Open a session, or give a new token for one that this id has opened here.

        Args:
            avatar: one that is ready.
            url: where this process is reached, without a path.
            most: how many the tenant may have at once.

        Raises:
            Unavailable: no place here, in the expression service or on any renderer.
            ResourceExhausted: the tenant has as many as it may.
        """
        token = new_token()
        try:
            if (session := self._sessions.get(session_id)) is None:
                record = self._new_record(session_id, avatar, wishes, url)
                record, session = await self._start(record, avatar, wishes, most)
            record = await self._records.update(
                avatar.tenant, session_id, lambda old: _current(old, session, token)
            )
        except SyncTalkError as error:
            metrics.REFUSED.labels(error.reason).inc()
            raise
        owner = f"{record.tenant}/{record.id}"
        await self._redis.set(token_key(record.token_digest), owner, ex=self._token_s)
        return Opened(record, session, token, now_s() + self._token_s)

    async def find(self, tenant: str, session_id: str) -> tuple[SessionRecord, LiveSession]:
        """A session of this process.

        Raises:
            NotFound: there is none of this id (any more).
            SessionElsewhere: another process has it.
        """
        record = await self._records.get(tenant, session_id)
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionElsewhere(session_id, record.url)
        return record, session

    async def list(self, tenant: str, limit: int, token: str) -> tuple[list[SessionRecord], str]:
        """The tenant's sessions, wherever they are, and the token for more."""
        return await self._records.page(tenant, limit, token)

    def local(self, session_id: str) -> LiveSession | None:
        """The session, if this process has it."""
        return self._sessions.get(session_id)

    async def renew(self, record: SessionRecord) -> float:
        """Defer the end of a session's token; until when it is good, seconds since the epoch."""
        await self._redis.expire(token_key(record.token_digest), self._token_s)
        return now_s() + self._token_s

    async def end(self, tenant: str, session_id: str) -> None:
        """End a session wherever it is. Raises :class:`NotFound`."""
        record = await self._records.get(tenant, session_id)
        if (session := self._sessions.get(session_id)) is not None:
            await session.end("DELETED", "it was ended on request")
        await self._forget(record)

    async def sweep(self, record: SessionRecord) -> float:
        """Forget a session whose process is gone; seconds until the next look."""
        left_s = record.seen_s + record.LEASE_S - now_s()
        if left_s <= 0:
            log.warning("session lost with its process", session=record.id, url=record.url)
            await self._forget(record)
        return max(0.0, left_s)

    def _new_record(
        self, session_id: str, avatar: AvatarRecord, wishes: Wishes, url: str
    ) -> SessionRecord:
        lasts_s = min(wishes.max_duration_s or math.inf, self.settings.max_duration_s)
        now = now_s()
        return SessionRecord(
            id=session_id,
            tenant=avatar.tenant,
            created_s=now,
            avatar=avatar.id,
            version=avatar.version,
            url=self.settings.url or url,
            width_px=wishes.width_px,
            height_px=wishes.height_px,
            sample_rate_hz=wishes.sample_rate_hz,
            expires_s=now + lasts_s,
            seen_s=now,
            token_digest="",
        )

    async def _start(
        self, record: SessionRecord, avatar: AvatarRecord, wishes: Wishes, most: int
    ) -> tuple[SessionRecord, LiveSession]:
        services = self._check_room()
        self._opening += 1
        try:
            record = await self._records.create(record, _quota(most))
            session = self._engine(services, record, avatar, wishes)
            try:
                await session.open()
            except BaseException as error:
                await self._forget(record)
                raise _refusal(error) from None
        finally:
            self._opening -= 1
        self._sessions[record.id] = session
        metrics.SESSIONS.set(len(self._sessions))
        guard = asyncio.create_task(self._guard(record, session, avatar.consent))
        self._guards.add(guard)
        guard.add_done_callback(self._guards.discard)
        return record, session

    def _check_room(self) -> LiveServices:
        if self._services is None:
            raise Unavailable(
                "live sessions are not set up here",
                reason="LIVE_NOT_CONFIGURED",
                remedy="Set AVATAR_EXPRESSION_TARGET and AVATAR_RENDERER_TARGETS of the gateway.",
            )
        if len(self._sessions) + self._opening >= self.settings.max_sessions:
            raise Unavailable(
                f"this gateway has its {self.settings.max_sessions} sessions",
                reason="SESSIONS_FULL",
                remedy="Try again later, or add gateways.",
            )
        return self._services

    def _engine(
        self, services: LiveServices, record: SessionRecord, avatar: AvatarRecord, wishes: Wishes
    ) -> LiveSession:
        assert avatar.bundle is not None
        subject = Subject(
            record.id, record.tenant, f"{avatar.resource}/versions/{avatar.version}",
            avatar.bundle, wishes.colour,
        )  # fmt: skip
        return LiveSession(
            subject, services, services, self.settings, SystemClock(),
            size_px=(wishes.width_px, wishes.height_px),
            rate_hz=wishes.sample_rate_hz,
            max_duration_s=record.expires_s - record.created_s,
            idle_timeout_s=min(
                wishes.idle_timeout_s or math.inf, self.settings.idle_timeout_s
            ),
            on_end=self._on_end,
        )  # fmt: skip

    def _on_end(self, session: LiveSession, ended: EndedOut) -> None:
        if self._sessions.pop(session.subject.session, None) is not None:
            metrics.SESSIONS.set(len(self._sessions))
            log.info(
                "session ended", session=session.subject.session, tenant=session.subject.tenant,
                reason=ended.code, counters=asdict(session.counters()),
            )  # fmt: skip

    async def _guard(self, record: SessionRecord, session: LiveSession, consent: str) -> None:
        """Look after a session's record and avatar while it lasts; then forget it."""
        changed = asyncio.Event()
        avatar = f"{AvatarRecord.KIND}/{record.tenant}/{record.avatar}"
        with (
            self._changes.subscribe(record.member, changed.set),
            self._changes.subscribe(avatar, changed.set),
        ):
            over = asyncio.create_task(session.over())
            while not over.done():
                waiting = asyncio.create_task(changed.wait())
                await asyncio.wait(
                    (over, waiting), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                waiting.cancel()
                changed.clear()
                if not over.done():
                    await self._look(record, session)
        if (why := over.result().code) == "AVATAR_ERASED" or why.startswith("CONSENT_"):
            with contextlib.suppress(RedisError):  # it has ended all the same
                await self._audit.note(
                    record.tenant, "system", "session.end", f"sessions/{record.id}",
                    why=why, avatar=record.avatar, consent=consent,
                )  # fmt: skip
        await self._forget(record)

    async def _look(self, record: SessionRecord, session: LiveSession) -> None:
        try:
            found = await self._records.find(record.tenant, record.id)
            avatar = await self._avatars.find(record.tenant, record.avatar)
            if found is None:
                await session.end("DELETED", "it was ended on request")
            elif avatar is None:
                await session.end("AVATAR_ERASED", "the avatar was erased")
            else:
                await self._say_seen(found, session)
        except RedisError as error:  # the session goes on without it
            log.warning("redis is away", error=repr(error))

    async def _say_seen(self, record: SessionRecord, session: LiveSession) -> None:
        now = now_s()
        if now - record.seen_s < _LOOK_S / 2:
            return
        with contextlib.suppress(NotFound):
            await self._records.update(
                record.tenant, record.id, lambda old: old.model_copy(update={"seen_s": now})
            )
        if session.connected:
            await self.renew(record)

    async def _forget(self, record: SessionRecord) -> None:
        with contextlib.suppress(RedisError):  # it is swept when its lease is over
            current = await self._records.find(record.tenant, record.id)
            await self._records.delete(record.tenant, record.id)
            if current is not None and current.token_digest:
                await self._redis.delete(token_key(current.token_digest))

    @property
    def _token_s(self) -> int:
        return math.ceil(self.settings.token_s)


def _quota(most: int) -> Limit:
    error = LimitReached(
        f"more than {most} live sessions",
        reason="QUOTA_SESSIONS",
        remedy="End sessions that are no longer needed.",
        retry_after_s=_RETRY_S,
    )
    return Limit("open", most, error)


def _current(record: SessionRecord, session: LiveSession, token: str) -> SessionRecord:
    width_px, height_px = session.size_px
    return record.model_copy(
        update={
            "width_px": width_px, "height_px": height_px, "token_digest": digest_of(token)
        }
    )  # fmt: skip


def _refusal(error: BaseException) -> BaseException:
    """A full renderer is no limit of the tenant's, and a call that broke off no fault of ours.

    grpc.aio says INTERNAL, too, when the other side ended a call while we still wrote.
    """
    broke_off = isinstance(error, ServiceError) and error.reason.startswith("RPC_")
    if isinstance(error, ResourceExhausted) or broke_off:
        assert isinstance(error, ServiceError)
        return Unavailable(error.message, reason=error.reason, remedy=error.remedy)
    return error
