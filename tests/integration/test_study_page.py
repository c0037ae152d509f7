"""The questionnaire in a real browser, from a disk, by keyboard, to its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from synctalk.media import VideoWriter
from synctalk.study import ASPECTS

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def film(path: Path, grey: int) -> None:
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, 64, 64, 25) as writer:
        for i in range(10):
            frame = np.full((64, 64, 3), grey, np.uint8)
            writer.write(cv2.circle(frame, (6 * i, 32), 8, (255, 255, 255), -1))


def synctalk(*arguments: str | Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "synctalk", *map(str, arguments), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = json.loads(done.stdout)["result"]
    assert isinstance(result, dict)
    return result


def answer_by_keyboard(page: Page, marks: list[str]) -> None:
    """Tab into each question's group and choose with an arrow key or the space bar."""
    for aspect, mark in zip(ASPECTS, marks, strict=True):
        group = page.locator(f"#{aspect} input")
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == aspect:
                break
        page.keyboard.press("Space")
        for _ in range(group.count()):
            if page.evaluate("document.activeElement.value") == mark:
                break
            page.keyboard.press("ArrowRight")
        assert page.locator(f"#{aspect} input:checked").get_attribute("value") == mark
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


@pytest.mark.parametrize("kind", ["mos", "pairs"])
def test_a_participant_answers_by_keyboard_and_the_file_is_scored(
    browser: Browser, tmp_path: Path, kind: str
) -> None:
    for method, grey in (("ours", 80), ("theirs", 160)):
        film(tmp_path / method / "hello.mp4", grey)
    out = tmp_path / "study"
    methods = tmp_path / "ours", tmp_path / "theirs"
    made = synctalk("study", "make", *methods, "--out", out, "--kind", kind)
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.on("request", lambda asked: asked.url.startswith("http") and wrong.append(asked.url))
    page.goto(Path(str(made["page"])).as_uri())

    page.get_by_role("button", name="Begin").press("Enter")
    trials = int(str(made["trials"]))
    for i in range(trials):
        page.get_by_role("heading", name=f"{i + 1} of {trials}").wait_for()
        page.wait_for_function(
            "() => [...document.querySelectorAll('video')].every((v) => v.videoWidth === 64)"
        )
        if i == 0:  # nothing may be left out
            page.get_by_role("button", name="Next").or_(
                page.get_by_role("button", name="Finish")
            ).click()
            assert "5 more questions" in page.get_by_role("alert").inner_text()
            assert page.evaluate("document.activeElement.name") == "lip_sync"
            page.get_by_role("heading", level=2).focus()
        choices = ["2", "3", "4", "5", "1"] if kind == "mos" else ["first", "same"] * 2 + ["second"]
        answer_by_keyboard(page, choices)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download your answers").press("Enter")
    answers = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(answers)
    page.context.close()

    assert wrong == []
    given = json.loads(answers.read_text())
    assert len(given["answers"]) == 5 * trials
    assert answers.name == f"answers-{given['participant']}.json"
    scored = synctalk("study", "score", answers, "--key", str(made["key"]))
    estimates = scored["estimates"]
    assert isinstance(estimates, dict)
    means = {m: [e["mean"] for e in aspects.values()] for m, aspects in estimates.items()}
    if kind == "mos":
        assert means == {"ours": [2, 3, 4, 5, 1], "theirs": [2, 3, 4, 5, 1]}
    else:
        assert [a + b for a, b in zip(means["ours"], means["theirs"], strict=True)] == [1] * 5
        assert means["ours"][1] == 0.5
        assert means["ours"][0] == 1 - means["ours"][4]


def test_each_participant_has_an_order_of_their_own(browser: Browser, tmp_path: Path) -> None:
    for method in ("a", "b"):
        for item in range(6):
            film(tmp_path / method / f"{item}.mp4", 90)
    synctalk("study", "make", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "study")
    orders = []
    for _ in range(2):
        page = browser.new_page()
        page.goto((tmp_path / "study" / "page" / "index.html").as_uri())
        orders.append(page.evaluate("JSON.stringify(trials)"))
        page.context.close()
    assert orders[0] != orders[1]  # equal once in 12! times
    assert sorted(map(tuple, json.loads(orders[0]))) == sorted(map(tuple, json.loads(orders[1])))
