"""Upload, avatar, dub, signed URL, playable MP4: two tenants at once, through the public API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from harness import Suite, Tenant

from services.cli.api import Resource
from services.common.errors import NotFound
from synctalk.errors import InputError

NAMES = ("acme", "umbrella")


@pytest.fixture(scope="module")
def tenants(suite: Suite) -> tuple[Tenant, ...]:
    return tuple(suite.tenant(name) for name in NAMES)


@pytest.fixture(scope="module")
def made(
    tenants: tuple[Tenant, ...], video: Path, speech: Path
) -> tuple[tuple[Resource, Resource], ...]:
    """Avatar and dub of each tenant, made at the same time."""

    def go(tenant: Tenant) -> tuple[Resource, Resource]:
        audio = tenant.upload_audio(speech)
        avatar = tenant.wait(f"avatars/{tenant.create_avatar(video)['id']}")
        dub = tenant.create_dub(avatar["id"], audio, text="Hello from an invented person.")
        return avatar, tenant.wait(f"dubs/{dub['id']}")

    with ThreadPoolExecutor(len(tenants)) as pool:
        return tuple(pool.map(go, tenants))


def test_each_gets_an_avatar_that_was_measured(made: tuple[tuple[Resource, Resource], ...]) -> None:
    for avatar, _ in made:
        assert avatar["state"] == "ready", avatar["error"]
        assert avatar["version"] == 1
        assert avatar["quality"]
        assert 25 < avatar["metrics"]["held_out_psnr_db"] < 50


def test_each_gets_a_video_that_plays(
    made: tuple[tuple[Resource, Resource], ...], tenants: tuple[Tenant, ...], tmp_path: Path
) -> None:
    for tenant, (_, dub) in zip(tenants, made, strict=True):
        assert dub["state"] == "succeeded", dub["error"]
        path = tenant.fetch(dub["video_url"], tmp_path / f"{tenant.name}.mp4")
        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
        with av.open(str(path)) as container:
            samples = sum(frame.samples for frame in container.decode(audio=0))
            rate = container.streams.audio[0].rate
        assert len(frames) == 125
        assert abs(samples / rate - 5) < 0.1
        assert np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)]) > 0
        assert httpx.get(dub["captions_vtt_url"]).text.startswith("WEBVTT")


def test_a_signed_url_is_good_for_its_object_alone(
    made: tuple[tuple[Resource, Resource], ...],
) -> None:
    (_, ours), (_, theirs) = made
    forged = theirs["video_url"].replace("umbrella", "acme").replace(theirs["id"], ours["id"])
    assert httpx.get(forged).status_code == 403


def test_tenants_never_see_each_other(
    made: tuple[tuple[Resource, Resource], ...], tenants: tuple[Tenant, ...]
) -> None:
    (avatar, dub), _ = made
    stranger = tenants[1].api
    jobs = [job["id"] for job in avatar["jobs"]]
    paths = [f"avatars/{avatar['id']}", f"dubs/{dub['id']}", *(f"jobs/{job}" for job in jobs)]
    for path in paths:
        assert tenants[0].api.get(path)
        with pytest.raises(NotFound):
            stranger.get(path)
    for path in paths[:2]:
        with pytest.raises(NotFound):
            stranger.delete(path)
    for job in jobs:
        with pytest.raises(NotFound):
            stranger.get(f"jobs/{job}/log")
    with pytest.raises(InputError, match="no avatar"):
        stranger.post("dubs", {"avatar": avatar["id"], "audio": "up_x"})
    for collection in ("avatars", "dubs", "jobs", "consents", "events"):
        mine = {item["id"] for item in tenants[0].api.list(collection, 100)}
        others = {item["id"] for item in stranger.list(collection, 100)}
        assert mine
        assert not mine & others, collection


def test_an_erased_avatar_leaves_nothing(
    suite: Suite, made: tuple[tuple[Resource, Resource], ...], tenants: tuple[Tenant, ...]
) -> None:
    from services.suite.storage import store

    (avatar, dub), (other, _) = made
    prefix = f"tenants/acme/avatars/{avatar['id']}/"
    objects = store(suite.settings)
    assert list(objects.list(prefix))
    said = tenants[0].api.delete(f"avatars/{avatar['id']}", dubs="true")
    assert said["erased"]["objects"] > 0
    assert not list(objects.list(prefix))
    assert not list(objects.list(f"tenants/acme/dubs/{dub['id']}/"))
    with pytest.raises(NotFound):
        tenants[0].api.get(f"avatars/{avatar['id']}")
    assert list(objects.list(f"tenants/umbrella/avatars/{other['id']}/"))
