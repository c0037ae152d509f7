"""The queue ``dub``: what the gateway hands in and what the dubbing workers publish.

The id of the job is the id of the dub: everything of it lies under :func:`dub_prefix`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from services.common.artifacts import ArtifactRef
from services.common.jobs import JobType
from services.common.storage import ObjectRef
from synctalk.errors import InputError

MAX_TEXT_CHARS = 200_000


@dataclass(frozen=True)
class DubRequest:
    """An avatar is to say an audio.

    Args:
        avatar_version: ``tenants/{tenant}/avatars/{avatar}/versions/{n}``.
        bundle: of that version.
        audio: any audio file, or a video with sound.
        width_px, height_px: of the video, even; 0: the avatar's own, or what keeps its shape.
        background: what stands behind the person; see :func:`check_supported`.
        text: what is said, for captions; empty: none are made.
    """

    avatar_version: str
    bundle: ArtifactRef
    audio: ObjectRef
    width_px: Annotated[int, Field(ge=0)] = 0
    height_px: Annotated[int, Field(ge=0)] = 0
    background: Literal["source", "colour", "image", "transparent"] = "source"
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS)] = ""


@dataclass(frozen=True)
class DubOutput:
    """A finished dub.

    Args:
        video: MP4, H.264 and AAC.
        preview: JPEG of its first frame.
        captions_vtt, captions_srt: sidecar captions; None where no text was given.
        frame_count, duration_s: its length.
    """

    video: ObjectRef
    preview: ObjectRef
    captions_vtt: ObjectRef | None
    captions_srt: ObjectRef | None
    frame_count: int
    duration_s: float


DUB_JOBS = JobType("dub", DubRequest, DubOutput)


def dub_prefix(tenant: str, dub: str) -> str:
    """Name of a dub, what its keys begin with, and the name that it is published as."""
    return f"tenants/{tenant}/dubs/{dub}"


def check_supported(request: DubRequest) -> None:
    """Refuse what the avatars of this release cannot do; the gateway asks before it queues.

    Raises:
        InputError: a background other than the source's.
    """
    if request.background != "source":
        raise InputError(
            f"background {request.background!r} was asked for, and avatars of this release carry "
            "no matte of the person",
            reason="BACKGROUND_UNSUPPORTED",
            remedy="Use the source background, or film before the background you want.",
        )
