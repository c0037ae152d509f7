"""Object storage: references with checksums, folders as artifacts, presigned uploads and downloads.

Any S3 server will do. A checksum travels in the *reference* (:class:`ObjectRef`), not in the
server's metadata, which not every server keeps; whoever reads through a reference gets the bytes
that were stored or :class:`CorruptData`. A put is atomic on the server, a get ends with a rename.

Publishing is not done here: ``If-None-Match`` and ``If-Match`` are ignored by some S3 servers
(``rclone serve s3`` 1.75 answers 200 and overwrites), so the compare-and-set that makes an artifact
visible is the job queue's. An attempt writes under keys of its own and returns the reference.

Calls block; in asyncio code use ``asyncio.to_thread``. An ObjectStore is safe to share by threads.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject

from services.common.errors import CorruptData, NotFound
from services.common.presign import presigned_put
from services.common.settings import StorageSettings
from services.common.storage_errors import retried
from synctalk.errors import InputError

_PART_BYTES = 8 << 20  # held in memory, so one at a time
_CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT = urllib3.Timeout(connect=5, read=60)


@dataclass(frozen=True)
class ObjectRef:
    """One stored object: its key, exact size and SHA-256 (64 lower-case hex digits)."""

    key: str
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check_key(self.key)
        if self.size_bytes < 0 or not _SHA256.fullmatch(self.sha256):
            raise InputError(
                f"reference to {self.key} has a wrong size or SHA-256",
                reason="INVALID_OBJECT_REF",
                remedy="Use the reference that the upload returned.",
            )


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True)
class UploadTicket:
    """A PUT that anyone may send once or again until it expires, with exactly these headers."""

    url: str
    headers: tuple[tuple[str, str], ...]
    expires: datetime


_Opener = Callable[[], BinaryIO]


class _Hashing(io.RawIOBase):
    """Hashes what passes through on its way up."""

    def __init__(self, source: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._source = source

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


def _client(settings: StorageSettings, url: str) -> Minio:
    scheme, _, host = url.partition("://")
    return Minio(
        host,
        access_key=settings.access_key.get_secret_value(),
        secret_key=settings.secret_key.get_secret_value(),
        secure=scheme == "https",
        region=settings.region,  # asking the server is one more thing that can fail
        http_client=urllib3.PoolManager(
            timeout=_TIMEOUT, maxsize=16, retries=False, cert_reqs="CERT_REQUIRED"
        ),
    )


class ObjectStore:
    """The bucket of this installation."""

    def __init__(self, settings: StorageSettings) -> None:
        self.bucket = settings.bucket
        self._settings = settings
        self._client = _client(settings, settings.url)
        self._presigner = _client(settings, settings.public_url or settings.url)

    @retried
    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there."""
        if not self._client.bucket_exists(self.bucket):
            self._client.make_bucket(self.bucket)

    def put_bytes(
        self, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> ObjectRef:
        """Store ``data``, overwriting; large data goes up in parts."""
        return self._put(key, lambda: io.BytesIO(data), len(data), content_type)

    def put_file(
        self, key: str, path: Path, content_type: str = "application/octet-stream"
    ) -> ObjectRef:
        """Store a file, overwriting; large files go up in parts."""
        return self._put(key, lambda: path.open("rb"), path.stat().st_size, content_type)

    def get_bytes(self, ref: ObjectRef) -> bytes:
        """The object's content.

        Raises:
            NotFound: no such object.
            CorruptData: it is not what the reference says.
        """
        buffer = io.BytesIO()
        self._get(ref, buffer)
        return buffer.getvalue()

    def get_file(self, ref: ObjectRef, path: Path) -> None:
        """Write the object's content to ``path``, which appears whole or not at all.

        Raises:
            NotFound: no such object.
            CorruptData: it is not what the reference says.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with partial.open("wb") as file:
                self._get(ref, file)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        try:
            self.stat(key)
        except NotFound:
            return False
        return True

    @retried
    def stat(self, key: str) -> StoredObject:
        """Size and time. Raises :class:`NotFound`."""
        found = self._client.stat_object(self.bucket, check_key(key))
        assert found.size is not None
        assert found.last_modified is not None
        return StoredObject(key, found.size, found.last_modified)

    @retried
    def reference(self, key: str) -> ObjectRef:
        """Read an object that somebody else stored, e.g. by a form, and say what it is."""
        digest, size = hashlib.sha256(), 0
        response = self._client.get_object(self.bucket, check_key(key))
        try:
            for chunk in response.stream(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        finally:
            response.close()
            response.release_conn()
        return ObjectRef(key, size, digest.hexdigest())

    @retried
    def fetch(self, key: str, path: Path) -> tuple[ObjectRef, str]:
        """Write an object to ``path`` that nobody has a reference to; what it is, and its type."""
        digest, size = hashlib.sha256(), 0
        response = self._client.get_object(self.bucket, check_key(key))
        try:
            with path.open("wb") as file:
                for chunk in response.stream(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
            return ObjectRef(key, size, digest.hexdigest()), _type_of(response.headers)
        finally:
            response.close()
            response.release_conn()

    @retried
    def list(self, prefix: str) -> tuple[StoredObject, ...]:
        """Every object under the folder ``prefix``, by key."""
        found = self._client.list_objects(self.bucket, check_key(prefix) + "/", recursive=True)
        return tuple(
            StoredObject(item.object_name, item.size or 0, item.last_modified or datetime.now(UTC))
            for item in found
            if item.object_name and not item.is_dir
        )

    @retried
    def delete(self, key: str) -> None:
        """Delete an object; no error if it is not there."""
        self._client.remove_object(self.bucket, check_key(key))

    @retried
    def delete_prefix(self, prefix: str) -> int:
        """Delete every object under the folder ``prefix``; returns how many there were."""
        found = self.list(prefix)
        doomed = [DeleteObject(item.key) for item in found]
        for error in self._client.remove_objects(self.bucket, doomed):
            raise ConnectionError(f"{error.name}: {error.message}")  # retried, then Unavailable
        return len(found)

    def presigned_get(self, key: str, expires: timedelta, filename: str | None = None) -> str:
        """A URL that whoever has it may read; ``filename`` is what a browser saves it as."""
        headers: dict[str, str | list[str] | tuple[str]] = {}
        if filename is not None:
            if not re.fullmatch(r"[\w.-]{1,128}", filename, re.ASCII):
                raise InputError(
                    f"file name {filename!r} is not plain",
                    reason="INVALID_FILENAME",
                    remedy="Use letters, digits, dots, dashes and underscores.",
                )
            headers["response-content-disposition"] = f'attachment; filename="{filename}"'
        return self._presigner.presigned_get_object(
            self.bucket, check_key(key), expires, response_headers=headers
        )

    def presigned_put(
        self, key: str, expires: timedelta, size_bytes: int, content_type: str
    ) -> UploadTicket:
        """Lets a stranger store one object of exactly this size and type under this key."""
        headers = {"content-length": str(size_bytes), "content-type": content_type}
        now = datetime.now(UTC)
        base = self._settings.public_url or self._settings.url
        url = presigned_put(
            f"{base}/{self.bucket}/{quote(check_key(key))}",
            region=self._settings.region,
            access_key=self._settings.access_key.get_secret_value(),
            secret_key=self._settings.secret_key.get_secret_value(),
            now=now,
            expires=expires,
            headers=headers,
        )
        return UploadTicket(url, tuple(headers.items()), now + expires)

    @retried
    def _put(self, key: str, opener: _Opener, size: int, content_type: str) -> ObjectRef:
        with opener() as source:
            hashing = _Hashing(source)
            self._client.put_object(
                self.bucket,
                check_key(key),
                cast(BinaryIO, hashing),
                size,
                content_type,
                part_size=_PART_BYTES,
                num_parallel_uploads=1,
            )
        return ObjectRef(key, size, hashing.digest.hexdigest())

    @retried
    def _get(self, ref: ObjectRef, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        digest, size = hashlib.sha256(), 0
        response = self._client.get_object(self.bucket, ref.key)
        try:
            for chunk in response.stream(_CHUNK_BYTES):
                size += len(chunk)
                if size > ref.size_bytes:
                    break
                digest.update(chunk)
                file.write(chunk)
        finally:
            response.close()
            response.release_conn()
        if size != ref.size_bytes or digest.hexdigest() != ref.sha256:
            raise CorruptData(
                f"object {ref.key} is not the one that was stored: size or SHA-256 differs",
                reason="CHECKSUM_MISMATCH",
                remedy="Make it anew; check the disks of the object store.",
            )


def _type_of(headers: Mapping[str, str]) -> str:
    return headers.get("content-type") or "application/octet-stream"


def check_key(key: str) -> str:
    """``key``, if it is a plain path that every S3 server and file system takes.

    Raises:
        InputError: empty parts, ``.``, ``..``, control characters, or longer than 512 bytes.
    """
    parts = key.split("/")
    plain = all(re.fullmatch(r"[\w.,=+@ -]{1,200}", part, re.ASCII) for part in parts)
    reserved = any(part in (".", "..") or part.startswith(".rclone_temp_") for part in parts)
    if not plain or reserved or len(key) > 512:
        raise InputError(
            f"object key {key!r} is not allowed",
            reason="INVALID_KEY",
            remedy="Use letters, digits and . , = + @ - _ between single slashes.",
        )
    return key
