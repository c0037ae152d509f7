"""The messages of renderer.proto, to and from what the renderer works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from services.common.artifacts import ArtifactRef
from services.common.names import check_owned, parse_name
from services.common.rpc.messages import artifact_ref, object_ref
from services.common.storage import ObjectRef
from services.gen.avatar.v1 import renderer_pb2 as pb
from services.gen.avatar.v1 import trainer_pb2, types_pb2
from services.renderer.lips import SegmentBlendshapes, SegmentFeatures
from services.renderer.live_messages import (
    End,
    Input,
    Interrupt,
    Interrupted,
    Leave,
    LiveFrame,
    Output,
    Summary,
    WantKeyFrame,
)
from services.renderer.loading import LoadedAvatar
from services.renderer.moments import LiveFeatures
from synctalk.avatar import Avatar
from synctalk.backdrop import Backdrop
from synctalk.bundle import BundleManifest
from synctalk.errors import InputError
from synctalk.face import ARKIT_NAMES
from synctalk.face_sync import LAYOUT
from synctalk.media.alpha import PRORES_4444, VP9_ALPHA, AlphaCodec

Image = NDArray[np.uint8]
FloatRows = NDArray[np.float32]
MAX_FRAMES = 1500
ALPHA = {pb.VIDEO_CODEC_VP9_ALPHA: VP9_ALPHA, pb.VIDEO_CODEC_PRORES_4444: PRORES_4444}


def named(version: str, bundle: types_pb2.ArtifactRef) -> tuple[str, ArtifactRef]:
    """Tenant and bundle; both must belong together."""
    tenant, *_ = parse_name("avatar_version", version, "tenants", "avatars", "versions")
    check_owned("bundle.prefix", bundle.prefix, tenant)
    check_owned("bundle.listing.key", bundle.listing.key, tenant)
    return tenant, artifact_ref(bundle)


def check_options(options: pb.VideoOptions, tenant: str) -> AlphaCodec | None:
    """How the alpha channel is stored, where there is one.

    Raises:
        InputError: a codec that the background does not fit.
        NotFound: the background is another tenant's.
    """
    alpha = ALPHA.get(options.codec)
    kind = options.background.WhichOneof("kind")
    if (kind == "transparent") != (alpha is not None):
        raise InputError(
            f"codec {pb.VideoCodec.Name(options.codec)} with background {kind or 'source'}",
            reason="VIDEO_FORMAT",
            remedy="Use VP9_ALPHA or PRORES_4444 with a transparent background, H264 with others.",
        )
    if kind == "image":
        check_owned("background.image", options.background.image.key, tenant)
    return alpha


def backdrop(
    avatar: Avatar, background: pb.Background, picture: Callable[[ObjectRef], Image]
) -> Backdrop | None:
    """What the request wants behind the person.

    Raises:
        MediaError: the image is none.
        BundleError: the avatar is too old for it.
    """
    kind = background.WhichOneof("kind")
    if kind in (None, "source"):
        return None
    behind = None
    if kind == "colour":
        behind = _colour(background.colour)
    elif kind == "image":
        behind = picture(object_ref(background.image))
    return Backdrop(avatar.bundle, behind)


def segment_features(request: pb.RenderSegmentRequest) -> SegmentFeatures:
    """What a segment is to be rendered from."""
    if not 0 < len(request.features) <= MAX_FRAMES:
        raise InputError(
            f"{len(request.features)} frames in a segment",
            reason="SEGMENT_LENGTH",
            remedy=f"Send 1 to {MAX_FRAMES} frames.",
        )
    first = request.features[0].time_code.frame
    every = [*request.context_before, *request.features, *request.context_after]
    expected = range(first - len(request.context_before), first + len(every))
    for features, frame in zip(every, expected, strict=False):
        if features.time_code.frame != frame:
            raise InputError(
                f"features of frame {features.time_code.frame} in place of {frame}",
                reason="FEATURE_ORDER",
                remedy="Send the features of consecutive frames.",
            )
    parts = (request.features, request.context_before, request.context_after)
    rows, before, after = (_rows([f.lip_feature for f in part], LAYOUT.dim) for part in parts)
    return SegmentFeatures(first, rows, before, after, _blendshapes(request))


def live_header(message: pb.RenderLiveRequest) -> pb.RenderLiveRequestHeader:
    """The header that a stream begins with."""
    if message.WhichOneof("message") != "header":
        raise _unexpected("a header first")
    return message.header


async def live_inputs(requests: AsyncIterator[pb.RenderLiveRequest]) -> AsyncIterator[Input]:
    """What follows the header."""
    async for message in requests:
        match message.WhichOneof("message"):
            case "features":
                yield live_features(message.features)
            case "interruption":
                yield Interrupt(message.interruption.resume_at.frame)
            case "key_frame_request":
                yield WantKeyFrame()
            case "end_of_features":
                yield End()
            case _:
                raise _unexpected("features, an interruption, a key frame request, or the end")


def live_features(message: types_pb2.DrivingFeatures) -> LiveFeatures:
    """Of one frame."""
    row = np.fromiter(message.lip_feature, np.float32)
    face = np.fromiter(message.blendshapes, np.float32) if message.blendshapes else None
    return LiveFeatures(message.time_code.frame, row, face)


def live_response(output: Output, fps: int) -> pb.RenderLiveResponse:
    """An output of a session."""
    match output:
        case LiveFrame():
            return pb.RenderLiveResponse(frame=_encoded(output, fps))
        case Interrupted():
            answer = pb.Interrupted(
                resume_at=_time_code(output.resume_at, fps), dropped_frame_count=output.dropped
            )
            return pb.RenderLiveResponse(interrupted=answer)
        case Leave():
            migration = pb.Migration(time_left=duration(output.time_left_s))
            return pb.RenderLiveResponse(migration=migration)
        case Summary():
            summary = pb.RenderLiveSummary(
                frame_count=output.frames, dropped_frame_count=output.dropped
            )
            return pb.RenderLiveResponse(summary=summary)


def avatar_message(
    request: pb.GetAvatarRequest | pb.WarmAvatarRequest,
    manifest: BundleManifest,
    loaded: LoadedAvatar | None,
    encoder_version: str,
) -> pb.Avatar:
    """An avatar as it is here."""
    return pb.Avatar(
        avatar_version=trainer_pb2.AvatarVersion(
            name=request.avatar_version, bundle=request.bundle, metrics=manifest.metrics
        ),
        width_px=manifest.source_width,
        height_px=manifest.source_height,
        frame_rate=frame_rate(manifest.fps),
        gaussian_count=loaded.gaussian_count if loaded else 0,
        encoder_version=encoder_version,
        cached=loaded is not None,
        memory_bytes=loaded.size.memory_bytes if loaded else 0,
    )


def frame_rate(fps: int) -> types_pb2.FrameRate:
    """A whole number of frames a second."""
    return types_pb2.FrameRate(numerator=fps, denominator=1)


def duration(seconds: float) -> Duration:
    """As it stands in a message."""
    message = Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def _encoded(live: LiveFrame, fps: int) -> pb.EncodedFrame:
    timing = live.timing
    return pb.EncodedFrame(
        time_code=_time_code(live.frame, fps),
        data=live.packet.data,
        key_frame=live.packet.key_frame,
        timing=pb.FrameTiming(
            look_ahead_us=round(1e6 * timing.look_ahead_s),
            waiting_us=round(1e6 * timing.waiting_s),
            render_us=round(1e6 * timing.render_s),
            encode_us=round(1e6 * timing.encode_s),
        ),
    )


def _time_code(frame: int, fps: int) -> types_pb2.TimeCode:
    return types_pb2.TimeCode(frame=frame, time_us=frame * 1_000_000 // fps)


def _colour(colour: pb.RgbColour) -> Image:
    values = (colour.red, colour.green, colour.blue)
    if max(values) > 255:
        raise InputError(
            f"background.colour is {values}",
            reason="BAD_COLOUR",
            remedy="Each of red, green and blue is from 0 to 255.",
        )
    return np.array([[values]], np.uint8)


def _blendshapes(request: pb.RenderSegmentRequest) -> SegmentBlendshapes | None:
    parts = (request.features, request.context_before, request.context_after)
    if not any(frame.blendshapes for part in parts for frame in part):
        return None
    width = len(ARKIT_NAMES)
    rows, before, after = (_rows([f.blendshapes for f in part], width) for part in parts)
    return SegmentBlendshapes(rows, before, after, request.blendshapes_required)


def _rows(frames: Iterable[Iterable[float]], width: int) -> FloatRows:
    """[T, width] of the frames' values, or of another width if that is what they have."""
    rows = [np.fromiter(values, np.float32) for values in frames]
    if len({len(row) for row in rows}) > 1:
        raise InputError("features of different lengths", reason="FEATURE_SHAPE")
    return np.stack(rows) if rows else np.zeros((0, width), np.float32)


def _unexpected(wanted: str) -> InputError:
    return InputError(
        f"the stream does not hold {wanted}",
        reason="UNEXPECTED_MESSAGE",
        remedy="Send a header, features, and the end of the features.",
    )
