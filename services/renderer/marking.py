"""Every frame that leaves the renderer carries a mark, and Redis knows what for."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from services.common.marks import MarkRecord, dub_name, record_mark, session_name
from services.common.provenance import ProvenanceSettings
from synctalk.provenance import Stamp, provenance_from_environment


class Marking:
    """Makes what finishes frames, and notes what their marks stand for."""

    def __init__(self, settings: ProvenanceSettings, redis: Redis) -> None:
        self._settings, self._redis = settings, redis
        self._provenance = provenance_from_environment(settings.environment())
        self._provenance.log_what_is_off()

    async def of_dub(self, output_key: str, avatar_version: str, size: tuple[int, int]) -> Stamp:
        """For a segment that is stored as ``output_key``."""
        return await self._stamp(
            dub_name(output_key), avatar_version, size, self._settings.label_dubs
        )

    async def of_session(
        self, tenant: str, session: str, avatar_version: str, size: tuple[int, int]
    ) -> Stamp:
        """For a live session."""
        name = session_name(tenant, session)
        return await self._stamp(name, avatar_version, size, self._settings.label_live)

    async def _stamp(
        self, name: str, avatar_version: str, size: tuple[int, int], label: bool
    ) -> Stamp:
        mark_id = self._provenance.mark_id(name)
        if self._provenance.watermark:
            record = MarkRecord(name=name, avatar_version=avatar_version, made_s=time.time())
            await record_mark(self._redis, mark_id, record)
        return await asyncio.to_thread(Stamp, self._provenance, mark_id, *size, label=label)
