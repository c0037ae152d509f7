"""Object storage against a real S3 server: what comes back is what went in, or an error says so."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from minio import Minio
from pydantic import SecretStr

from services.common import storage
from services.common.artifacts import ArtifactRef, artifact_files, download_folder, upload_folder
from services.common.errors import (
    AlreadyExists,
    ConfigurationError,
    CorruptData,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from services.common.local import LocalServers
from services.common.presign import presigned_put
from services.common.settings import StorageSettings
from services.common.storage import ObjectRef, ObjectStore, UploadTicket
from synctalk.errors import InputError

HOUR = timedelta(hours=1)


def on_disk(servers: LocalServers, key: str) -> Path:
    return servers.folder / "objects" / "avatar" / key


def send(ticket: UploadTicket, body: bytes | Iterator[bytes], **changed: str) -> int:
    headers = {**dict(ticket.headers), **changed}
    return urllib3.request("PUT", ticket.url, body=body, headers=headers, retries=False).status


def test_bytes_and_files_come_back_as_they_were(object_store: ObjectStore, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "deep" / "copy"
    source.write_bytes(os.urandom(100_000))
    ref = object_store.put_file("round/trip.bin", source)
    object_store.get_file(ref, copy)
    assert copy.read_bytes() == source.read_bytes()
    assert object_store.get_bytes(ref) == source.read_bytes()
    assert object_store.reference("round/trip.bin") == ref
    assert object_store.stat(ref.key).size_bytes == 100_000
    assert object_store.get_bytes(object_store.put_bytes("round/empty", b"")) == b""


def test_large_files_go_up_in_parts(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_PART_BYTES", 5 << 20)
    parts: list[int] = []
    upload = Minio._upload_part

    def spy(client: Minio, bucket: str, key: str, data: bytes, *rest: Any) -> str:
        parts.append(len(data))
        return upload(client, bucket, key, data, *rest)

    monkeypatch.setattr(Minio, "_upload_part", spy)
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(12 << 20))
    ref = object_store.put_file("parts/large.bin", source)
    assert sorted(parts) == [2 << 20, 5 << 20, 5 << 20]
    object_store.get_file(ref, copy)
    assert copy.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_damage_on_the_servers_disk_is_noticed(
    object_store: ObjectStore, local_servers: LocalServers, tmp_path: Path, damage: str
) -> None:
    ref = object_store.put_bytes(f"damaged/{damage}", b"0123456789" * 1000)
    stored = on_disk(local_servers, ref.key)
    good = stored.read_bytes()
    stored.write_bytes(b"x" + good[1:] if damage == "flip" else good[:-1])
    with pytest.raises(CorruptData) as caught:
        object_store.get_file(ref, tmp_path / "copy")
    assert caught.value.reason == "CHECKSUM_MISMATCH"
    assert list(tmp_path.iterdir()) == []


def test_listing_and_deleting_keep_to_the_folder(object_store: ObjectStore) -> None:
    for key in ("tree/a/1", "tree/a/b/2", "tree/ab/3"):
        object_store.put_bytes(key, key.encode())
    assert [item.key for item in object_store.list("tree/a")] == ["tree/a/1", "tree/a/b/2"]
    assert object_store.delete_prefix("tree/a") == 2
    assert [item.key for item in object_store.list("tree")] == ["tree/ab/3"]
    object_store.delete("tree/ab/3")
    object_store.delete("tree/ab/3")
    assert not object_store.exists("tree/ab/3")
    assert object_store.delete_prefix("tree") == 0
    with pytest.raises(NotFound):
        object_store.get_bytes(ObjectRef("tree/ab/3", 9, "0" * 64))


def test_a_presigned_link_reads_one_object(object_store: ObjectStore) -> None:
    object_store.put_bytes("links/one", b"one")
    object_store.put_bytes("links/two", b"two")
    url = object_store.presigned_get("links/one", HOUR, filename="hello.txt")
    response = urllib3.request("GET", url)
    assert response.data == b"one"
    assert parse_qs(urlsplit(url).query)["response-content-disposition"] == [
        'attachment; filename="hello.txt"'
    ]
    assert urllib3.request("GET", url.replace("links/one", "links/two")).status == 403


def test_a_ticket_takes_what_it_was_made_for_and_nothing_else(object_store: ObjectStore) -> None:
    ticket = object_store.presigned_put("tickets/my video", HOUR, 1000, "video/mp4")
    assert send(ticket, b"x" * 1000) == 200
    ref = object_store.reference("tickets/my video")
    assert object_store.get_bytes(ref) == b"x" * 1000
    object_store.delete(ref.key)

    assert send(ticket, b"x" * 1001, **{"content-length": "1001"}) == 403
    assert send(ticket, b"x" * 999, **{"content-length": "999"}) == 403
    assert send(ticket, b"x" * 1000, **{"content-type": "text/html"}) == 403
    moved = replace(ticket, url=ticket.url.replace("my%20video", "another"))
    assert send(moved, b"x" * 1000) == 403
    chunked = replace(ticket, headers=(("content-type", "video/mp4"),))
    assert send(chunked, iter([b"x" * 1000, b"x" * 5000])) == 403
    assert object_store.list("tickets") == ()


def test_a_ticket_cannot_be_stretched_by_a_body_longer_than_it_says(
    object_store: ObjectStore, storage_settings: StorageSettings
) -> None:
    ticket = object_store.presigned_put("tickets/long", HOUR, 10, "video/mp4")
    host = urlsplit(storage_settings.url)
    assert host.hostname is not None
    with socket.create_connection((host.hostname, host.port or 80), timeout=10) as connection:
        target = ticket.url.removeprefix(storage_settings.url)
        connection.sendall(
            f"PUT {target} HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Type: video/mp4\r\n"
            f"Content-Length: 10\r\nConnection: close\r\n\r\n".encode()
            + b"x" * 50
        )
        assert b" 200 " in connection.recv(100)
    assert object_store.stat("tickets/long").size_bytes == 10


def test_a_ticket_expires(object_store: ObjectStore, storage_settings: StorageSettings) -> None:
    def ticket(issued: datetime) -> UploadTicket:
        headers = {"content-length": "9", "content-type": "video/mp4"}
        url = presigned_put(
            f"{storage_settings.url}/avatar/tickets/late",
            region="us-east-1",
            access_key=storage_settings.access_key.get_secret_value(),
            secret_key=storage_settings.secret_key.get_secret_value(),
            now=issued,
            expires=HOUR,
            headers=headers,
        )
        return UploadTicket(url, tuple(headers.items()), issued + HOUR)

    assert send(ticket(datetime.now(UTC) - 2 * HOUR), b"x" * 9) in (400, 403)
    assert not object_store.exists("tickets/late")
    assert send(ticket(datetime.now(UTC)), b"x" * 9) == 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "plates").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "plates" / "head.mp4").write_bytes(os.urandom(5000))
    return folder


def test_a_folder_comes_back_whole(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    artifact = upload_folder(object_store, folder, "artifacts/whole")
    download_folder(object_store, artifact, tmp_path / "copy")
    for name in ("manifest.json", "plates/head.mp4"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    head = artifact_files(object_store, artifact)["plates/head.mp4"]
    assert len(object_store.get_bytes(head)) == 5000
    with pytest.raises(AlreadyExists):
        download_folder(object_store, artifact, tmp_path / "copy")


def test_a_damaged_folder_does_not_appear(
    object_store: ObjectStore, local_servers: LocalServers, folder: Path, tmp_path: Path
) -> None:
    artifact = upload_folder(object_store, folder, "artifacts/damaged")
    on_disk(local_servers, "artifacts/damaged/manifest.json").write_text("[]")
    with pytest.raises(CorruptData):
        download_folder(object_store, artifact, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_listing_that_was_swapped_is_noticed(
    object_store: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    artifact = upload_folder(object_store, folder, "artifacts/swapped")
    (folder / "manifest.json").write_text('{"evil": true}')
    upload_folder(object_store, folder, "artifacts/swapped")
    with pytest.raises(CorruptData):
        download_folder(object_store, artifact, tmp_path / "copy")


def test_links_do_not_leave_the_machine(object_store: ObjectStore, folder: Path) -> None:
    (folder / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="passwords"):
        upload_folder(object_store, folder, "artifacts/links")


def test_attempts_on_keys_of_their_own_never_mix(object_store: ObjectStore, tmp_path: Path) -> None:
    artifacts: dict[int, ArtifactRef] = {}

    def attempt(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "number").write_text(str(number) * 1000)
        artifacts[number] = upload_folder(object_store, folder, f"job/attempts/{number}")

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, artifact in artifacts.items():
        (ref,) = artifact_files(object_store, artifact).values()
        assert object_store.get_bytes(ref) == str(number).encode() * 1000


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/./b", "a\nb", "ä", "a/.rclone_temp_x", "x" * 600]
)
def test_keys_that_some_server_would_misread_are_refused(
    object_store: ObjectStore, key: str
) -> None:
    with pytest.raises(InputError) as caught:
        object_store.put_bytes(key, b"")
    assert caught.value.reason == "INVALID_KEY"


def test_wrong_keys_and_a_missing_bucket_are_told_apart(storage_settings: StorageSettings) -> None:
    wrong = storage_settings.model_copy(update={"secret_key": SecretStr("not it")})
    with pytest.raises(PermissionDenied, match="keys"):
        ObjectStore(wrong).put_bytes("a", b"")
    elsewhere = storage_settings.model_copy(update={"bucket": "nowhere"})
    with pytest.raises(ConfigurationError, match="bucket"):
        ObjectStore(elsewhere).put_bytes("a", b"")


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[LocalServers]:
    with LocalServers.start(tmp_path / "servers") as servers:
        yield servers


def test_work_goes_on_when_the_store_comes_back(
    own_servers: LocalServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = own_servers.state
    store = ObjectStore(
        StorageSettings(
            url=state.s3_url,
            access_key=SecretStr(state.access_key),
            secret_key=SecretStr(state.secret_key),
        )
    )
    store.ensure_bucket()
    first = store.put_bytes("first", b"1")
    own_servers.store.kill()
    restart = threading.Thread(target=own_servers.restart_dead)
    restart.start()
    second = store.put_bytes("second", b"2")
    restart.join()
    assert (store.get_bytes(first), store.get_bytes(second)) == (b"1", b"2")

    own_servers.store.kill()
    monkeypatch.setattr("services.common.storage_errors._BASE_S", 0.0)
    with pytest.raises(Unavailable) as caught:
        store.get_bytes(first)
    assert caught.value.reason == "STORAGE_UNAVAILABLE"
    assert state.secret_key not in str(caught.value)
