"""What a mark stands for is on record, whichever renderer draws it and however often."""

from __future__ import annotations

import asyncio

import numpy as np
from pydantic import SecretStr

from services.common.jobs.connect import connect
from services.common.local import LocalServers
from services.common.marks import find_mark_record
from services.common.provenance import ProvenanceSettings
from services.renderer.marking import Marking
from synctalk.media import Yuv420
from synctalk.provenance import Provenance, Stamp

KEY = "a key of an installation's own"
VERSION = "tenants/acme/avatars/ann/versions/3"
SIZE = (128, 96)


def drawn(stamp: Stamp) -> bytes:
    planes = (np.full((96 >> k, 128 >> k), 120, np.uint8) for k in (0, 1, 1))
    picture = Yuv420(*planes)
    stamp(picture)
    return b"".join(plane.tobytes() for plane in picture)


def test_renderers_agree_and_the_record_says_what_was_made(local_servers: LocalServers) -> None:
    settings = ProvenanceSettings(key=SecretStr(KEY), label_live=False)
    mark_id = Provenance(key=KEY.encode()).mark_id("tenants/acme/dubs/dub_1")

    async def work() -> None:
        async with connect(local_servers.state.redis_url) as redis:
            first, second = Marking(settings, redis), Marking(settings, redis)
            ours = "tenants/acme/dubs/dub_1/attempts"
            stamps = [
                await first.of_dub(f"{ours}/1/segments/0.ts", VERSION, SIZE),
                await second.of_dub(f"{ours}/2/segments/148.ts", VERSION, SIZE),
            ]
            other = await first.of_dub("tenants/acme/dubs/dub_2/attempts/1/0.ts", VERSION, SIZE)
            live = await first.of_session("acme", "s_1", VERSION, SIZE)
            pictures = [drawn(stamp) for stamp in (*stamps, other, live)]
            assert pictures[0] == pictures[1]
            assert len(set(pictures)) == 3
            record = await find_mark_record(redis, mark_id)
            assert record is not None
            assert (record.name, record.tenant) == ("tenants/acme/dubs/dub_1", "acme")
            assert record.avatar_version == VERSION

    asyncio.run(work())


def test_turned_off_nothing_is_drawn_or_recorded(local_servers: LocalServers) -> None:
    settings = ProvenanceSettings(key=SecretStr(KEY), watermark=False)
    mark_id = Provenance(key=KEY.encode()).mark_id("tenants/acme/dubs/dub_9")

    async def work() -> None:
        async with connect(local_servers.state.redis_url) as redis:
            stamp = await Marking(settings, redis).of_dub(
                "tenants/acme/dubs/dub_9/attempts/1/0.ts", VERSION, SIZE
            )
            assert set(drawn(stamp)) == {120}
            assert await find_mark_record(redis, mark_id) is None

    asyncio.run(work())
