"""A real browser without a screen, and a page in it that may neither fail nor ask anybody else."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

# Root has no sandbox.
WITHOUT_SCREEN = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
expect.set_options(timeout=15_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        try:
            opened = driver.chromium.launch(executable_path=found, args=WITHOUT_SCREEN)
        except Error as error:
            if found:
                raise
            pytest.skip(f"no Chromium is installed; apt-get install chromium ({str(error).splitlines()[0]})")
        yield opened
        opened.close()


@contextmanager
def opened(browser: Browser, address: str, about: str) -> Iterator[Page]:
    """The page of a server, once it says so much about its model."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15_000)
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#about")).to_contain_text(about)
    yield page
    # A status such as 422 is no mistake of the page.
    assert [text for text in wrong if "Failed to load resource" not in text] == []
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    context.close()
