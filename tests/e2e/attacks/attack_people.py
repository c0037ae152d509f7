"""A victim, who has one of everything, and a stranger with a key of his own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
from harness import Suite, Tenant, until
from redis.asyncio import Redis

from services.cli.api import Resource
from services.common.artifacts import ArtifactRef
from services.common.storage import ObjectRef
from services.gateway.core import Tables
from services.gateway.live.tokens import digest_of, new_token, token_key
from services.gateway.model import AvatarRecord, DubRecord, SessionRecord, new_id, now_s

SHA256 = "0" * 64
REPLAYED = "the victim's own key"
_DAY_S = 86_400
# Everything that can be looked at by its id, and what shows it.
SHOWN = {
    "upload_id": "uploads", "audio_id": "uploads", "image_id": "uploads",
    "consent_id": "consents", "avatar_id": "avatars", "dub_id": "dubs", "job_id": "jobs",
    "webhook_id": "webhooks",
}  # fmt: skip


@dataclass(frozen=True)
class Person:
    """A tenant, the ids of what it has, and a token of its live session."""

    tenant: Tenant
    ids: dict[str, str]
    session_token: str

    @property
    def named(self) -> dict[str, str]:
        """The ids, and the tenant's own name."""
        return {**self.ids, "tenant": self.tenant.name}

    def secrets(self) -> list[str]:
        """What must be in no answer to anybody else."""
        return [self.tenant.key, self.session_token, *self.ids.values()]

    def things(self) -> dict[str, Resource]:
        """What the tenant sees of its own, but for URLs that are signed anew now and then."""
        api = self.tenant.api
        shown = {name: api.get(f"{SHOWN[name]}/{self.ids[name]}") for name in SHOWN}
        things = {
            name: {field: value for field, value in thing.items() if not field.endswith("_url")}
            for name, thing in shown.items()
        }
        keys = [(key["id"], key["name"], key["role"]) for key in api.list("keys", 100)]
        return {**things, "keys": {"data": keys}}


def victim(suite: Suite) -> Person:
    """One of everything; the avatar's footage is refused, which is quick."""
    tenant = suite.tenant("victim")
    ids = {name: _upload(tenant, kind) for name, kind in _UPLOADS}
    body = {"subject_name": "Vi", "granted_by": "Vi", "statement": "Yes."}
    ids["consent_id"] = tenant.api.post("consents", body)["id"]
    avatar = tenant.api.post(
        "avatars", {"name": "vi", "video": ids["upload_id"], "consent": ids["consent_id"]}
    )
    ids["avatar_id"] = avatar["id"]
    hook = {"url": "https://1.1.1.1/", "events": ["avatar.ready"]}
    ids["webhook_id"] = _with_key(suite, tenant, "webhooks", hook)["id"]
    ids["key_id"] = tenant.api.post("keys", {"name": "second"})["id"]
    ended = tenant.wait(f"avatars/{ids['avatar_id']}")
    assert ended["state"] == "failed", ended
    ids["job_id"] = ended["jobs"][0]["id"]
    person = asyncio.run(_with_records(suite, tenant, ids))
    tenant.api.delete(f"dubs/{ids['resource_id']}")
    return person


def stranger(suite: Suite) -> Person:
    """Uploads and a consent of his own, and an avatar that is ready."""
    tenant = suite.tenant("stranger")
    ids = {name: _upload(tenant, kind) for name, kind in _UPLOADS}
    body = {"subject_name": "Eve", "granted_by": "Eve", "statement": "Yes."}
    ids["consent_id"] = tenant.api.post("consents", body)["id"]
    return asyncio.run(_with_records(suite, tenant, ids))


_UPLOADS = (("upload_id", "video"), ("audio_id", "audio"), ("image_id", "image"))
_TYPES = {"video": "video/mp4", "audio": "audio/wav", "image": "image/png"}


def _upload(tenant: Tenant, kind: str) -> str:
    content = b"not what its type says"
    ticket = tenant.api.post(
        "uploads",
        {
            "filename": f"{kind}.bin", "content_type": _TYPES[kind],
            "size_bytes": len(content), "kind": kind,
        },
    )  # fmt: skip
    httpx.put(ticket["url"], content=content, headers=ticket["headers"]).raise_for_status()
    until(lambda: tenant.api.get(f"uploads/{ticket['id']}")["state"] == "ready", "upload")
    return str(ticket["id"])


def _with_key(suite: Suite, tenant: Tenant, path: str, body: object) -> Resource:
    """Create with an idempotency key that a stranger may guess."""
    answer = httpx.post(
        f"{suite.settings.url}/v1/{path}", json=body,
        headers={"Authorization": f"Bearer {tenant.key}", "Idempotency-Key": REPLAYED},
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def _with_records(suite: Suite, tenant: Tenant, ids: dict[str, str]) -> Person:
    """Add what would take minutes to make: an avatar that is ready, its dub and its session."""
    token = new_token()
    async with Redis.from_url(
        suite.settings.variables["AVATAR_REDIS_URL"], decode_responses=True
    ) as redis:
        tables = Tables(redis)
        avatar = await tables.avatars.create(_avatar(tenant.name, ids))
        ids.setdefault("avatar_id", avatar.id)
        ids["dub_id"] = (await tables.dubs.create(_dub(avatar, ids))).id
        doomed = _dub(avatar, {**ids, "audio_id": ""})  # whose erasure takes no upload along
        ids["resource_id"] = (await tables.dubs.create(doomed)).id
        session = await tables.sessions.create(_session(avatar, token))
        ids["session_id"] = session.id
        await redis.set(token_key(digest_of(token)), f"{tenant.name}/{session.id}", ex=_DAY_S)
    return Person(tenant, ids, token)


def _avatar(tenant: str, ids: dict[str, str]) -> AvatarRecord:
    avatar_id, now = new_id("av"), now_s()
    prefix = f"tenants/{tenant}/avatars/{avatar_id}/bundles/v1/attempts/1"
    return AvatarRecord(
        id=avatar_id, tenant=tenant, created_s=now, updated_s=now, name="ready", phase="ready",
        video=ids["upload_id"], consent=ids["consent_id"], preset="demo", size_px=256, version=1,
        bundle=ArtifactRef(prefix, ObjectRef(f"{prefix}/listing.json", 1, SHA256)),
    )  # fmt: skip


def _dub(avatar: AvatarRecord, ids: dict[str, str]) -> DubRecord:
    assert avatar.bundle is not None
    dub_id = new_id("dub")
    video = ObjectRef(f"tenants/{avatar.tenant}/dubs/{dub_id}/attempts/1/dub.mp4", 1, SHA256)
    return DubRecord(
        id=dub_id, tenant=avatar.tenant, created_s=now_s(), avatar=avatar.id, version=1,
        bundle=avatar.bundle, audio=ids["audio_id"], width_px=0, height_px=0, background="source",
        text="", phase="succeeded", enqueued=True, video=video, duration_s=1.0,
    )  # fmt: skip


def _session(avatar: AvatarRecord, token: str) -> SessionRecord:
    later = now_s() + _DAY_S
    return SessionRecord(
        id=new_id("ls"), tenant=avatar.tenant, created_s=now_s(), avatar=avatar.id, version=1,
        url="http://127.0.0.1:9", width_px=256, height_px=256, sample_rate_hz=24_000,
        expires_s=later, seen_s=later, token_digest=digest_of(token),
    )  # fmt: skip
