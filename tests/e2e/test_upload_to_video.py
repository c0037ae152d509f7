"""Upload, avatar, dub, signed URL, playable MP4: two tenants at once, through the public API."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from harness import Made, Suite

from services.common.errors import NotFound
from services.suite.storage import store
from synctalk.errors import InputError


def test_each_gets_an_avatar_that_was_measured(made: Mapping[str, Made]) -> None:
    for one in made.values():
        assert one.avatar["version"] == 1
        assert one.avatar["quality"]
        assert 25 < one.avatar["metrics"]["held_out_psnr_db"] < 50


def test_each_gets_a_video_that_plays(made: Mapping[str, Made], tmp_path: Path) -> None:
    for one in made.values():
        assert one.dub["state"] == "succeeded", one.dub["error"]
        path = one.tenant.fetch(one.dub["video_url"], tmp_path / f"{one.tenant.name}.mp4")
        with av.open(str(path)) as container:
            frames = [f.to_ndarray(format="gray") for f in container.decode(video=0)]
        with av.open(str(path)) as container:
            samples = sum(frame.samples for frame in container.decode(audio=0))
            rate = container.streams.audio[0].rate
        assert len(frames) == 125
        assert abs(samples / rate - 5) < 0.1
        assert np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)]) > 0
        assert httpx.get(one.dub["captions_vtt_url"]).text.startswith("WEBVTT")


def test_a_signed_url_is_good_for_its_object_alone(made: Mapping[str, Made]) -> None:
    ours, theirs = made["acme"].dub, made["umbrella"].dub
    forged = theirs["video_url"].replace("umbrella", "acme").replace(theirs["id"], ours["id"])
    assert httpx.get(forged).status_code == 403


def test_tenants_never_see_each_other(made: Mapping[str, Made]) -> None:
    ours, stranger = made["acme"], made["umbrella"].tenant.api
    jobs = [job["id"] for job in ours.avatar["jobs"]]
    whole = [f"avatars/{ours.avatar['id']}", f"dubs/{ours.dub['id']}"]
    paths = [*whole, *(f"jobs/{job}" for job in jobs), *(f"jobs/{job}/log" for job in jobs)]
    for path in paths:
        assert ours.tenant.api.get(path)
        with pytest.raises(NotFound):
            stranger.get(path)
    for path in whole:
        with pytest.raises(NotFound):
            stranger.delete(path)
    with pytest.raises(InputError, match="no avatar"):
        stranger.post("dubs", {"avatar": ours.avatar["id"], "audio": "up_x"})
    for collection in ("avatars", "dubs", "jobs", "consents", "events"):
        mine = {item["id"] for item in ours.tenant.api.list(collection, 100)}
        others = {item["id"] for item in stranger.list(collection, 100)}
        assert mine
        assert not mine & others, collection


def test_an_erased_avatar_leaves_nothing(suite: Suite, made: Mapping[str, Made]) -> None:
    ours, other = made["acme"], made["umbrella"]
    prefix = f"tenants/acme/avatars/{ours.avatar['id']}"
    objects = store(suite.settings)
    assert list(objects.list(prefix))
    said = ours.tenant.api.delete(f"avatars/{ours.avatar['id']}", dubs="true")
    assert said["erased"]["objects"] > 0
    assert not list(objects.list(prefix))
    assert not list(objects.list(f"tenants/acme/dubs/{ours.dub['id']}"))
    with pytest.raises(NotFound):
        ours.tenant.api.get(f"avatars/{ours.avatar['id']}")
    assert list(objects.list(f"tenants/umbrella/avatars/{other.avatar['id']}"))
