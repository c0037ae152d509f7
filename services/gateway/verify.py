"""Where a file comes from: signed here, marked here, or unknown.

The file is fetched to a folder of its own and looked at in processes of its own, which decode in
limited ones: this process reads none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from services.common import logs
from services.common.errors import Unavailable
from services.common.marks import MarkRecord, find_mark_record
from services.gateway import uploads
from services.gateway.auth import CallerDep
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import LimitReached, ParamError
from services.gateway.model import UploadRecord
from services.gateway.views import Body, View, errors, moment
from synctalk.errors import InputError

router = APIRouter(prefix="/v1/verify", tags=["trust"])
log = logs.logger(__name__)

MAX_BYTES = 512 << 20
_AT_ONCE = 2
_TIME_S = 150.0  # more than the limited processes take before they are stopped
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_working = asyncio.Semaphore(_AT_ONCE)


class VerifyRequest(Body):
    """The file that is asked about."""

    upload: Annotated[str, Field(description="id of an upload of kind video or image")]


class Mark(View):
    """The watermark that was found in the frames."""

    id: str = Field(description="12 hexadecimal digits")
    score: float = Field(description="how clear it is, in standard deviations of chance")
    development: bool = Field(description="made with the key that everybody knows")
    known: bool = Field(description="whether this installation knows what it was made for")
    made_for: str | None = Field(description="dub or live session, where it is the caller's own")
    avatar: str | None = Field(description="the avatar's id, where it is the caller's own")
    made_at: datetime | None


class Verdict(View):
    """What is known of a file. `unknown` does not mean that it is genuine."""

    verdict: Literal["signed", "watermarked", "unknown"]
    words: str
    signature: Literal["trusted", "unknown signer", "broken", "none"]
    signer: str
    development: bool = Field(description="only a development certificate or key stands behind it")
    mark: Mark | None
    signed_mark: str | None = Field(description="the watermark that the manifest names")
    manifest: dict[str, Any] | None = Field(description="C2PA manifests and their validation")


@router.post(
    "", response_model=Verdict, responses=errors(404, 409, 422),
    summary="Tell whether a file was made here",
)  # fmt: skip
async def verify(body: VerifyRequest, caller: CallerDep, gateway: GatewayDep) -> Verdict:
    """Its C2PA manifest is checked, and its frames are searched for the watermark."""
    record = await _upload(gateway, caller.tenant, body.upload)
    if _working.locked():
        raise LimitReached(
            f"{_AT_ONCE} files are being looked at", reason="VERIFY_BUSY",
            remedy="Try again in some seconds.", retry_after_s=5,
        )  # fmt: skip
    async with _working:
        with tempfile.TemporaryDirectory(prefix="avatar-verify-") as folder:
            path = Path(folder) / "file"
            await asyncio.to_thread(gateway.store.fetch, record.key, path)
            found = await _verified(path, gateway.settings.provenance.environment())
    known = None
    if found["mark_id"] is not None:
        known = await find_mark_record(gateway.redis, found["mark_id"])
    return _view(found, known, caller.tenant)


async def _upload(gateway: Gateway, tenant: str, upload_id: str) -> UploadRecord:
    kind = (await uploads.look(gateway, tenant, upload_id)).kind
    wanted: Literal["video", "image"] = "image" if kind == "image" else "video"
    await uploads.check_ready(gateway, tenant, "upload", upload_id, wanted)
    record = await gateway.tables.uploads.get(tenant, upload_id)
    if record.size_bytes > MAX_BYTES:
        raise ParamError(
            "upload", f"upload: {record.size_bytes} bytes", reason="FILE_TOO_LARGE",
            remedy=f"Send at most {MAX_BYTES} bytes: a part of a video is enough for the mark.",
        )  # fmt: skip
    return record


async def _verified(path: Path, said: Mapping[str, str]) -> dict[str, Any]:
    """What ``python -m synctalk.provenance`` says of the file."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "synctalk.provenance", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env={**kept, **said},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_TIME_S):
            output, _ = await process.communicate()
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:  # SIGINT: it stops the processes that it started
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await process.wait()
    try:
        answer = json.loads(output)
    except ValueError:
        log.error("the verifier did not answer", exit_status=process.returncode)
        raise Unavailable(
            "the file could not be looked at", reason="VERIFY_FAILED", remedy="Try again."
        ) from None
    if "error" in answer:
        problem = answer["error"]
        message = problem["message"].replace(str(path), "upload")
        raise InputError(message, reason=problem["reason"], remedy=problem["remedy"])
    result: dict[str, Any] = answer["result"]
    return result


def _view(found: Mapping[str, Any], known: MarkRecord | None, tenant: str) -> Verdict:
    own = known if known is not None and known.tenant == tenant else None
    mark = None
    if found["mark_id"] is not None:
        mark = Mark(
            id=f"{found['mark_id']:012x}",
            score=found["mark_score"],
            development=found["mark_development"],
            known=known is not None,
            made_for=own.name.split("/")[-1] if own else None,
            avatar=own.avatar_version.split("/")[3] if own else None,
            made_at=moment(own.made_s) if own else None,
        )
    named = found["signed_mark_id"]
    return Verdict(
        verdict=found["verdict"],
        words=found["words"],
        signature=found["signature"],
        signer=found["signer"],
        development=found["development"],
        mark=mark,
        signed_mark=None if named is None else f"{named:012x}",
        manifest=found["manifest"],
    )
