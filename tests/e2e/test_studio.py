"""The studio in a real browser, on a real suite."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest
from harness import Made, Suite
from playwright.sync_api import Page, expect
from studio_browser import PLAYS, Visit, Visits

from services.cli.api import Resource

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def pages(owner: Made) -> list[str]:
    """Every page, by its address."""
    own = [f"avatars/{owner.avatar['id']}", f"dubs/{owner.dub['id']}"]
    named = ["avatars", "avatars/new", "consents", "consents/new", "dubs", "dubs/new", "live"]
    return [*named, "keys", "webhooks", "system", *own]


def test_from_upload_to_a_video_that_plays(
    visits: Visits, owner: Made, video: Path, speech: Path
) -> None:
    with visits() as tab:
        page = tab.go("avatars/new")
        expect(page.locator("input[type=file]")).to_have_count(0)  # no upload before the consent
        give_consent(page, "Ivy Invented")
        upload_video(page, video, "Ivy")
        made_id = see_progress(page)
        cancel(page)
        delete(page, "Ivy")
        assert made_id not in ids(owner.tenant.api.list("avatars", 100))
        make_dub(tab, owner.avatar["id"], speech)
        watch(page)


def give_consent(page: Page, name: str) -> None:
    page.get_by_label("Who is in the video").fill(name)
    expect(page.get_by_label("What they agreed to")).to_have_value(re.compile(name))
    page.get_by_role("button", name="Record consent").click()
    expect(page.get_by_text("Without consent no avatar is made")).to_be_visible()
    page.get_by_label("This person has agreed").check()
    page.get_by_role("button", name="Record consent").click()
    expect(page.get_by_text(f"{name} agreed")).to_be_visible()


def upload_video(page: Page, video: Path, name: str) -> None:
    page.locator("input[type=file]").set_input_files(video)
    expect(page.get_by_text("12 s, 512 × 512")).to_be_visible()
    page.get_by_label("Name of the avatar").fill(name)
    page.get_by_label("Demo").check()
    page.get_by_role("button", name="Upload and make").click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def see_progress(page: Page) -> str:
    """Real work: it goes forward in the page that stays open, by events."""
    bar = page.get_by_role("progressbar", name="Making the avatar")
    expect(bar).to_be_visible()
    page.wait_for_function("() => document.querySelector('progress').value > 0.02", timeout=120_000)
    expect(page.locator("[aria-current=step]")).to_be_visible()
    return page.url.rpartition("/")[2]


def cancel(page: Page) -> None:
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("[data-state=cancelled]")).to_be_visible()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def delete(page: Page, name: str) -> None:
    page.get_by_role("button", name="Delete", exact=True).click()
    question = page.get_by_role("dialog", name=f"Delete {name}?")
    question.get_by_label("Also revoke the consent").check()
    question.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Avatars", exact=True)).to_be_visible()


def make_dub(tab: Visit, avatar: str, speech: Path) -> None:
    page = tab.go(f"dubs/new?avatar={avatar}")
    page.locator("input[type=file]").set_input_files(speech)
    page.get_by_label("Captions").fill("Hello from the studio.")
    page.get_by_role("button", name="Upload and make the dub").click()
    expect(page.locator("[data-state=succeeded]")).to_be_visible(timeout=600_000)


def watch(page: Page) -> None:
    player = page.locator("video")
    player.evaluate("video => { video.muted = true; return video.play(); }")
    page.wait_for_function(f"() => ({PLAYS})(document.querySelector('video'))")
    assert player.evaluate("video => video.videoWidth") == 512
    assert abs(player.evaluate("video => video.duration") - 5) < 0.2
    page.wait_for_function("() => document.querySelector('video').textTracks[0]?.cues?.length")
    expect(page.get_by_role("link", name="Download")).to_have_attribute(
        "href", re.compile("Signature")
    )


def ids(found: Sequence[Resource]) -> set[str]:
    return {item["id"] for item in found}


def test_the_avatar_page_shows_quality_figures_and_curve(visits: Visits, owner: Made) -> None:
    with visits() as tab:
        page = tab.go(f"avatars/{owner.avatar['id']}")
        psnr = owner.avatar["metrics"]["held_out_psnr_db"]
        expect(page.locator("dd", has_text=f"{psnr:.1f} dB")).to_be_visible()
        worst = next(v for v in owner.avatar["quality"]["verdicts"] if v["level"] != "good")
        expect(page.get_by_text(worst["remedy"])).to_be_visible()
        expect(page.locator("svg.chart")).to_have_attribute("aria-label", re.compile("dB at step"))
        for picture in page.locator("main img").all():
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("complete", True)
            assert picture.evaluate("image => image.naturalWidth") > 0, picture.get_attribute("src")


def test_signing_in_says_what_is_wrong_and_keeps_the_key_in_the_tab(
    visits: Visits, owner: Made
) -> None:
    with visits(key="") as tab:
        page = tab.go("")
        page.get_by_label("API key").fill("avk_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("no valid API key", ignore_case=True)
        expect(page.get_by_role("alert").locator(".remedy")).not_to_be_empty()
        page.get_by_label("API key").fill(owner.tenant.key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Avatars", exact=True)).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Avatars", exact=True)).to_be_visible()
        assert page.evaluate("Object.values(localStorage).join() + document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
        assert len(tab.wrong) == 1  # the browser's own word on the answer 401
        tab.wrong.clear()


def test_what_is_not_there_is_said_with_a_remedy(visits: Visits) -> None:
    with visits() as tab:
        page = tab.go("avatars/av_none")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("AVATAR_NOT_FOUND")
        expect(alert.locator(".remedy")).to_contain_text("Check the id")
        assert len(tab.wrong) == 1
        tab.wrong.clear()


def test_a_key_is_shown_once_works_and_can_be_revoked(
    visits: Visits, suite: Suite, owner: Made
) -> None:
    answer = partial(httpx.get, f"{suite.settings.url}/v1/me")
    with visits() as tab:
        page = tab.go("keys")
        page.get_by_label("What it is for").fill("a robot")
        page.get_by_role("button", name="Make a key").click()
        secret = page.locator("[data-secret]").inner_text()
        headers = {"authorization": f"Bearer {secret}"}
        assert answer(headers=headers).json()["tenant"] == owner.tenant.name
        page.reload()
        tab.settled()
        assert secret not in page.content()
        page.get_by_role("button", name="Revoke a robot").click()
        page.get_by_role("button", name="Revoke the key").click()
        expect(page.get_by_text("a robot", exact=True)).to_have_count(0)
        assert answer(headers=headers).status_code == 401


def test_a_consent_is_revoked_in_the_list(visits: Visits, owner: Made) -> None:
    body = {"subject_name": "Una Undecided", "granted_by": "Una Undecided", "statement": "Yes."}
    consent = owner.tenant.api.post("consents", body)
    with visits() as tab:
        page = tab.go("avatars")
        page.get_by_role("link", name="Consents").click()
        line = page.get_by_role("row", name=re.compile("Una Undecided"))
        expect(line.locator("[data-state=active]")).to_be_visible()
        line.get_by_role("button", name="Revoke").click()
        page.get_by_role("button", name="Revoke the consent", exact=True).click()
        expect(line.locator("[data-state=revoked]")).to_be_visible()
        expect(line.get_by_role("button")).to_have_count(0)
    assert owner.tenant.api.get(f"consents/{consent['id']}")["state"] == "revoked"


def test_a_webhook_is_made_and_deleted(visits: Visits, owner: Made) -> None:
    url = "https://1.1.1.1/hooks"  # nothing is sent: no avatar is cancelled meanwhile
    with visits() as tab:
        page = tab.go("keys")
        page.get_by_role("link", name="Webhooks").click()
        cancelled = page.get_by_label("An avatar was cancelled")
        expect(cancelled).to_be_visible()
        for box in page.get_by_role("checkbox").all():
            box.uncheck()
        cancelled.check()
        page.get_by_label("URL").fill("https://127.0.0.1/hooks")
        page.get_by_role("button", name="Make a webhook").click()
        expect(page.get_by_role("alert")).to_contain_text("not in the public internet")
        page.get_by_label("URL").fill(url)
        page.get_by_role("button", name="Make a webhook").click()
        assert page.locator("[data-secret]").inner_text().startswith("whsec_")
        (made,) = owner.tenant.api.list("webhooks", 10)
        assert (made["url"], made["events"]) == (url, ["avatar.cancelled"])
        expect(page.get_by_text("Nothing was sent yet")).to_be_visible()
        page.get_by_role("button", name=f"Delete the webhook to {url}").click()
        page.get_by_role("button", name="Delete the webhook", exact=True).click()
        expect(page.get_by_text("No webhook yet")).to_be_visible()
        assert len(tab.wrong) == 1  # the browser's own word on the answer 422
        tab.wrong.clear()
    assert owner.tenant.api.list("webhooks", 10) == []


def test_all_of_it_works_by_keyboard(visits: Visits, owner: Made) -> None:
    with visits() as tab:
        page = tab.see("avatars")
        page.keyboard.press("Tab")
        assert tab.focused() == "Skip to the content"
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("Tab")
        assert tab.focused() == "Consents"
        page.keyboard.press("Tab")
        assert tab.focused() == "New avatar"
        press_until(tab, owner.avatar["name"])
        outline = page.evaluate("getComputedStyle(document.activeElement, '::after').outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=owner.avatar["name"], level=1)).to_be_focused()
        press_until(tab, "Delete")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Keep it")).to_be_focused()  # the harmless answer
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert tab.focused() == "Delete"


def press_until(tab: Visit, name: str) -> None:
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        if tab.focused() == name:
            return
    raise AssertionError(f"the keyboard never reaches {name}")


def test_no_page_is_wider_than_a_phone(visits: Visits, pages: list[str]) -> None:
    with visits(**PHONE) as tab:
        for path in pages:
            tab.see(path)
            assert tab.overhang_px() == 0, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(visits: Visits, pages: list[str], scheme: str) -> None:
    with visits(color_scheme=scheme) as tab:
        for path in pages:
            tab.see(path)
            assert tab.faint_texts() == [], path


def test_the_theme_can_be_chosen_and_stays(visits: Visits) -> None:
    def ground(page: Page) -> str:
        colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return colour

    with visits(color_scheme="light") as tab:
        page = tab.see("keys")
        light = ground(page)
        page.get_by_role("button", name="Theme: as the system").click()
        page.get_by_role("button", name="Theme: light").click()
        assert ground(page) != light
        dark = ground(page)
        page.reload()
        tab.settled()
        assert ground(page) == dark


def test_pages_do_not_jump_while_they_load(visits: Visits, pages: list[str]) -> None:
    with visits() as tab:
        for path in pages:
            tab.see(path)
            assert sum(tab.page.evaluate("window.shifted.splice(0)")) < 0.1, path


def test_the_operator_sees_the_installation(visits: Visits, suite: Suite) -> None:
    with visits(key=suite.settings.bootstrap_key) as tab:
        page = tab.go("system")
        expect(page.get_by_role("cell", name="Train avatars")).to_be_visible()
        expect(page.get_by_text("Trainer").locator("..")).to_contain_text("Well")
        assert len(tab.wrong) == 1  # asking who it is: the operator has no tenant
        tab.wrong.clear()


def test_only_the_operator_sees_the_installation(owner: Made, suite: Suite) -> None:
    url = f"{suite.settings.url}/v1/system"
    answer = httpx.get(url, headers={"authorization": f"Bearer {owner.tenant.key}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ROLE_INSUFFICIENT")


def test_pages_load_nothing_from_elsewhere(suite: Suite) -> None:
    answer = httpx.get(suite.settings.url, follow_redirects=True)
    assert answer.url.path == "/studio/"
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    store = suite.settings.variables["AVATAR_STORAGE__URL"]
    assert set(policy["connect-src"].split()) == {"'self'", store}
