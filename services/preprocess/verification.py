"""Where a file comes from: signed here, marked here, or unknown.

The file is fetched to a folder of its own and looked at in processes of its own, which decode in
limited ones: this process reads none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common import logs
from services.common.errors import NotFound, ResourceExhausted, Unavailable
from services.common.names import check_owned
from services.common.provenance import ProvenanceSettings
from services.common.storage import ObjectStore
from synctalk.errors import InputError

log = logs.logger(__name__)

MAX_BYTES = 512 << 20
AT_ONCE = 2
_TIME_S = 150.0  # more than the limited processes take before they are stopped
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Found:
    """As :class:`synctalk.provenance.Verification`, whose import would load the decoders."""

    verdict: str
    signature: str
    signer: str
    development: bool
    mark_id: int | None
    mark_score: float | None
    mark_development: bool
    signed_mark_id: int | None
    manifest: Mapping[str, Any] | None = field(hash=False)
    words: str


class Verifier:
    """Looks at two files at once; belongs to one event loop."""

    def __init__(self, store: ObjectStore, provenance: ProvenanceSettings) -> None:
        self._store, self._provenance = store, provenance
        self._working = asyncio.Semaphore(AT_ONCE)

    async def verify(self, tenant: str, key: str) -> Found:
        """What the tenant's uploaded file is.

        Raises:
            NotFound: it is not there, or somebody else's.
            InputError: it is no video or picture, or too large.
            ResourceExhausted: others are being looked at.
            Unavailable: whoever looked at it did not come to an end.
        """
        check_owned("upload_key", key, tenant)
        if self._working.locked():
            raise ResourceExhausted(
                f"{AT_ONCE} files are being looked at",
                reason="VERIFY_BUSY",
                remedy="Try again in some seconds.",
            )
        async with self._working:
            with tempfile.TemporaryDirectory(prefix="avatar-verify-") as folder:
                path = Path(folder) / "file"
                await asyncio.to_thread(self._fetch, key, path)
                return await _look_at(path, self._provenance.environment())

    def _fetch(self, key: str, path: Path) -> None:
        try:
            size_bytes = self._store.stat(key).size_bytes
            if size_bytes <= MAX_BYTES:
                self._store.fetch(key, path)
        except NotFound:
            raise NotFound(
                "upload: it is not there", reason="UPLOAD_GONE", remedy="Upload the file again."
            ) from None
        if size_bytes > MAX_BYTES:
            raise InputError(
                f"upload: {size_bytes} bytes",
                reason="FILE_TOO_LARGE",
                remedy=f"Send at most {MAX_BYTES} bytes: a part of a video is enough for the mark.",
            )


async def _look_at(path: Path, said: Mapping[str, str]) -> Found:
    """What ``python -m synctalk.provenance`` says of the file."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "synctalk.provenance", str(path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env={**kept, **said},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_TIME_S):
            output, _ = await process.communicate()
    except TimeoutError:
        output = b""
    finally:
        if process.returncode is None:  # SIGINT: it stops the processes that it started
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await process.wait()
    return _found(output, path, process.returncode)


def _found(output: bytes, path: Path, exit_status: int | None) -> Found:
    try:
        answer = json.loads(output)
    except ValueError:
        log.error("the verifier did not answer", exit_status=exit_status)
        raise Unavailable(
            "the file could not be looked at", reason="VERIFY_FAILED", remedy="Try again."
        ) from None
    if "error" in answer:
        problem = answer["error"]
        message = problem["message"].replace(str(path), "upload")
        raise InputError(message, reason=problem["reason"], remedy=problem["remedy"])
    return Found(**answer["result"])
