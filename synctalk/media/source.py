"""Open an untrusted media file with as little of FFmpeg as possible.

Only ever called inside the limited process of :mod:`synctalk.media.sandbox`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits, check_file

# No playlists, no concat scripts, no image sequences, no devices: each can name other files.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,mxf,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,ogg,amr"
)
VIDEO_CODECS = (
    "h264,hevc,av1,libdav1d,vp8,vp9,mpeg4,mpeg1video,mpeg2video,h263,mjpeg,prores,dnxhd,ffv1,"
    "msmpeg4v2,msmpeg4v3,wmv1,wmv2,wmv3,vc1,theora,dvvideo,rawvideo,huffyuv,utvideo,flv"
)
AUDIO_CODECS = (
    "aac,aac_latm,mp3,mp3float,mp2,mp2float,mp1,mp1float,ac3,eac3,opus,libopus,vorbis,flac,alac,"
    "wmav1,wmav2,wmapro,amrnb,amrwb,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,"
    "pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw,"
    "adpcm_ms,adpcm_ima_wav,adpcm_ima_qt"
)
_NOT_MEDIA_REMEDY = "Give an MP4, MOV, MKV, WebM or AVI video (or WAV, FLAC, MP3, M4A audio)."


@contextmanager
def open_source(path: Path, limits: MediaLimits) -> Iterator[InputContainer]:
    """Open ``path`` restricted to plain media formats, local files and known codecs.

    Raises:
        MediaError: see :func:`check_file`; ``NOT_MEDIA`` when no allowed format fits.
    """
    check_file(path, limits)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file,pipe",
        "codec_whitelist": f"{VIDEO_CODECS},{AUDIO_CODECS}",
        "max_pixels": str(limits.max_pixels),
        "safe": "1",
    }
    try:
        # "file:" keeps names such as "http://…" or "concat:…" from being read as protocols.
        container = av.open(f"file:{path.absolute()}", options=options, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: not a readable media file ({_short(error)}).",
            reason="NOT_MEDIA",
            remedy=f"{_NOT_MEDIA_REMEDY} If it is one, it is damaged or incomplete:"
            " copy or upload it again.",
        ) from error
    with container:
        yield container


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first real video stream; cover art does not count."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream."""
    return next(iter(container.streams.audio), None)


def decoder_of(path: Path, stream: Any) -> Any:
    """The decoder of a video or audio stream.

    Raises:
        MediaError: ``UNDECODABLE`` where there is none; PyAV's stubs promise one.
    """
    if stream.codec_context is None:
        raise undecodable(path, stream.type, ValueError("an unknown or refused codec"))
    return stream.codec_context


def start_of(stream: Stream) -> float:
    """Time stamp of the stream's first packet, s."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


def undecodable(path: Path, what: str, error: Exception) -> MediaError:
    """The error for a stream that no decoder accepts."""
    return MediaError(
        f"{path}: its {what} cannot be decoded ({_short(error)}).",
        reason="UNDECODABLE",
        remedy="The file is damaged or uses an uncommon codec: export it as H.264 + AAC in MP4.",
    )


def _short(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
