"""Uploads: the client PUTs its file straight to the object store.

The URL admits exactly the announced size and type. Nobody tells the gateway when the bytes are
there: it looks when they are asked for.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from services.common.errors import FailedPrecondition, NotFound
from services.common.storage import ObjectRef
from services.gateway.auth import Caller, CallerDep, today
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import LimitReached, ParamError
from services.gateway.idempotency import OnceDep
from services.gateway.metrics import UPLOAD_BYTES
from services.gateway.model import UploadKind, UploadRecord, now_s
from services.gateway.views import Body, View, errors, moment

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_TYPES = {
    "video": re.compile(r"video/[\w.+-]+|application/octet-stream"),
    "audio": re.compile(r"(audio|video)/[\w.+-]+|application/octet-stream"),
    "image": re.compile(r"image/(png|jpeg|webp)|application/octet-stream"),
    "document": re.compile(r"application/pdf|image/(png|jpeg|webp)"),
}
_KINDS = {
    "video": ("video",), "audio": ("audio", "video"), "image": ("image",),
    "document": ("document",),
}  # fmt: skip
_DAY_S = 86_400

# ARGV: bytes, limit, seconds. Reply: 1, or 0 when it would be too much.
_COUNT = """
if tonumber(redis.call('GET', KEYS[1]) or 0) + ARGV[1] > tonumber(ARGV[2]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class NewUpload(Body):
    """A file to be uploaded."""

    filename: Annotated[str, Field(min_length=1, max_length=255, examples=["portrait.mp4"])]
    content_type: Annotated[str, Field(max_length=100, examples=["video/mp4"])]
    size_bytes: Annotated[int, Field(gt=0, examples=[48_000_000])]
    kind: UploadKind


class Upload(View):
    """A file on its way in, or there."""

    id: str
    state: Literal["awaiting", "ready", "expired"]
    kind: UploadKind
    filename: str
    content_type: str
    size_bytes: int
    sha256: str | None = Field(description="known once something has used the upload")
    created_at: datetime
    expires_at: datetime = Field(description="until when the URL takes the bytes")


class UploadTicket(Upload):
    """Where to send the bytes."""

    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str] = Field(description="to be sent exactly so")


@router.post(
    "", status_code=201, response_model=UploadTicket, responses=errors(409, 422),
    summary="Announce a file and get a URL to PUT it to",
)  # fmt: skip
async def create_upload(
    body: NewUpload, caller: CallerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """The URL takes one file of exactly this size and type, until it expires."""
    _check(body, gateway)

    async def make(upload_id: str) -> UploadTicket:
        await _count_bytes(gateway, caller, body.size_bytes)
        record = await gateway.tables.uploads.create(_record(upload_id, body, caller, gateway))
        UPLOAD_BYTES.labels(record.kind).inc(record.size_bytes)
        left_s = max(1.0, record.expires_s - now_s())
        ticket = gateway.store.presigned_put(
            record.key, timedelta(seconds=left_s), record.size_bytes, record.content_type
        )
        shown = _view(record).model_dump()
        return UploadTicket(**shown, url=ticket.url, headers=dict(ticket.headers))

    return await once.run("up", make)


@router.get("/{upload_id}", responses=errors(404), summary="Whether the bytes are there")
async def get_upload(upload_id: str, caller: CallerDep, gateway: GatewayDep) -> Upload:
    """`ready` once the file is whole, `expired` when it never came or was deleted."""
    return _view(await look(gateway, caller.tenant, upload_id))


async def look(gateway: Gateway, tenant: str, upload_id: str) -> UploadRecord:
    """The upload, marked ready if its bytes have come. Raises :class:`NotFound`."""
    record = await gateway.tables.uploads.get(tenant, upload_id)
    if record.state != "awaiting" or not await _is_there(gateway, record):
        return record

    def ready(old: UploadRecord) -> UploadRecord:
        delete_s = now_s() + gateway.settings.upload_keep_s
        return old.model_copy(update={"state": "ready", "delete_s": delete_s})

    return await gateway.tables.uploads.update(tenant, upload_id, ready)


async def check_ready(
    gateway: Gateway, tenant: str, param: str, upload_id: str, kind: UploadKind
) -> UploadRecord:
    """An upload that can be used.

    Raises:
        ParamError: there is no such upload, or it is of the other kind.
        FailedPrecondition: its bytes are not there.
    """
    try:
        record = await look(gateway, tenant, upload_id)
    except NotFound:
        raise ParamError(
            param, f"{param}: no upload {upload_id}", reason="UPLOAD_NOT_FOUND",
            remedy="Announce the file by POST /v1/uploads.",
        ) from None  # fmt: skip
    if record.kind not in _KINDS[kind]:
        raise ParamError(
            param, f"{param}: upload {upload_id} is of kind {record.kind}",
            reason="UPLOAD_OF_WRONG_KIND",
            remedy=f"Upload one of kind {kind}.",
        )  # fmt: skip
    if record.state != "ready":
        raise FailedPrecondition(
            f"{param}: the bytes of upload {upload_id} are not there ({record.state})",
            reason="UPLOAD_NOT_READY",
            remedy="PUT the file to the upload's URL first; announce it again if that has expired.",
        )
    return record


async def mark_used(gateway: Gateway, tenant: str, upload_id: str, user: str) -> None:
    """Note that ``user``, an avatar or a dub, needs the upload. Raises :class:`NotFound`."""
    await gateway.tables.uploads.update(tenant, upload_id, lambda old: used(old, user))


def used(record: UploadRecord, user: str) -> UploadRecord:
    """The upload when ``user`` needs it."""
    return record.model_copy(update={"used_by": _with(record, user)})


async def reference(
    gateway: Gateway, tenant: str, upload_id: str, hashing: asyncio.Semaphore, user: str = ""
) -> ObjectRef:
    """What the upload is, by content. The first time, the whole object is read.

    Args:
        user: who needs it; noted where it is not yet.

    Raises:
        NotFound: the upload or its object is gone.
    """
    record = await gateway.tables.uploads.get(tenant, upload_id)
    if user and user not in record.used_by:
        await mark_used(gateway, tenant, upload_id, user)
    if not record.sha256:
        async with hashing:
            ref = await asyncio.to_thread(gateway.store.reference, record.key)
        sha256 = ref.sha256
        record = await gateway.tables.uploads.update(
            tenant, upload_id, lambda old: old.model_copy(update={"sha256": sha256})
        )
    return ObjectRef(record.key, record.size_bytes, record.sha256)


async def release(gateway: Gateway, tenant: str, upload_id: str, user: str) -> UploadRecord | None:
    """Note that ``user`` is gone; the upload if nothing else uses it, None else."""
    try:
        record = await gateway.tables.uploads.update(
            tenant, upload_id,
            lambda old: old.model_copy(
                update={"used_by": tuple(name for name in old.used_by if name != user)}
            ),
        )  # fmt: skip
    except NotFound:
        return None
    return None if record.used_by else record


async def sweep(gateway: Gateway, record: UploadRecord) -> float:
    """Called when an unused upload's time is over; deletes it, and in the end its record."""
    record = await look(gateway, record.tenant, record.id)
    if record.due_s is None or record.due_s > now_s():
        return 0.0
    await asyncio.to_thread(gateway.store.delete, record.key)
    if record.state == "expired":
        await gateway.tables.uploads.delete(record.tenant, record.id)
        return 0.0
    # Its URL may still take bytes: look once more when the record is forgotten.
    delete_s = max(now_s(), record.expires_s) + gateway.settings.upload_keep_s
    await gateway.tables.uploads.update(
        record.tenant, record.id,
        lambda old: old if old.used_by else old.model_copy(
            update={"state": "expired", "delete_s": delete_s}
        ),
    )  # fmt: skip
    return 0.0


def _check(body: NewUpload, gateway: Gateway) -> None:
    if not _TYPES[body.kind].fullmatch(body.content_type):
        raise ParamError(
            "content_type", f"content_type {body.content_type!r} is not that of {body.kind}",
            reason="CONTENT_TYPE_UNSUPPORTED",
            remedy=f"Use {body.kind}/…, or application/octet-stream.",
        )  # fmt: skip
    if body.size_bytes > gateway.settings.upload_max_bytes:
        raise ParamError(
            "size_bytes", f"size_bytes is {body.size_bytes}",
            reason="UPLOAD_TOO_LARGE",
            remedy=f"Send at most {gateway.settings.upload_max_bytes} bytes.",
        )  # fmt: skip


async def _count_bytes(gateway: Gateway, caller: Caller, size_bytes: int) -> None:
    assert caller.limits is not None
    limit = caller.limits.upload_bytes_per_day
    script = gateway.redis.register_script(_COUNT)
    args = [size_bytes, limit, 2 * _DAY_S]
    if not await script(keys=[bytes_key(caller.tenant)], args=args):
        raise LimitReached(
            f"more than {limit} bytes of uploads in a day",
            reason="QUOTA_UPLOAD_BYTES",
            remedy="Go on tomorrow (UTC), or have the quota raised.",
            retry_after_s=_DAY_S - now_s() % _DAY_S,
        )


def bytes_key(tenant: str) -> str:
    """Where the bytes announced today are counted."""
    return f"gw:{tenant}:upload_bytes:{today()}"


def _record(upload_id: str, body: NewUpload, caller: Caller, gateway: Gateway) -> UploadRecord:
    name = re.sub(r"[^\w.-]", "_", body.filename, flags=re.ASCII)[-100:].lstrip(".") or "file"
    expires_s = now_s() + gateway.settings.upload_expires_s
    return UploadRecord(
        id=upload_id,
        tenant=caller.tenant,
        created_s=now_s(),
        filename=body.filename,
        content_type=body.content_type,
        size_bytes=body.size_bytes,
        kind=body.kind,
        key=f"tenants/{caller.tenant}/uploads/{upload_id}/{name}",
        expires_s=expires_s,
        delete_s=expires_s,
    )


async def _is_there(gateway: Gateway, record: UploadRecord) -> bool:
    try:
        found = await asyncio.to_thread(gateway.store.stat, record.key)
    except NotFound:
        return False
    return found.size_bytes == record.size_bytes


def _with(record: UploadRecord, user: str) -> tuple[str, ...]:
    return record.used_by if user in record.used_by else (*record.used_by, user)


def _view(record: UploadRecord) -> Upload:
    return Upload(
        id=record.id,
        state=record.state,
        kind=record.kind,
        filename=record.filename,
        content_type=record.content_type,
        size_bytes=record.size_bytes,
        sha256=record.sha256 or None,
        created_at=moment(record.created_s),
        expires_at=moment(record.expires_s),
    )
