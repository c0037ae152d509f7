"""Consents: an avatar stands on the consent of the person it shows.

draft ──evidence──▶ in_review ──approve──▶ active ──revoke──▶ revoked: everything on it is erased
                        └──────refuse────▶ refused     └── time ──▶ expired

Where the installation asks for declarations only, a consent is active as soon as it is recorded.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, Field

from services.common.consents import Scope, Standing, check_consent
from services.common.errors import FailedPrecondition, NotFound, PermissionDenied
from services.gateway import uploads
from services.gateway.auth import Caller, CallerDep
from services.gateway.core import Gateway, GatewayDep
from services.gateway.erasure import Erasure, erase_consent
from services.gateway.errors import ParamError
from services.gateway.idempotency import OnceDep
from services.gateway.model import (
    ConsentRecord,
    Evidence,
    EvidenceLevel,
    Review,
    UploadKind,
    now_s,
)
from services.gateway.views import (
    Body,
    LimitQuery,
    Page,
    TokenQuery,
    View,
    errors,
    maybe_moment,
    moment,
    signed_url,
)

router = APIRouter(prefix="/v1/consents", tags=["consents"])

_HASHING = asyncio.Semaphore(2)
_WORDS = (
    "amber", "anchor", "autumn", "basket", "beacon", "blanket", "bottle", "bridge", "butter",
    "candle", "canyon", "carpet", "castle", "cellar", "circle", "cotton", "desert", "dinner",
    "dragon", "engine", "falcon", "feather", "forest", "garden", "ginger", "glacier", "hammer",
    "harbor", "helmet", "hollow", "island", "jacket", "jungle", "kettle", "ladder", "lantern",
    "lemon", "magnet", "marble", "meadow", "mirror", "mountain", "napkin", "needle", "orange",
    "orchard", "oyster", "paper", "pebble", "pepper", "pillow", "planet", "pocket", "quarry",
    "ribbon", "river", "saddle", "silver", "summer", "thunder", "tunnel", "velvet", "village",
    "violet", "walnut", "willow", "window", "winter",
)  # fmt: skip


class NewConsent(Body):
    """What the person agrees to, and who says so."""

    subject_name: Annotated[str, Field(min_length=1, max_length=200, examples=["Ann Example"])]
    statement: Annotated[str, Field(max_length=10_000)] = ""
    granted_by: Annotated[
        str, Field(min_length=1, max_length=200, description="who gave it: the person, or who may")
    ]
    scope: Annotated[
        tuple[Scope, ...],
        Field(min_length=1, description="what for: to make avatars, to dub, to speak live"),
    ] = tuple(Scope)
    level: Annotated[
        EvidenceLevel | None,
        Field(
            description="what it is to rest on: somebody's declaration, or evidence that a "
            "reviewer has seen; null: what this installation asks for, and never less"
        ),
    ] = None
    expires_at: AwareDatetime | None = None


class NewEvidence(Body):
    """What shows that the person has agreed, and of what footage avatars are to be made."""

    upload: Annotated[
        str,
        Field(
            description="id of an upload: a video of the person reading `to_read`, or a document"
        ),
    ]
    footage: Annotated[str, Field(description="id of the upload that the avatar is made of")]


class NewReview(Body):
    """What a person has found who has seen evidence and footage."""

    decision: Literal["approve", "refuse"]
    reason: Annotated[str, Field(min_length=3, max_length=2000)]
    passphrase_heard: Annotated[
        bool, Field(description="the clip's voice says the words of `to_read`")
    ] = False
    same_person: Annotated[bool, Field(description="clip and footage show the same person")] = False
    override: Annotated[
        bool, Field(description="approve though not both of these are so; the reason says why")
    ] = False


class EvidenceView(View):
    """The evidence. Its URLs are signed and expire."""

    kind: Literal["video", "document"]
    upload: str
    url: str
    sha256: str
    footage: str
    footage_url: str
    footage_sha256: str
    given_at: datetime


class ReviewView(View):
    """What a reviewer found."""

    by: str
    at: datetime
    decision: Literal["approve", "refuse"]
    passphrase_heard: bool
    same_person: bool
    override: bool
    reason: str


class Consent(View):
    """A consent. Nothing is made or shown under it unless it is active."""

    id: str
    state: Standing
    level: EvidenceLevel
    subject_name: str
    statement: str
    granted_by: str
    scope: tuple[Scope, ...]
    to_read: str | None = Field(description="what the person reads on camera, while it is a draft")
    evidence: EvidenceView | None
    review: ReviewView | None
    expires_at: datetime | None
    revoked_at: datetime | None
    erased: bool = Field(description="whether all that stood on a revoked consent is gone")
    created_at: datetime


@router.post(
    "", status_code=201, response_model=Consent, responses=errors(409, 422),
    summary="Record a person's consent",
)  # fmt: skip
async def create_consent(
    body: NewConsent, caller: CallerDep, gateway: GatewayDep, once: OnceDep
) -> Any:
    """No avatar is made without one. With level `reviewed` it is a draft until evidence is seen."""
    if body.expires_at is not None and body.expires_at.timestamp() <= now_s():
        raise ParamError(
            "expires_at", "expires_at is in the past", reason="CONSENT_EXPIRED",
            remedy="Give a time to come, or none.",
        )  # fmt: skip
    asked = gateway.settings.consent_evidence
    level = "reviewed" if "reviewed" in (asked, body.level) else "declared"

    async def make(consent_id: str) -> Consent:
        await gateway.audit.note(
            caller.tenant, caller.key, "consent.record", f"consents/{consent_id}", level=level
        )
        record = ConsentRecord(
            id=consent_id,
            tenant=caller.tenant,
            created_s=now_s(),
            subject_name=body.subject_name,
            statement=body.statement,
            granted_by=body.granted_by,
            expires_s=body.expires_at.timestamp() if body.expires_at else None,
            scope=body.scope,
            phase="draft" if level == "reviewed" else "approved",
            recorded_by=caller.key,
            level=level,
            passphrase=_passphrase() if level == "reviewed" else "",
        )
        return consent_view(gateway, await gateway.tables.consents.create(record))

    return await once.run("con", make)


@router.get("", responses=errors(422), summary="List consents")
async def list_consents(
    caller: CallerDep, gateway: GatewayDep, limit: LimitQuery = 50, token: TokenQuery = ""
) -> Page[Consent]:
    """Newest first."""
    found, following = await gateway.tables.consents.page(caller.tenant, limit, token)
    data = [consent_view(gateway, record) for record in found]
    return Page(data=data, next_token=following or None)


@router.get("/{consent_id}", responses=errors(404), summary="One consent")
async def get_consent(consent_id: str, caller: CallerDep, gateway: GatewayDep) -> Consent:
    """As it stands now."""
    return consent_view(gateway, await gateway.tables.consents.get(caller.tenant, consent_id))


@router.post(
    "/{consent_id}/evidence", responses=errors(404, 409, 422), summary="Give evidence of a consent"
)
async def give_evidence(
    consent_id: str, body: NewEvidence, caller: CallerDep, gateway: GatewayDep
) -> Consent:
    """Once: a refused consent needs a new one, with words of its own. Then a reviewer decides."""
    record = await gateway.tables.consents.get(caller.tenant, consent_id)
    _check_phase(record, "draft")
    kind = await _kind_of(gateway, caller.tenant, body.upload)
    await uploads.check_ready(gateway, caller.tenant, "upload", body.upload, kind)
    await uploads.check_ready(gateway, caller.tenant, "footage", body.footage, "video")
    if body.upload == body.footage:
        raise ParamError(
            "footage", "the evidence is the footage itself", reason="EVIDENCE_IS_FOOTAGE",
            remedy="Have the person read the words in a clip of its own.",
        )  # fmt: skip
    # By content: what is reviewed is what is trained on, whatever is PUT to the URLs later.
    refs = [
        await uploads.reference(gateway, caller.tenant, each, _HASHING)
        for each in (body.upload, body.footage)
    ]
    await gateway.audit.note(
        caller.tenant, caller.key, "consent.evidence", f"consents/{consent_id}",
        kind=kind, sha256=refs[0].sha256, footage_sha256=refs[1].sha256,
    )  # fmt: skip
    evidence = Evidence(
        kind="video" if kind == "video" else "document", upload=body.upload, ref=refs[0],
        footage=body.footage, footage_ref=refs[1], given_s=now_s(),
    )  # fmt: skip

    def take(old: ConsentRecord) -> ConsentRecord:
        _check_phase(old, "draft")
        return old.model_copy(update={"phase": "in_review", "evidence": evidence})

    record = await gateway.tables.consents.update(caller.tenant, consent_id, take)
    for upload_id in record.uploads:
        await uploads.mark_used(gateway, caller.tenant, upload_id, record.id)
    return consent_view(gateway, record)


@router.post(
    "/{consent_id}/review", responses=errors(403, 404, 409, 422), summary="Decide on the evidence"
)
async def review_consent(
    consent_id: str, body: NewReview, caller: CallerDep, gateway: GatewayDep
) -> Consent:
    """For roles reviewer and admin, and never for whoever recorded the consent."""
    record = await gateway.tables.consents.get(caller.tenant, consent_id)
    _check_phase(record, "in_review")
    _check_review(record, body, caller)
    await gateway.audit.note(
        caller.tenant, caller.key, f"consent.{body.decision}", f"consents/{consent_id}",
        reason=body.reason, override=str(body.override).lower(),
        passphrase_heard=str(body.passphrase_heard).lower(),
        same_person=str(body.same_person).lower(),
    )  # fmt: skip
    review = Review(by=caller.key, at_s=now_s(), **body.model_dump())

    def decide(old: ConsentRecord) -> ConsentRecord:
        _check_phase(old, "in_review")
        phase = "approved" if body.decision == "approve" else "refused"
        return old.model_copy(update={"phase": phase, "review": review})

    return consent_view(
        gateway, await gateway.tables.consents.update(caller.tenant, consent_id, decide)
    )


@router.post("/{consent_id}/revoke", responses=errors(404), summary="Revoke a consent")
async def revoke_consent(consent_id: str, caller: CallerDep, gateway: GatewayDep) -> Consent:
    """At once nothing is made or shown under it; live sessions end, jobs are cancelled, and every
    avatar that stands on it is erased with its footage and dubs. It cannot be taken back.
    """
    await gateway.tables.consents.get(caller.tenant, consent_id)
    await gateway.audit.note(caller.tenant, caller.key, "consent.revoke", f"consents/{consent_id}")
    record = await gateway.tables.consents.update(
        caller.tenant,
        consent_id,
        lambda old: old if old.revoked_s else old.model_copy(update={"revoked_s": now_s()}),
    )
    await gateway.tables.consents.poke(caller.tenant, consent_id)
    return consent_view(gateway, record)


@router.delete(
    "/{consent_id}", response_model=Erasure, summary="Erase a consent with its evidence",
    responses={**errors(404, 409), 202: {"model": Erasure, "description": "goes on; ask again"}},
)  # fmt: skip
async def delete_consent(
    consent_id: str, response: Response, caller: CallerDep, gateway: GatewayDep
) -> Erasure:
    """Only when nothing stands on it any more."""
    await gateway.audit.note(caller.tenant, caller.key, "consent.delete", f"consents/{consent_id}")
    erasure = await erase_consent(gateway, caller.tenant, consent_id)
    response.status_code = 200 if erasure.state == "erased" else 202
    return erasure


async def require_active(
    gateway: Gateway,
    tenant: str,
    consent_id: str,
    scope: Scope,
    *,
    param: str = "consent",
    footage: str = "",
) -> None:
    """Refuse what a consent does not cover, before anything is queued.

    Trainers and renderers ask again for themselves: see :mod:`services.common.consents`.

    Args:
        footage: id of the upload that an avatar is to be made of.

    Raises:
        FailedPrecondition: it does not stand, is for something else, or for other footage.
        ParamError: there is no such consent.
    """
    try:
        record = await gateway.tables.consents.get(tenant, consent_id)
    except NotFound:
        raise ParamError(
            param, f"no consent {consent_id}", reason="CONSENT_NOT_FOUND",
            remedy="Record the person's consent by POST /v1/consents.",
        ) from None  # fmt: skip
    check_consent(consent_id, record.for_others, scope, now_s())
    if not footage:
        return
    if gateway.settings.consent_evidence == "reviewed" and record.level != "reviewed":
        raise FailedPrecondition(
            f"consent {consent_id} rests on a declaration",
            reason="CONSENT_EVIDENCE_REQUIRED",
            remedy="Record a new consent and give evidence of it: this installation asks for that.",
        )
    if record.evidence is not None and record.evidence.footage != footage:
        raise FailedPrecondition(
            f"consent {consent_id} was reviewed for other footage",
            reason="CONSENT_FOR_OTHER_FOOTAGE",
            remedy=f"Use upload {record.evidence.footage}, or record a consent for this footage.",
        )


def _check_phase(record: ConsentRecord, phase: str) -> None:
    if record.standing != phase:
        raise FailedPrecondition(
            f"consent {record.id} is {record.standing}, not {phase}",
            reason="CONSENT_STATE",
            remedy="Look at its state; evidence is given once, and reviewed once.",
        )


def _check_review(record: ConsentRecord, body: NewReview, caller: Caller) -> None:
    if caller.key == record.recorded_by:
        raise PermissionDenied(
            "who recorded a consent does not review it",
            reason="REVIEW_OF_OWN",
            remedy="Have somebody else review it, with a key of role reviewer.",
        )
    assert record.evidence is not None
    confirmed = body.same_person and (body.passphrase_heard or record.evidence.kind == "document")
    if body.decision == "approve" and not confirmed and not body.override:
        raise ParamError(
            "same_person", "not everything is confirmed that an approval needs",
            reason="REVIEW_INCOMPLETE",
            remedy="Confirm passphrase_heard and same_person, or say override and why.",
        )  # fmt: skip


async def _kind_of(gateway: Gateway, tenant: str, upload_id: str) -> UploadKind:
    record = await gateway.tables.uploads.find(tenant, upload_id)
    return "document" if record is not None and record.kind == "document" else "video"


def _passphrase() -> str:
    """Five words, about 30 bits: nobody has a clip with them at hand."""
    return " ".join(secrets.choice(_WORDS) for _ in range(5))


def _to_read(record: ConsentRecord) -> str:
    purposes = {
        Scope.AVATAR: "a talking avatar is made of me", Scope.DUB: "it is used in videos",
        Scope.LIVE: "it speaks live",
    }  # fmt: skip
    agreed = " and ".join(purposes[each] for each in record.scope)
    return (
        f"I am {record.subject_name}. I agree that {agreed}. {record.statement} "
        f"My words are: {record.passphrase}."
    ).replace("  ", " ")


def consent_view(gateway: Gateway, record: ConsentRecord) -> Consent:
    """What a consent looks like from outside."""
    return Consent(
        id=record.id,
        state=record.standing,
        level=record.level,
        subject_name=record.subject_name,
        statement=record.statement,
        granted_by=record.granted_by,
        scope=record.scope,
        to_read=_to_read(record) if record.passphrase else None,
        evidence=_evidence_view(gateway, record),
        review=_review_view(record.review),
        expires_at=maybe_moment(record.expires_s),
        revoked_at=maybe_moment(record.revoked_s),
        erased=record.settled,
        created_at=moment(record.created_s),
    )


def _evidence_view(gateway: Gateway, record: ConsentRecord) -> EvidenceView | None:
    found = record.evidence
    if found is None:
        return None
    return EvidenceView(
        kind=found.kind, upload=found.upload, sha256=found.ref.sha256, footage=found.footage,
        footage_sha256=found.footage_ref.sha256, given_at=moment(found.given_s),
        url=signed_url(gateway, found.ref.key),
        footage_url=signed_url(gateway, found.footage_ref.key),
    )  # fmt: skip


def _review_view(review: Review | None) -> ReviewView | None:
    if review is None:
        return None
    facts = review.model_dump(exclude={"at_s"})
    return ReviewView(**facts, at=moment(review.at_s))
