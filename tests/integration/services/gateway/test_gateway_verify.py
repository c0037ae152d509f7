"""POST /v1/verify: whoever holds a file learns whether it was made here."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest
from gateway_suite import WEB, House, Tenant, until

from services.common.jobs.connect import connect
from services.common.marks import MarkRecord, record_mark
from synctalk.media import VideoReader, VideoWriter
from synctalk.provenance import Claim, Provenance, Stamp, sign_file


@pytest.fixture(scope="module")
def made_here(house: House) -> Provenance:
    """As the gateway's: with the development key, for the suite sets none."""
    return Provenance(folder=house.suite.folder / "provenance")


@pytest.fixture(scope="module")
def frames(shared_data: Path, made_here: Provenance) -> list:
    """Marked with 77."""
    reader = VideoReader(shared_data / "video/speech_20s_450.mp4")
    found = list(reader.iter_yuv(0, 10))
    stamp = Stamp(made_here, 77, 450, 450, label=False)
    for frame in found:
        stamp(frame)
    return found


@pytest.fixture(scope="module")
def video(frames: list, made_here: Provenance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signed."""
    path = tmp_path_factory.mktemp("verify") / "dub.mp4"
    with VideoWriter(path, 450, 450) as writer:
        for frame in frames:
            writer.write_yuv(frame)
    sign_file(path, path, Claim("dub.mp4", 77, "cd" * 32), made_here.signer())
    return path


def uploaded(tenant: Tenant, data: bytes, kind: str = "video") -> str:
    body = {
        "filename": "file", "content_type": "application/octet-stream",
        "size_bytes": len(data), "kind": kind,
    }  # fmt: skip
    ticket = tenant.post("/v1/uploads", body)
    WEB.put(ticket["url"], headers=ticket["headers"], content=data).raise_for_status()
    return str(ticket["id"])


def test_the_maker_learns_what_the_video_was_made_for_and_others_that_it_is_ours(
    house: House, new_tenant: Callable[[], Tenant], video: Path
) -> None:
    maker, other = new_tenant(), new_tenant()
    base = f"tenants/{maker.name}"
    record = MarkRecord(
        name=f"{base}/dubs/dub_1", avatar_version=f"{base}/avatars/av_1/versions/2", made_s=1e9
    )

    async def note() -> None:
        async with connect(house.suite.servers.state.redis_url) as redis:
            await record_mark(redis, 77, record)

    asyncio.run(note())
    found = maker.post("/v1/verify", {"upload": uploaded(maker, video.read_bytes())})
    assert (found["verdict"], found["signature"]) == ("signed", "trusted")
    assert found["development"]
    assert found["mark"]["id"] == found["signed_mark"] == f"{77:012x}"
    assert (found["mark"]["made_for"], found["mark"]["avatar"]) == ("dub_1", "av_1")
    assert found["mark"]["made_at"].startswith("2001-09-09")
    assert found["manifest"]["validation_state"] == "Trusted"

    seen = other.post("/v1/verify", {"upload": uploaded(other, video.read_bytes())})
    assert seen["verdict"] == "signed"
    assert seen["mark"]["known"]
    assert maker.name not in str(seen)
    assert seen["mark"]["made_for"] is None


def test_a_screenshot_is_watermarked(tenant: Tenant, frames: list) -> None:
    _, picture = cv2.imencode(".png", frames[3].y)
    found = tenant.post("/v1/verify", {"upload": uploaded(tenant, picture.tobytes(), "image")})
    assert (found["verdict"], found["signature"]) == ("watermarked", "none")
    assert found["mark"]["id"] == f"{77:012x}"


def test_what_cannot_be_looked_at_is_refused_by_name(
    tenant: Tenant, new_tenant: Callable[[], Tenant]
) -> None:
    junk = uploaded(tenant, b"This is no video.\n" * 100)
    status, error = tenant.refused("POST", "/v1/verify", {"upload": junk})
    assert (status, error["code"], error["param"]) == (422, "NOT_MEDIA", "upload")
    assert "/tmp" not in error["message"]
    sound = tenant.upload("audio")
    status, error = tenant.refused("POST", "/v1/verify", {"upload": sound})
    assert (status, error["code"]) == (422, "UPLOAD_OF_WRONG_KIND")
    status, error = new_tenant().refused("POST", "/v1/verify", {"upload": junk})
    assert status == 404 or error["code"] == "UPLOAD_NOT_FOUND"


def test_a_file_that_ends_its_verifier_is_not_shown_to_it_again(
    house: House, tenant: Tenant, video: Path
) -> None:
    (service,) = (
        each for each in house.suite.running if each.module == "services.preprocess serve"
    )
    stored = uploaded(tenant, video.read_bytes())
    until(lambda: not service.children())  # of those who have asked before
    shown = service.metric("grpc_server_started_total", grpc_method="VerifyFile")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(tenant.refused, "POST", "/v1/verify", {"upload": stored})
        until(lambda: bool(service.children()))
        for child in service.children():
            os.kill(child, signal.SIGKILL)
        status, error = answer.result()
    assert (status, error["code"]) == (503, "VERIFY_FAILED")
    again = service.metric("grpc_server_started_total", grpc_method="VerifyFile") - shown
    assert again == 1
