"""VerificationService as a process: whose files it looks at, how many, and for whom no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import grpc
import pytest
from suite import RunningService, Suite, on, wait_until

from services.common.errors import NotFound
from services.common.local import LocalServers
from services.common.provenance import ProvenanceSettings
from services.common.storage import ObjectStore
from services.gen.avatar.v1 import verification_pb2 as pb
from services.gen.avatar.v1.verification_pb2_grpc import VerificationServiceStub
from services.preprocess import verification
from synctalk.errors import InputError
from synctalk.media import VideoReader, VideoWriter
from synctalk.provenance import Claim, Provenance, Stamp, Verification, sign_file

KEY = "the watermark key of these tests"
UPLOAD = "tenants/verifying/uploads/up_1/video.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verification")


@pytest.fixture(scope="module")
def server(
    local_servers: LocalServers, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    suite = Suite(local_servers, folder)
    (folder / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(folder / "tmp"))
        running = suite.start("services.preprocess serve", PROVENANCE__KEY=KEY)
    yield running
    suite.stop()


@pytest.fixture(scope="module")
def upload(object_store: ObjectStore, folder: Path, shared_data: Path) -> str:
    """Marked with 99, and signed as if it were 98."""
    path = folder / "dub.mp4"
    ours = Provenance(key=KEY.encode(), folder=folder / "provenance")
    stamp = Stamp(ours, 99, 450, 450, label=False)
    with VideoWriter(path, 450, 450) as writer:
        for frame in VideoReader(shared_data / "video/speech_20s_450.mp4").iter_yuv(0, 10):
            stamp(frame)
            writer.write_yuv(frame)
    sign_file(path, path, Claim("dub.mp4", 98, "cd" * 32), ours.signer())
    object_store.put_file(UPLOAD, path, "video/mp4")
    return UPLOAD


def asked(tenant: str, key: str) -> pb.VerifyFileRequest:
    return pb.VerifyFileRequest(parent=f"tenants/{tenant}", upload_key=key)


def verify(server: RunningService, tenant: str, key: str) -> pb.VerifyFileResponse:
    async def ask(channel: grpc.aio.Channel) -> pb.VerifyFileResponse:
        return await VerificationServiceStub(channel).VerifyFile(asked(tenant, key), timeout=60)

    return asyncio.run(on(server.target, ask))


def test_a_file_is_told_by_the_key_and_the_authority_of_the_settings(
    server: RunningService, upload: str
) -> None:
    found = verify(server, "verifying", upload)
    assert found.verdict == pb.VERDICT_SIGNED
    assert found.signature == pb.SIGNATURE_TRUSTED
    assert (found.mark.id, found.signed_mark_id) == (99, 98)
    assert not found.mark.development
    assert found.development  # the certificate is
    assert "another video" in found.words
    assert "validation_state" in found.manifest_json


def test_only_what_the_tenant_has_stored_is_looked_at(server: RunningService, upload: str) -> None:
    for tenant, key in (("other", upload), ("verifying", "tenants/verifying/uploads/up_2/a.mp4")):
        with pytest.raises(NotFound):
            verify(server, tenant, key)


def test_a_third_file_at_once_is_put_off(server: RunningService, object_store: ObjectStore) -> None:
    junk = "tenants/verifying/uploads/up_3/junk.mp4"
    object_store.put_bytes(junk, b"This is no video.\n" * 100)

    async def ask(channel: grpc.aio.Channel) -> list[object]:
        stub = VerificationServiceStub(channel)
        calls = [stub.VerifyFile(asked("verifying", junk), timeout=60) for _ in range(3)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    answers = asyncio.run(on(server.target, ask))
    codes = sorted(each.code().name for each in answers if isinstance(each, grpc.aio.AioRpcError))
    assert codes == ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"]


def test_who_has_left_leaves_no_process_and_no_file(
    server: RunningService, upload: str, folder: Path
) -> None:
    async def leave(channel: grpc.aio.Channel) -> None:
        call = VerificationServiceStub(channel).VerifyFile(asked("verifying", upload), timeout=60)
        await wait_until(lambda: bool(server.children()))
        call.cancel()
        await wait_until(lambda: not server.children() and not list((folder / "tmp").iterdir()))

    asyncio.run(on(server.target, leave))


def test_a_file_beyond_the_limit_is_not_fetched(
    object_store: ObjectStore, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MAX_BYTES", 1000)
    monkeypatch.setattr(object_store, "fetch", None)
    verifier = verification.Verifier(object_store, ProvenanceSettings())
    with pytest.raises(InputError) as error:
        asyncio.run(verifier.verify("verifying", upload))
    assert error.value.reason == "FILE_TOO_LARGE"


def test_what_a_verifier_says_is_what_the_service_takes() -> None:
    assert [f.name for f in fields(Verification)] == [f.name for f in fields(verification.Found)]
