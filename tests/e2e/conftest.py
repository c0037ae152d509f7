"""One suite for all end-to-end tests: starting it is what costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from harness import Made, Suite, Tenant, cut_sound, running_suite
from playwright.sync_api import Browser
from studio_browser import Visit, Visits, open_browser, visit
from tiny import cut_video, shrink_video

from services.common.local_server import free_port

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
SETTINGS = {
    "SUITE_RENDERERS": "2",
    "SUITE_WORKERS": "1",
    # what is tried here is the way of an avatar, not how good it becomes
    "AVATAR_TRAINER_STEPS": "150",
    # kills come faster here than in life
    "AVATAR_JOBS__MAX_ATTEMPTS": "30",
    "AVATAR_JOBS__BACKOFF_BASE_S": "0.5",
    "AVATAR_JOBS__LEASE_S": "6",
    "AVATAR_JOBS__SWEEP_DELAY_S": "2",
    # machines that test are busy: frames may come late, and sessions are not refused for it
    "AVATAR_LIVE__DELAY_MS": "1000",
    "AVATAR_RENDERER_MAX_LATE_SHARE": "1",
    # strangers reach no private address, and attack faster than tenants ask
    "AVATAR_WEBHOOK_ALLOW_PRIVATE": "false",
    "AVATAR_RATE_PER_S": "1000",
    "AVATAR_RATE_BURST": "5000",
}


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """All services, as `avatar up` starts them."""
    settings = SETTINGS | {"AVATAR_GATEWAY_PORT": str(free_port())}
    with running_suite(tmp_path_factory.mktemp("suite"), settings) as running:
        yield running


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of the invented person."""
    out = tmp_path_factory.mktemp("video") / "portrait.mp4"
    cut_video(SAMPLES / "portrait.mp4", out, 12)
    return out


@pytest.fixture(scope="session")
def small_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with fewer pixels, for those whose pictures nobody looks at; its lips are worse."""
    out = tmp_path_factory.mktemp("small") / "portrait.mp4"
    shrink_video(SAMPLES / "portrait.mp4", out, 12, 256)
    return out


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds of another voice."""
    return cut_sound(SAMPLES / "speech.wav", tmp_path_factory.mktemp("speech") / "hello.wav", 5)


@pytest.fixture(scope="session")
def made(suite: Suite, video: Path, small_video: Path, speech: Path) -> Mapping[str, Made]:
    """Two tenants, and the avatar and dub that each had made at the same time."""
    videos = {"acme": small_video, "umbrella": video}

    def go(tenant: Tenant) -> Made:
        audio = tenant.upload_audio(speech)
        avatar = tenant.wait(f"avatars/{tenant.create_avatar(videos[tenant.name])['id']}")
        assert avatar["state"] == "ready", avatar["error"]
        dub = tenant.create_dub(avatar["id"], audio, text="Hello from an invented person.")
        return Made(tenant, avatar, tenant.wait(f"dubs/{dub['id']}"))

    tenants = [suite.tenant(name) for name in videos]
    with ThreadPoolExecutor(len(tenants)) as pool:
        return {made.tenant.name: made for made in pool.map(go, tenants)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(made: Mapping[str, Made]) -> Made:
    """Who has a ready avatar and a dub; the other tenant's are erased by another test."""
    return made["umbrella"]


@pytest.fixture
def visits(browser: Browser, suite: Suite, owner: Made) -> Visits:
    """Opens signed-in tabs: ``visits()``, ``visits(color_scheme="dark")``, ``visits(key="")``."""

    def open_tab(key: str = owner.tenant.key, **options: object) -> AbstractContextManager[Visit]:
        return visit(browser, suite.settings.url, key, **options)

    return open_tab
