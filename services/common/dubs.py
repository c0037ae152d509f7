"""The queue ``dub``: what the gateway hands in and what the dubbing workers publish.

The id of the job is the id of the dub: everything of it lies under :func:`dub_prefix`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from services.common.artifacts import ArtifactRef
from services.common.jobs import JobType
from services.common.storage import ObjectRef
from synctalk.errors import InputError

MAX_TEXT_CHARS = 200_000
VideoFormat = Literal["mp4", "webm", "mov"]
Expression = Literal["auto", "source", "natural", "neutral", "calm", "emphatic"]
BlinksPerMinute = Annotated[float, Field(ge=0, le=60)]
CONTENT_TYPES: dict[VideoFormat, str] = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
}
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class DubRequest:
    """An avatar is to say an audio.

    Args:
        avatar_version: ``tenants/{tenant}/avatars/{avatar}/versions/{n}``.
        bundle: of that version.
        audio: any audio file, or a video with sound.
        width_px, height_px: of the video, even; 0: the avatar's own, or what keeps its shape.
        background: what stands behind the person; what is transparent needs a ``video_format``
            with an alpha channel, and nothing else has one.
        background_colour: ``#rrggbb``, for ``colour``.
        background_image: PNG, JPEG or WebP, for ``image``; made to fill the frame.
        video_format: H.264 and AAC in MP4; VP9 with alpha and Opus in WebM, for browsers; ProRes
            4444 and PCM in MOV, for editing.
        text: what is said, for captions; empty: none are made.
        expression: what brows and lids do; ``auto`` is natural where the avatar has learnt it, else
            the source's; another one but ``source`` is refused where it has not.
        blinks_per_minute: where the lids are not the source's; None: as people who speak do.
    """

    avatar_version: str
    bundle: ArtifactRef
    audio: ObjectRef
    width_px: Annotated[int, Field(ge=0)] = 0
    height_px: Annotated[int, Field(ge=0)] = 0
    background: Literal["source", "colour", "image", "transparent"] = "source"
    text: Annotated[str, Field(max_length=MAX_TEXT_CHARS)] = ""
    background_colour: str = ""
    background_image: ObjectRef | None = None
    video_format: VideoFormat = "mp4"
    expression: Expression = "auto"
    blinks_per_minute: BlinksPerMinute | None = None


@dataclass(frozen=True)
class DubOutput:
    """A finished dub.

    Args:
        video: in the format that was asked for.
        preview: JPEG of its first frame.
        captions_vtt, captions_srt: sidecar captions; None where no text was given.
        frame_count, duration_s: its length.
        manifest: C2PA, where the video cannot hold it (WebM); None: it is in the video.
    """

    video: ObjectRef
    preview: ObjectRef
    captions_vtt: ObjectRef | None
    captions_srt: ObjectRef | None
    frame_count: int
    duration_s: float
    manifest: ObjectRef | None = None


DUB_JOBS = JobType("dub", DubRequest, DubOutput)


def dub_prefix(tenant: str, dub: str) -> str:
    """Name of a dub, what its keys begin with, and the name that it is published as."""
    return f"tenants/{tenant}/dubs/{dub}"


def check_supported(request: DubRequest) -> None:
    """Refuse what does not fit together; the gateway asks before it queues.

    Raises:
        InputError: a background without its colour or image, or a format that cannot hold it.
    """
    kind = request.background
    if kind == "colour" and not _COLOUR.fullmatch(request.background_colour):
        raise InputError(
            f"background_colour is {request.background_colour!r}",
            reason="BAD_COLOUR",
            remedy="Write it as #rrggbb, e.g. #00b140.",
        )
    if (kind == "image") != (request.background_image is not None):
        raise InputError(
            f"background {kind!r} {'without' if kind == 'image' else 'with'} a background_image",
            reason="BACKGROUND_IMAGE",
            remedy="Give an image with background 'image', and with no other.",
        )
    if (kind == "transparent") != (request.video_format != "mp4"):
        raise InputError(
            f"background {kind!r} in format {request.video_format!r}",
            reason="VIDEO_FORMAT",
            remedy="Ask for webm or mov with a transparent background, for mp4 with any other.",
        )
