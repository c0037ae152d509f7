"""One untrusted picture file, decoded in the limited process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.planes import UInt8Array
from synctalk.media.sandbox import Request, run_limited

LIMITS = MediaLimits(max_file_bytes=64 << 20)
MAX_SIDE_PX = 4096
_FILE = "picture.npy"


def read_picture(src: str | os.PathLike[str], limits: MediaLimits = LIMITS) -> UInt8Array:
    """A PNG, JPEG or WebP as RGB [H,W,3], upright, at most 4096 px wide or high.

    What is transparent in it is not.

    Raises:
        MediaError: it is no such file, too large, or damaged.
    """
    path = Path(src).absolute()
    check_file(path, limits)
    with tempfile.TemporaryDirectory(prefix="synctalk-picture-") as folder:
        run_limited(Request("picture", str(path), limits, folder, max_side=MAX_SIDE_PX))
        picture: UInt8Array = np.load(Path(folder) / _FILE, allow_pickle=False)
    return picture


def read_picture_here(request: Request) -> dict[str, int]:
    """:func:`read_picture` in this process; only for the limited one."""
    data = Path(request.src).read_bytes()
    image = _decoded(data) if _known(data) else None
    if image is None:
        raise MediaError(
            f"{request.src}: not a readable picture.",
            reason="NOT_A_PICTURE",
            remedy="Give a PNG, JPEG or WebP of a usual size.",
        )
    height, width = image.shape[:2]
    scale = request.max_side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    np.save(Path(request.out) / _FILE, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return {"width": image.shape[1], "height": image.shape[0]}


def _known(data: bytes) -> bool:
    """PNG, JPEG or WebP by content: the decoders of all else are not let near the file."""
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return webp or data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def _decoded(data: bytes) -> UInt8Array | None:
    """The picture as BGR, turned as its EXIF says; None where it is damaged or too large."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)
