"""A system, a browser and its pages, for all tests of the page."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.services.page.chromium import launched
from tests.services.page.system import PATIENCE_MS, Open, System, running

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system for all modules, each of whose tests has projects of its own: a start is dear."""
    with running(tmp_path_factory.mktemp("page")) as system:
        yield system


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return f"shop-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def open_page(system: System, browser: Browser) -> Iterator[Open]:
    """Sign in, and open an address in a window of its own; nothing may be logged as an error."""
    contexts = []
    troubles: list[str] = []

    def open_page(place: str = "", **options: Any) -> Page:
        context = browser.new_context(base_url=system.address, **{"locale": "en-GB"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"/#/{place}")
        page.locator("input[name=token]").fill(system.token)
        page.keyboard.press("Enter")
        page.get_by_role("main").wait_for()
        page.locator("nav").wait_for(state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
