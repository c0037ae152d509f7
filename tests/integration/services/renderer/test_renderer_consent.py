"""Nobody is shown without consent, whoever asks the renderer for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live_client import LiveCall, live_header, messages
from segment_requests import Features, Stage
from suite import RPC, on, wait_until
from tiny import TinySubject, consented

from services.common.artifacts import ArtifactRef, upload_folder
from services.common.consents import Consent, Scope, consent_key, erasure_keys
from services.common.errors import FailedPrecondition, PermissionDenied
from services.common.jobs.connect import connect_worker
from services.common.rpc import open_channel
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1.renderer_pb2_grpc import RendererServiceStub
from synctalk.errors import SyncTalkError

TENANT = "strict"
AVATAR = "eve"
VERSION = f"tenants/{TENANT}/avatars/{AVATAR}/versions/1"


@dataclass(frozen=True)
class Eve:
    """A person whose consent a test may change."""

    stage: Stage
    redis_url: str
    bundle: ArtifactRef
    rows: Features

    def agrees(self, consent: Consent | None) -> None:
        with connect_worker(self.redis_url) as redis:
            key = consent_key(TENANT, "con_eve")
            if consent is None:
                redis.delete(key)
            else:
                redis.set(key, consent.model_dump_json())

    def shown(self, bundle: ArtifactRef | None = None) -> None:
        header = live_header(bundle or self.bundle, "none")
        request = pb.RenderSegmentRequest(
            avatar_version=VERSION, bundle=header.bundle, encoder_version=header.encoder_version,
            features=messages(self.rows[:4], 0), output_key=f"tenants/{TENANT}/dubs/d/s.ts",
        )  # fmt: skip
        target = self.stage.renderer.target
        asyncio.run(on(target, lambda c: RendererServiceStub(c).RenderSegment(request, timeout=60)))


@pytest.fixture
def eve(
    stage: Stage, features: Features, tiny_subject: TinySubject, redis_url: str, tmp_path: Path
) -> Iterator[Eve]:
    folder = consented(tiny_subject.avatar, f"tenants/{TENANT}/consents/con_eve", tmp_path)
    prefix = f"tenants/{TENANT}/avatars/{AVATAR}/bundles/v1"
    eve = Eve(stage, redis_url, upload_folder(stage.store, folder, prefix), features)
    yield eve
    with connect_worker(redis_url) as redis:
        redis.delete(*erasure_keys(TENANT, AVATAR))
    eve.agrees(None)


@pytest.mark.parametrize(
    ("consent", "reason"),
    [
        (None, "CONSENT_NOT_FOUND"),
        (Consent(phase="draft"), "CONSENT_DRAFT"),
        (Consent(phase="in_review"), "CONSENT_IN_REVIEW"),
        (Consent(phase="refused"), "CONSENT_REFUSED"),
        (Consent(revoked_s=1.0), "CONSENT_REVOKED"),
        (Consent(expires_s=1.0), "CONSENT_EXPIRED"),
        (Consent(scope=(Scope.AVATAR, Scope.LIVE)), "CONSENT_OUT_OF_SCOPE"),
    ],
)
def test_what_a_consent_does_not_cover_is_not_rendered(
    eve: Eve, consent: Consent | None, reason: str
) -> None:
    eve.agrees(consent)
    with pytest.raises(FailedPrecondition) as refused:
        eve.shown()
    assert refused.value.reason == reason
    assert eve.stage.store.list(f"tenants/{TENANT}/dubs") == ()


def test_a_bundle_under_nobodys_or_another_tenants_consent_is_not_rendered(
    eve: Eve, tiny_subject: TinySubject, tmp_path: Path
) -> None:
    prefix = f"tenants/{TENANT}/avatars/{AVATAR}/bundles/stolen"
    stolen = upload_folder(eve.stage.store, tiny_subject.avatar, prefix)
    with pytest.raises(PermissionDenied) as refused:
        eve.shown(stolen)
    assert refused.value.reason == "CONSENT_REQUIRED"


def test_an_avatar_that_was_erased_leaves_the_cache_and_is_not_rendered_from_it(eve: Eve) -> None:
    eve.agrees(Consent())
    renderer = eve.stage.renderer
    before = renderer.metric("synctalk_avatar_cache_avatars")
    eve.shown()
    assert renderer.metric("synctalk_avatar_cache_avatars") == before + 1
    with connect_worker(eve.redis_url) as redis:
        redis.set(erasure_keys(TENANT, AVATAR)[0], "{}")
    asyncio.run(wait_until(lambda: renderer.metric("synctalk_avatar_cache_avatars") == before))
    with pytest.raises(FailedPrecondition) as refused:
        eve.shown()
    assert refused.value.reason == "AVATAR_ERASED"


def test_a_live_session_ends_when_consent_is_taken_back(eve: Eve) -> None:
    eve.agrees(Consent())
    header = live_header(eve.bundle, "until-revoked")
    header.avatar_version = VERSION
    rows = eve.rows[:8]

    async def talk() -> tuple[str, float]:
        async with (
            open_channel(eve.stage.renderer.target, RPC) as channel,
            LiveCall(channel, header) as call,
        ):
            await call.send(messages(rows, 0))
            await call.take(len(rows) - 1)
            eve.agrees(Consent(revoked_s=1.0))
            began_s = time.monotonic()
            with pytest.raises(SyncTalkError) as ended:
                await call.until("summary")
            return ended.value.reason, time.monotonic() - began_s

    reason, seconds = asyncio.run(talk())
    assert reason == "CONSENT_REVOKED"
    print(f"ended after {seconds:.2f} s")
