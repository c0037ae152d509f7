"""Decode untrusted media in a process of its own that can harm nothing but itself.

The child has bounded memory, CPU time and file sizes, no network, no other files than its source
and its output, and none of our secrets; it is killed when it stops making progress.
A crash of a decoder, a decompression bomb or an endless loop thus becomes a :class:`MediaError`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synctalk.errors import MediaError
from synctalk.media.limits import MediaLimits

ProgressLine = Callable[[int, int], None]

_KEPT = (
    "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES",
)  # fmt: skip
_PICTURE_PIXELS = 100_000_000  # of one picture file; larger ones are not decoded at all
_LINE_BYTES = 1 << 20  # longest answer of the child


@dataclass(frozen=True)
class Request:
    """What the child shall do.

    Args:
        task: ``"probe"``, ``"sample"``, ``"normalise"``, ``"audio"``, ``"picture"`` or
            ``"manifest"``.
        src: the untrusted file, absolute.
        limits: bounds for the child.
        out: folder the child may write into; empty where it writes nothing.
        sample_rate: of the sound to write, Hz.
        fps: of the frames to write.
        max_side: longest side of the frames to write, px.
        count: frames to sample.
    """

    task: str
    src: str
    limits: MediaLimits
    out: str = ""
    sample_rate: int = 16000
    fps: int = 25
    max_side: int = 1920
    count: int = 0

    def to_json(self) -> str:
        """One line for the child's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Inverse of :meth:`to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "limits": MediaLimits(**fields["limits"])})


def run_limited(request: Request, on_progress: ProgressLine | None = None) -> dict[str, Any]:
    """Run ``request`` in a limited process and return the JSON object it answers with.

    Raises:
        MediaError: what the child found wrong; ``DECODER_CRASHED``, ``DECODER_STALLED`` or
            ``DECODER_LIMIT`` when it died, stopped making progress or used up its share.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "synctalk.media.worker", request.to_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )
    try:
        return _listen(process, request, on_progress)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _listen(
    process: subprocess.Popen[bytes], request: Request, on_progress: ProgressLine | None
) -> dict[str, Any]:
    assert process.stdout is not None
    brief = request.task in ("probe", "picture")
    patience = request.limits.probe_s if brief else request.limits.stall_s
    deadline, pending = time.monotonic() + patience, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                raise _died(request, process.wait())
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) > _LINE_BYTES:
                raise _talks_nonsense(request)
            for line in lines:
                message = _message(request, line)
                if "progress" not in message:
                    return _answer(message)
                deadline = time.monotonic() + patience
                if on_progress:
                    on_progress(*message["progress"])
    raise MediaError(
        f"{request.src}: decoding made no progress for {patience:.0f} s and was stopped.",
        reason="DECODER_STALLED",
        remedy="Export the video again as H.264 + AAC in MP4.",
    )


def _message(request: Request, line: bytes) -> dict[str, Any]:
    """What the child says; a flaw in a decoder may make it say anything."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise _talks_nonsense(request)
    return message


def _talks_nonsense(request: Request) -> MediaError:
    return MediaError(
        f"{request.src}: the decoder gave no usable answer about this file.",
        reason="DECODER_CRASHED",
        remedy="Export the video again as H.264 + AAC in MP4.",
    )


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    if "error" in message:
        error = message["error"]
        raise MediaError(error["message"], reason=error["reason"], remedy=error["remedy"])
    result: dict[str, Any] = message["result"]
    return result


def _died(request: Request, returncode: int) -> MediaError:
    if -returncode in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
        return MediaError(
            f"{request.src}: decoding needed more time, memory or space than allowed.",
            reason="DECODER_LIMIT",
            remedy="Give a shorter or smaller video (2-5 minutes, at most 4K).",
        )
    return MediaError(
        f"{request.src}: the decoder crashed on this file (exit status {returncode}).",
        reason="DECODER_CRASHED",
        remedy="Export the video again as H.264 + AAC in MP4.",
    )


def _environment() -> dict[str, str]:
    """What Python and its libraries need, with this very package importable; nothing secret."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return {
        **kept,
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(_PICTURE_PIXELS),  # told before OpenCV is loaded
    }
