"""A new try for avatars and dubs whose job ended without success.

The record says first that its job is to be queued again, and the reconciler does it: whatever dies
in between, the new try comes.
"""

from __future__ import annotations

from services.common.consents import Scope
from services.common.errors import FailedPrecondition
from services.common.jobs import JobState
from services.common.origin import origin
from services.gateway.consents import require_active
from services.gateway.core import Gateway
from services.gateway.model import AvatarRecord, DubRecord, JobLink, now_s

RESTARTABLE = (JobState.DEAD, JobState.FAILED, JobState.CANCELLED)


async def restart_job(gateway: Gateway, link: JobLink) -> None:
    """Have the avatar or dub of an ended job go on.

    Raises:
        FailedPrecondition: the avatar waits for another job, or its consent does not stand.
    """
    collection, _, record_id = link.resource.partition("/")
    if collection == "dubs":
        await restart_dub(gateway, await gateway.tables.dubs.get(link.tenant, record_id))
        return
    avatar = await gateway.tables.avatars.get(link.tenant, record_id)
    if avatar.job != link.id:
        raise FailedPrecondition(
            f"avatar {avatar.id} no longer waits for job {link.id}",
            reason="JOB_SUPERSEDED",
            remedy=f"Queue job {avatar.job} again.",
        )
    await restart_avatar(gateway, avatar)


async def restart_avatar(gateway: Gateway, avatar: AvatarRecord) -> AvatarRecord:
    """Go on from the job that ended. An avatar that is under way stays as it is.

    Raises:
        FailedPrecondition: it is ready, or its consent does not stand.
    """
    if avatar.phase == "ready":
        raise FailedPrecondition(
            f"avatar {avatar.id} is ready", reason="AVATAR_READY", remedy="Make a new avatar."
        )
    await require_active(gateway, avatar.tenant, avatar.consent, Scope.AVATAR, footage=avatar.video)
    asked = origin()

    def again(old: AvatarRecord) -> AvatarRecord:
        if old.phase not in ("failed", "cancelled"):
            return old
        phase = "training" if old.train_job else "preprocessing"
        return old.model_copy(
            update={
                "phase": phase, "restart": True, "round": old.round + 1, "error": None,
                "updated_s": now_s(), "origin": asked,
            }
        )  # fmt: skip

    avatar = await gateway.tables.avatars.update(avatar.tenant, avatar.id, again)
    await gateway.tables.avatars.poke(avatar.tenant, avatar.id)
    return avatar


async def restart_dub(gateway: Gateway, dub: DubRecord) -> None:
    """Queue a dub again.

    Raises:
        FailedPrecondition: its avatar's consent does not stand.
        NotFound: its avatar is gone.
    """
    avatar = await gateway.tables.avatars.get(dub.tenant, dub.avatar)
    await require_active(gateway, dub.tenant, avatar.consent, Scope.DUB)
    asked = origin()

    def again(old: DubRecord) -> DubRecord:
        if old.phase not in ("failed", "cancelled"):
            return old
        return old.model_copy(
            update={
                "phase": "queued", "restart": True, "round": old.round + 1, "error": None,
                "origin": asked,
            }
        )  # fmt: skip

    await gateway.tables.dubs.update(dub.tenant, dub.id, again)
    await gateway.tables.dubs.poke(dub.tenant, dub.id)
