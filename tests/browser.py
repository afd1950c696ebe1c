"""Headless Chromium for tests of pages: nothing but the machine itself may answer, and every complaint is kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars")


@dataclass
class Opened:
    """An open page. `page` is Playwright's; `blocked` the addresses it asked for in vain; `errors` page and console errors."""

    page: object
    blocked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def allowed(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("file", "data", "blob", "about") or parts.scheme in ("http", "ws") and parts.hostname in ("127.0.0.1", "localhost")


def complaint(message) -> str:
    """What a console error says, and of which resource."""
    return f"{message.text} ({message.location.get('url', '')})"


@contextmanager
def browser() -> Iterator[object]:
    """A running Chromium (Playwright, synchronous); skips the test where Playwright or a Chromium is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    executable = os.environ.get("CHROMIUM") or next((path for path in map(shutil.which, NAMES) if path), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the path; install Chromium or set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield chromium
        finally:
            chromium.close()


@contextmanager
def open_page(path: Path | str, *, chromium=None, width: int = 1280, height: int = 900, scripts: bool = True, dark: bool = False) -> Iterator[Opened]:
    """Open a file or an address with the network blocked.

    chromium: one from `browser()` to be used again, else one is started for this page. scripts=False: a reader without scripts.
    """
    if chromium is None:
        with browser() as chromium, open_page(path, chromium=chromium, width=width, height=height, scripts=scripts, dark=dark) as opened:
            yield opened
        return
    context = chromium.new_context(viewport={"width": width, "height": height}, java_script_enabled=scripts, color_scheme="dark" if dark else "light")
    try:
        opened = Opened(context.new_page())
        opened.page.set_default_navigation_timeout(120_000)  # a server that runs a notebook first, on a busy machine

        def gate(route):
            if allowed(route.request.url):
                route.continue_()
            else:
                opened.blocked.append(route.request.url)
                route.abort()

        context.route("**/*", gate)
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("console", lambda message: message.type == "error" and opened.errors.append(complaint(message)))
        opened.page.goto(path if isinstance(path, str) else Path(path).resolve().as_uri(), wait_until="load")
        yield opened
    finally:
        context.close()
