"""What the watermarks of this installation stand for, in Redis.

A mark carries a number alone. It follows from the installation's key and the name of what was made,
so that all who make parts of it agree without asking; this says what a number was made for.
Records outlive what they stand for: a copy that is still about somewhere can then be traced, and
they hold nothing about a person.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis


class MarkRecord(BaseModel):
    """What frames were made for.

    Args:
        name: ``tenants/{tenant}/dubs/{dub}`` or ``tenants/{tenant}/sessions/{session}``.
        avatar_version: ``tenants/{tenant}/avatars/{avatar}/versions/{n}``.
        made_s: when its first frame was, Unix time.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    avatar_version: str
    made_s: float

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.name.split("/")[1]


def dub_name(output_key: str) -> str:
    """Of what a segment is part, by where it is to be stored."""
    return output_key.partition("/attempts/")[0]


def session_name(tenant: str, session: str) -> str:
    """Of a live session."""
    return f"tenants/{tenant}/sessions/{session}"


async def record_mark(redis: Redis, mark_id: int, record: MarkRecord) -> None:
    """Note what the mark stands for, once."""
    await redis.set(_key(mark_id), record.model_dump_json(), nx=True)


async def find_mark_record(redis: Redis, mark_id: int) -> MarkRecord | None:
    """What the mark stands for; None if it is not, or no longer, known here."""
    found = cast(Any, await redis.get(_key(mark_id)))
    return MarkRecord.model_validate_json(found) if found else None


def _key(mark_id: int) -> str:
    return f"mark:{mark_id:012x}"
