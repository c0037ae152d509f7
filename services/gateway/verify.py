"""Where a file comes from: signed here, marked here, or unknown.

The verification service looks at the file; what a mark stands for, and whom that may be told, is
known here.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from services.common.marks import MarkRecord, find_mark_record
from services.gateway import uploads
from services.gateway.auth import CallerDep
from services.gateway.clients import FoundMark, Signature, Verified
from services.gateway.core import Gateway, GatewayDep
from services.gateway.errors import ParamError
from services.gateway.model import UploadRecord
from services.gateway.views import Body, View, errors, moment
from synctalk.errors import InputError

router = APIRouter(prefix="/v1/verify", tags=["trust"])


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
    signature: Signature
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
    try:
        found = await gateway.services.verify(record)
    except InputError as error:
        raise ParamError(
            "upload", error.message, reason=error.reason, remedy=error.remedy
        ) from None
    known = None
    if found.mark is not None:
        known = await find_mark_record(gateway.redis, found.mark.id)
    return _view(found, known, caller.tenant)


async def _upload(gateway: Gateway, tenant: str, upload_id: str) -> UploadRecord:
    kind = (await uploads.look(gateway, tenant, upload_id)).kind
    wanted: Literal["video", "image"] = "image" if kind == "image" else "video"
    await uploads.check_ready(gateway, tenant, "upload", upload_id, wanted)
    return await gateway.tables.uploads.get(tenant, upload_id)


def _view(found: Verified, known: MarkRecord | None, tenant: str) -> Verdict:
    named = found.signed_mark_id
    return Verdict(
        verdict=found.verdict,
        words=found.words,
        signature=found.signature,
        signer=found.signer,
        development=found.development,
        mark=None if found.mark is None else _mark(found.mark, known, tenant),
        signed_mark=None if named is None else f"{named:012x}",
        manifest=json.loads(found.manifest_json) if found.manifest_json else None,
    )


def _mark(found: FoundMark, known: MarkRecord | None, tenant: str) -> Mark:
    own = known if known is not None and known.tenant == tenant else None
    return Mark(
        id=f"{found.id:012x}",
        score=found.score,
        development=found.development,
        known=known is not None,
        made_for=own.name.split("/")[-1] if own else None,
        avatar=own.avatar_version.split("/")[3] if own else None,
        made_at=moment(own.made_s) if own else None,
    )
