"""What an untrusted media file may ask of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synctalk.errors import MediaError

GIB = 1 << 30


@dataclass(frozen=True)
class MediaLimits:
    """Bounds on untrusted media; what exceeds them is refused with a :class:`MediaError`.

    Args:
        max_side_px: longest side of the source picture.
        max_pixels: width × height of the source picture (8K is refused, 4K is not).
        max_fps: average frame rate.
        max_duration_s: length of the video.
        max_file_bytes: size of the source file.
        memory_bytes: address space the decoding process may add to what it starts with.
        max_output_bytes: size of any one file that the decoding process writes.
        probe_s: wall-clock and CPU time to find out what a file is.
        stall_s: wall-clock time a decoding process may go without progress.
        cpu_s_per_media_s: CPU time a decoding process may use for each second of media.
    """

    max_side_px: int = 4096
    max_pixels: int = 4096 * 2304
    max_fps: float = 240.0
    max_duration_s: float = 3600.0
    max_file_bytes: int = 8 * GIB
    memory_bytes: int = 3 * GIB
    max_output_bytes: int = 64 * GIB
    probe_s: float = 20.0
    stall_s: float = 60.0
    cpu_s_per_media_s: float = 60.0


def check_file(path: Path, limits: MediaLimits) -> None:
    """Refuse what is not a non-empty regular file of acceptable size.

    Raises:
        MediaError: ``FILE_MISSING``, ``NOT_A_FILE``, ``FILE_EMPTY`` or ``FILE_TOO_LARGE``.
    """
    if not path.exists():
        raise MediaError(f"{path}: no such file.", reason="FILE_MISSING", remedy="Check the path.")
    if not path.is_file():
        raise MediaError(
            f"{path}: not a file.",
            reason="NOT_A_FILE",
            remedy="Give the path of one video or audio file.",
        )
    size = path.stat().st_size
    if size == 0:
        raise MediaError(
            f"{path}: the file is empty.",
            reason="FILE_EMPTY",
            remedy="Copy or upload it again.",
        )
    if size > limits.max_file_bytes:
        raise MediaError(
            f"{path}: {size / GIB:.1f} GiB is more than the {limits.max_file_bytes / GIB:.1f} GiB"
            " allowed.",
            reason="FILE_TOO_LARGE",
            remedy="Cut the video to 2-5 minutes or compress it.",
        )
