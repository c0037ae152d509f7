"""Debian's chromium on the studio, and what every page has to keep to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]

PLAYS = "video => !video.paused && video.currentTime > 0.4 && video.videoWidth"

_CONTRAST = (Path(__file__).parent / "studio_contrast.js").read_text()
_SHIFT = """
  window.shifted = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) window.shifted.push(entry.value);
    }
  }).observe({ type: "layout-shift", buffered: true });
"""


@dataclass
class Visit:
    """A page of a signed-in browser tab, and what went wrong in it."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a page of the studio by its name, e.g. ``avatars/new``."""
        self.page.goto(f"{self.url}/studio/#/{path}")
        return self.page

    def see(self, path: str) -> Page:
        """Open a page and wait until nothing on it is being loaded."""
        self.go(path)
        self.page.wait_for_selector(f"main[data-path='/{path}']")
        return self.settled()

    def settled(self) -> Page:
        """The page when nothing on it is being loaded."""
        self.page.wait_for_function(
            "() => document.querySelector('h1') && !document.querySelector('.loading')"
        )
        return self.page

    def faint_texts(self) -> list[str]:
        """Texts that are hard to read."""
        found: list[str] = self.page.evaluate(_CONTRAST)
        return found

    def overhang_px(self) -> int:
        """By how much the page is wider than the screen."""
        width: int = self.page.evaluate(
            "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width

    def focused(self) -> str:
        """Name of what has the focus, as a screen reader would say it."""
        name: str = self.page.evaluate(
            "(document.activeElement.getAttribute('aria-label')"
            " ?? document.activeElement.labels?.[0]?.innerText"
            " ?? document.activeElement.innerText).trim()"
        )
        return name


Visits = Callable[..., AbstractContextManager[Visit]]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Headless chromium; where there is none, tests are skipped with a word on how to get it."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, url: str, key: str, **options: Any) -> Iterator[Visit]:
    """A fresh tab, signed in with ``key`` unless it is empty; nothing may go wrong in it.

    ``options`` are playwright's of a context, e.g. ``color_scheme="dark"``.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
    context.set_default_timeout(30_000)
    if key:
        context.add_init_script(f"sessionStorage.setItem('studio.key', '{key}')")
    context.add_init_script(_SHIFT)
    page = context.new_page()
    found = Visit(page, url)
    page.on("console", lambda line: found.wrong.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: found.wrong.append(str(error)))
    try:
        yield found
    except (AssertionError, Error):
        print(
            "wrong in the page:", found.wrong, "\n", page.url, "\n", page.inner_text("body")[:2000]
        )
        raise
    finally:
        context.close()
    assert found.wrong == [], "no error and no breach of the content policy"
