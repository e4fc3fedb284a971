"""Signing in at an identity provider in a real browser, which is on another site than the page."""

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from services.broker import Broker
from tests.conftest import deployment, free_ports
from tests.services.page.system import PATIENCE_MS, TIMEOUT_S
from tests.services.query.conftest import prepared, serve_in_thread
from tests.services.query.sign_in.provider import CLIENT, SECRET, IdentityProvider, running

NAME = "the shop's directory"


class Place(NamedTuple):
    """Where the page is, and where people sign in."""

    address: str
    provider: IdentityProvider


@pytest.fixture(scope="module")
def place(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    (port,) = free_ports(1)
    address = f"http://localhost:{port}"
    with running() as provider, deployment(broker, tmp_path_factory.mktemp("sign-in")) as made:
        settings = msgspec.structs.replace(
            prepared(made),
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret=SECRET,
            oidc_page_url=address,
            oidc_name=NAME,
            oidc_roles=json.dumps({"shop": "shop:editor", "app": "app:viewer"}),
        )
        with serve_in_thread(settings, port):
            deadline = time.monotonic() + TIMEOUT_S
            while "session" not in httpx.get(f"{address}/session", timeout=TIMEOUT_S).text:
                assert time.monotonic() < deadline, "the service is not ready"
                time.sleep(0.1)
            yield Place(address, provider)


@pytest.fixture
def page(place: Place, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(base_url=place.address, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


def sign_in(page: Page) -> None:
    page.get_by_role("button", name=f"Sign in with {NAME}").click()


def test_somebody_signs_in_at_the_provider_and_continues_where_they_were(
    place: Place, page: Page
) -> None:
    place.provider.claims = {"groups": ["shop", "app"], "email": "ann@shop.example"}
    page.goto("/#/shop/sessions")
    sign_in(page)
    expect(page.get_by_role("cell", name="app, shop")).to_be_visible()
    expect(page.get_by_text("ann@shop.example")).to_be_visible()
    assert page.url == f"{place.address}/#/shop/sessions"
    cookies = page.context.cookies(place.address)
    assert [(one["name"], one["sameSite"], one["httpOnly"]) for one in cookies] == [
        ("__Host-avila", "Strict", True)
    ]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to Avila")).to_be_visible()
    assert page.context.cookies() == []


def test_whoever_may_do_nothing_is_told_so_and_can_use_a_token(place: Place, page: Page) -> None:
    place.provider.claims = {"groups": ["others"]}
    page.goto("/#/shop/sessions")
    sign_in(page)
    expect(page.get_by_role("alert")).to_contain_text("puts you in no group")
    assert page.url == f"{place.address}/#/shop/sessions"
    expect(page.locator("input[name=token]")).to_be_visible()
