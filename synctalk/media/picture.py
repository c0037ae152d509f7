"""One untrusted picture file, decoded in the limited process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import av
import numpy as np

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.orientation import orientation_of
from synctalk.media.planes import UInt8Array
from synctalk.media.sandbox import Request, run_limited

# PNG, JPEG and WebP by their content, whatever the file is called; no sequences, no scripts.
FORMATS = "png_pipe,jpeg_pipe,webp_pipe"
CODECS = "png,mjpeg,webp"
LIMITS = MediaLimits(max_pixels=8192 * 8192, max_side_px=16384, max_file_bytes=64 << 20)
_FILE = "picture.npy"


def read_picture(src: str | os.PathLike[str], limits: MediaLimits = LIMITS) -> UInt8Array:
    """A PNG, JPEG or WebP as RGB [H,W,3], upright. What is transparent in it becomes black.

    Raises:
        MediaError: it is no such file, too large, or damaged.
    """
    path = Path(src).absolute()
    check_file(path, limits)
    with tempfile.TemporaryDirectory(prefix="synctalk-picture-") as folder:
        run_limited(Request("picture", str(path), limits, folder))
        picture: UInt8Array = np.load(Path(folder) / _FILE, allow_pickle=False)
    return picture


def read_picture_here(request: Request) -> dict[str, int]:
    """:func:`read_picture` in this process; only for the limited one."""
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file,pipe",
        "codec_whitelist": CODECS,
        "max_pixels": str(request.limits.max_pixels),
    }
    try:
        with av.open(f"file:{request.src}", options=options, metadata_errors="ignore") as container:
            frame = next(container.decode(video=0))
            side = max(frame.width, frame.height)
            scale = min(1.0, request.max_side / side)
            small = frame.reformat(
                max(1, round(frame.width * scale)), max(1, round(frame.height * scale)), "rgba"
            )
            turn = orientation_of(frame)
    except (av.FFmpegError, ValueError, IndexError, StopIteration) as error:
        raise MediaError(
            f"{request.src}: not a readable picture ({type(error).__name__}).",
            reason="NOT_A_PICTURE",
            remedy="Give a PNG, JPEG or WebP.",
        ) from error
    rgba = small.to_ndarray()
    visible = rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127
    np.save(Path(request.out) / _FILE, turn.turn((visible // 255).astype(np.uint8)))
    return {"width": int(rgba.shape[1]), "height": int(rgba.shape[0])}
