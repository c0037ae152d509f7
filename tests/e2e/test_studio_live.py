"""Live sessions in a real browser, on a real suite."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from harness import Made, until
from live_recording import (
    Recording,
    Told,
    forget,
    likeness,
    read_script,
    record,
    recorded,
    told,
)
from playwright.sync_api import Page, expect
from studio_browser import PLAYS, Visits

from services.cli.api import Api

pytestmark = pytest.mark.realtime
FOLLOWS = 0.5
"""Likeness of the mouth that is seen and the dub's: 0.80 to 0.87, and 0.72 beside three processes
that are busy; shuffled and shifted mouths have less than 0.2, as a rule.
"""
HEARD = 0.8
"""Likeness of what is played and the file: Opus and a busy browser change it a little."""
ENOUGH, MOST = 60, 5
"""Pictures of a telling, and tellings: beside busy processes pictures come late, each telling's by
another time, and sound is garbled. Then it is told again.
"""


@pytest.mark.parametrize("way", ["WebRTC", "WebSocket"])
def test_talking_live(visits: Visits, owner: Made, speech: Path, way: str) -> None:
    api = owner.tenant.api
    with visits() as tab:
        page, state = tab.go("live"), tab.page.locator(".live-state")
        session = begin(page, api, way)
        assert not speaking(api, session)
        page.locator("input[type=file]").set_input_files(speech)
        until(lambda: speaking(api, session), "it says the file")
        page.get_by_role("button", name="Interrupt").click()
        expect(state).to_contain_text("Interrupted after")
        until(lambda: not speaking(api, session), "it is silent")
        page.get_by_role("button", name="Use the microphone").click()
        until(lambda: speaking(api, session), "it says what the microphone hears")
        expect(page.get_by_role("term").filter(has_text="Frames a second, sent")).to_be_visible()
        page.get_by_role("button", name="End the session").click()
        expect(page.get_by_role("button", name="Start the session")).to_be_focused()
        until(lambda: session not in sessions(api), "the session is gone")


def test_a_browser_sees_the_avatars_mouth_do_what_it_does_in_a_dub(
    visits: Visits, owner: Made, speech: Path, tmp_path: Path
) -> None:
    api = owner.tenant.api
    script = read_script(owner.tenant.fetch(owner.dub["video_url"], tmp_path / "dub.mp4"))
    with visits() as tab:
        page, state = tab.go("live"), tab.page.locator(".live-state")
        session = begin(page, api, "WebRTC")
        record(page)
        tries: list[str] = []
        while True:
            said = say(page, api, session, speech)
            page.get_by_role("button", name="Choose another").click()
            if why := wrong_with(told([said], script)):
                tries.append(why)
                assert len(tries) < MOST, tries
            else:
                break
        page.locator("input[type=file]").set_input_files(speech)
        until(lambda: speaking(api, session), "it says the file again")
        page.get_by_role("button", name="Interrupt").click()
        expect(state).to_contain_text("Interrupted after")
        page.wait_for_function(
            "() => window.recorded.slice(-5).every(([, rms]) => Math.max(...rms) < 1e-3)",
            timeout=90_000,
        )
        forget(page)
        page.wait_for_function("() => window.recorded.length > 50", timeout=90_000)
        rest = recorded(page)
        page.get_by_role("button", name="End the session").click()
    assert min(said.faces, rest.faces) > 0.95
    # A resting mouth is a little open, and moves a little: widely opened it is not.
    assert rest.widest < 0.8 * said.widest


def wrong_with(said: Told) -> str:
    """What keeps the mouth from going with the sound as no still, shuffled or shifted one does."""
    n = len(said.opening)
    if said.heard <= HEARD or n < ENOUGH:
        return f"{n} pictures, {said.heard:.2f} of the sound"
    others = [np.random.default_rng(seed).permutation(said.opening) for seed in range(20)]
    others += [np.roll(said.opening, by) for by in range(n // 8, n - n // 8, max(1, n // 40))]
    found = likeness(said.opening, said.meant)
    by_chance = np.quantile([likeness(other, said.meant) for other in others], 0.8)
    assert likeness(np.full_like(said.opening, 0.1), said.meant) < FOLLOWS
    needed = max(FOLLOWS, by_chance)
    return "" if found > needed else f"{found:.2f} of the dub's mouth, {needed:.2f} wanted"


def say(page: Page, api: Api, session: str, speech: Path) -> Recording:
    """What the page shows and plays while the avatar says the file."""
    forget(page)
    page.locator("input[type=file]").set_input_files(speech)
    until(lambda: speaking(api, session), "it says the file")
    expect(page.locator(".live-state")).to_contain_text("said everything", timeout=120_000)
    return recorded(page)


def begin(page: Page, api: Api, way: str) -> str:
    """Start a session; its id, when it plays. A suite too busy for one is asked again."""
    page.get_by_label("Connection").select_option(f"{way} only")
    page.get_by_label("Size").select_option("256 × 256")
    state, ended = page.locator(".live-state"), re.compile(rf"Connected by {way}|No session\.")
    for _ in range(MOST):
        page.get_by_role("button", name="Start the session").click()
        expect(state).to_contain_text(re.compile("Connect"), timeout=90_000)
        expect(state).to_contain_text(ended, timeout=90_000)
        if "Connected" in state.inner_text():
            break
    expect(state).to_contain_text(f"Connected by {way}")
    page.wait_for_function(f"() => ({PLAYS})(document.querySelector('video'))", timeout=90_000)
    return sessions(api)[0]


def sessions(api: Api) -> list[str]:
    return [each["id"] for each in api.list("sessions", 10)]


def speaking(api: Api, session_id: str) -> bool:
    return bool(api.get(f"sessions/{session_id}")["speaking"])
