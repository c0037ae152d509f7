"""Files up to the object store and down from it, by the signed URLs that the API gives out."""

from __future__ import annotations

import hashlib
import mimetypes
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import httpx

from services.cli.api import Api, Resource, raise_for
from services.common.errors import CorruptData
from synctalk.errors import InputError

OnBytes = Callable[[int, int], None]
"""Told of the bytes that have passed, and of those in all."""

Kind = Literal["video", "audio", "image", "document"]

_CHUNK = 256 << 10
_TIMEOUT = httpx.Timeout(120.0, connect=5.0)


def check_file(path: Path) -> int:
    """Its size.

    Raises:
        InputError: it is not there, cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}.",
            reason="FILE_UNREADABLE",
            remedy="Check its name and permissions.",
        ) from None
    if size == 0:
        raise InputError(f"{path} is empty.", reason="FILE_EMPTY", remedy="Give another file.")
    return size


def upload(api: Api, path: Path, kind: Kind, on_bytes: OnBytes) -> str:
    """Store a file, straight from disk; returns the id of the upload.

    A broken connection begins the file again, for as long as the API's patience lasts.

    Raises:
        SyncTalkError: the file cannot be read, or is refused.
    """
    size = check_file(path)
    guessed = mimetypes.guess_type(path.name)[0] or ""
    is_known = guessed.startswith(("video/", "audio/")) or kind == "document"
    body = {
        "filename": path.name,
        "content_type": guessed if is_known else "application/octet-stream",
        "size_bytes": size,
        "kind": kind,
    }
    ticket = api.post("uploads", body)

    def put() -> Resource:
        headers = {**ticket["headers"], "content-length": str(size)}
        answer = httpx.put(
            ticket["url"],
            content=_read(path, size, on_bytes),
            headers=headers,
            timeout=_TIMEOUT,
        )
        raise_for(answer)
        return {}

    api.insist(put, "The object store")
    return str(ticket["id"])


def download(
    api: Api, link: Callable[[], str], out: Path, on_bytes: OnBytes, sha256: str = ""
) -> int:
    """Fetch what ``link`` names into ``out``, which appears whole or not at all; returns its size.

    ``link`` is called for each try, because a signed URL expires.

    Args:
        sha256: that the bytes must have; empty: not known.

    Raises:
        CorruptData: fewer or more bytes came than the store announced, or others.
        InputError: ``out`` cannot be written.
    """
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")

    def fetch() -> Resource:
        with httpx.stream("GET", link(), timeout=_TIMEOUT) as answer:
            if answer.is_error:
                answer.read()
            raise_for(answer)
            return {"size": _write(answer, partial, on_bytes, sha256)}

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        size = int(api.insist(fetch, "The object store")["size"])
        partial.replace(out)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror}.",
            reason="FILE_UNWRITABLE",
            remedy="Give another place with -o, or free some space.",
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return size


def _read(path: Path, size: int, on_bytes: OnBytes) -> Iterator[bytes]:
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            done += len(chunk)
            if done > size:
                break
            yield chunk
            on_bytes(done, size)
    if done != size:
        raise InputError(
            f"{path} changes while it is sent.",
            reason="FILE_CHANGES",
            remedy="Wait until it is written.",
        )


def _write(answer: httpx.Response, path: Path, on_bytes: OnBytes, sha256: str) -> int:
    digest = hashlib.sha256()
    announced = int(answer.headers.get("content-length", -1))
    done = 0
    with path.open("wb") as file:
        for chunk in answer.iter_raw(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            on_bytes(done, announced)
    if announced >= 0 and done != announced:
        raise CorruptData(
            f"{done} of {announced} bytes came.", reason="DOWNLOAD_SHORT", remedy="Try again."
        )
    if sha256 and digest.hexdigest() != sha256:
        raise CorruptData(
            "the bytes that came are not those that were made.", reason="DOWNLOAD_CORRUPT",
            remedy="Try again; if it stays so, somebody changes them on the way.",
        )  # fmt: skip
    return done
