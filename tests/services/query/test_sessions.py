"""Sessions of the page: who may begin one, what it allows, and what other pages cannot do."""

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from schemas.errors import Forbidden, OverLimit
from schemas.settings import Settings
from services.keys.admin import run_with_key_admin
from services.query.sessions.attempts import (
    MAX_ALL_FAILURES,
    MAX_FAILURES,
    PER_S,
    Attempts,
)
from services.query.sessions.cookie import check_own_page
from services.query.sessions.resource import MAX_SESSIONS_PER_TOKEN
from tests.credentials import TOKEN, bearer, put, query_token
from tests.services.query.conftest import eventually, ready, serve_in_thread
from tests.services.query.test_funnels import BUY, FUNNELS

VIEWER, EDITOR, ELSEWHERE, SOON = (f"aqt_{name}" for name in ("view", "edit", "other", "soon"))
OWN = "http://query"
FOREIGN = "https://evil.example"

pytestmark = pytest.mark.usefixtures("settings")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The deployment, which knows more tokens."""
    put(
        settings,
        query_token(VIEWER, "shop", scopes=("read",)),
        query_token(EDITOR, "shop"),
        query_token(ELSEWHERE, "other"),
        query_token(SOON, "shop"),
    )
    return settings


@pytest.fixture
def page(query: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that shows no token, as a browser does."""
    del query.headers["Authorization"]
    return query


class Session(NamedTuple):
    """The cookie that a sign-in has set, as a browser sends it back."""

    cookie: str
    body: dict[str, Any]

    def headers(self, origin: str = OWN) -> dict[str, str]:
        return {"cookie": self.cookie} | ({"origin": origin} if origin else {})


async def sign_in(page: httpx.AsyncClient, token: str = TOKEN) -> Session:
    answer = await page.post("/session", json={"token": token}, headers={"origin": OWN})
    page.cookies.clear()
    assert answer.status_code == 201, answer.text
    return Session(answer.headers["set-cookie"].partition(";")[0], answer.json())


def code(answer: httpx.Response) -> str:
    found: str = answer.json()["error"]["code"]
    return found


async def test_a_session_does_what_its_token_does_until_it_is_signed_out(
    page: httpx.AsyncClient,
) -> None:
    session = await sign_in(page)
    assert session.body["session"]["role"] == "admin"
    created = await page.post(FUNNELS, json=BUY, headers=session.headers())
    assert created.status_code == 201
    assert (await page.get(FUNNELS, headers=session.headers(""))).status_code == 200
    signed_in = (await page.get("/session", headers=session.headers())).json()
    assert signed_in["session"]["current"]
    assert "shop" in signed_in["projects"]

    out = await page.delete("/session", headers=session.headers())
    assert out.status_code == 204
    assert "Max-Age=0" in out.headers["set-cookie"]
    answer = await page.get(FUNNELS, headers=session.headers())
    assert (answer.status_code, code(answer)) == (401, "unauthorized")
    assert (await page.get("/session", headers=session.headers())).json()["session"] is None


async def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(
    page: httpx.AsyncClient,
) -> None:
    answer = await page.post("/session", json={"token": TOKEN}, headers={"origin": OWN})
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    assert name.startswith("__Host-")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(attributes.split("; "))
    assert TOKEN not in answer.headers["set-cookie"]


@pytest.mark.parametrize("origin", ["", FOREIGN, "null", "https://query.evil.example", "http://"])
async def test_another_page_changes_nothing_with_a_session(
    page: httpx.AsyncClient, origin: str
) -> None:
    session = await sign_in(page)
    for method, path, body in (
        ("POST", FUNNELS, BUY),
        ("POST", "/api/projects/shop/query/trends", {}),
        ("DELETE", f"{FUNNELS}/buy", None),
        ("PUT", "/api/projects/shop/settings", {"timezone": "UTC"}),
        ("DELETE", "/session", None),
        ("DELETE", f"/sessions/{session.body['session']['id']}", None),
    ):
        answer = await page.request(method, path, json=body, headers=session.headers(origin))
        assert (answer.status_code, code(answer)) == (403, "forbidden"), (method, path)
    assert (await page.get(FUNNELS, headers=session.headers())).json()["funnels"] == []


@pytest.mark.parametrize(
    ("origin", "forwarded", "accepted"),
    [
        ("http://query", "", True),
        ("https://query", "", True),
        ("HTTPS://Query", "https", True),
        ("https://query", "wss", True),
        ("https://query", "https, http", True),
        ("http://query", "https", False),
        ("https://query", "http", True),
        ("//query", "", False),
        ("file://query", "", False),
        ("x://query", "", False),
        ("http://query/", "", False),
        ("http://me@query", "", False),
        ("http://query, http://evil.example", "", False),
        ("query", "", False),
    ],
)
def test_only_a_page_of_the_same_address_and_no_less_encrypted_is_our_own(
    origin: str, forwarded: str, accepted: bool
) -> None:
    headers = {"host": "query", "origin": origin}
    if forwarded:
        headers["x-forwarded-proto"] = forwarded
    for changing in (True, False):
        with nullcontext() if accepted else pytest.raises(Forbidden):
            check_own_page(Headers(headers), changing=changing)


async def test_a_sign_in_ends_the_session_that_it_replaces_in_the_browser(
    page: httpx.AsyncClient,
) -> None:
    first, other = await sign_in(page, VIEWER), await sign_in(page, VIEWER)
    answer = await page.post("/session", json={"token": EDITOR}, headers=first.headers())
    page.cookies.clear()
    assert answer.status_code == 201
    second = answer.headers["set-cookie"].partition(";")[0]
    assert second != first.cookie
    for cookie, status in ((first.cookie, 401), (other.cookie, 200), (second, 200)):
        assert (await page.get(FUNNELS, headers={"cookie": cookie})).status_code == status


async def test_another_site_reads_nothing_and_signs_nobody_in(page: httpx.AsyncClient) -> None:
    session = await sign_in(page)
    for headers in (
        session.headers(FOREIGN),
        session.headers("") | {"sec-fetch-site": "cross-site"},
        session.headers("") | {"sec-fetch-site": "same-site"},
    ):
        for path in (FUNNELS, "/session", "/sessions"):
            assert (await page.get(path, headers=headers)).status_code == 403
    for headers in ({}, {"origin": FOREIGN}):
        answer = await page.post("/session", json={"token": TOKEN}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_a_session_is_kept_to_its_project_and_its_role(page: httpx.AsyncClient) -> None:
    viewer, editor, other = [await sign_in(page, one) for one in (VIEWER, EDITOR, ELSEWHERE)]
    assert [one.body["session"]["role"] for one in (viewer, editor)] == ["viewer", "editor"]
    assert other.body["projects"] == ["other"]
    assert (await page.get(FUNNELS, headers=viewer.headers())).status_code == 200
    assert (await page.post(FUNNELS, json=BUY, headers=viewer.headers())).status_code == 403
    assert (await page.post(FUNNELS, json=BUY, headers=editor.headers())).status_code == 201
    for method in ("GET", "POST"):
        answer = await page.request(method, FUNNELS, json=BUY, headers=other.headers())
        assert (answer.status_code, code(answer)) == (403, "forbidden")


async def test_programs_with_a_token_are_asked_for_no_origin_and_their_cookies_do_not_count(
    page: httpx.AsyncClient,
) -> None:
    viewer = await sign_in(page, VIEWER)
    headers = viewer.headers(FOREIGN) | bearer(TOKEN)
    assert (await page.post(FUNNELS, json=BUY, headers=headers)).status_code == 201
    wrong = viewer.headers() | bearer("aqt_unknown")
    assert (await page.get(FUNNELS, headers=wrong)).status_code == 401


async def test_sessions_are_listed_for_who_may_see_them_and_can_be_ended(
    page: httpx.AsyncClient,
) -> None:
    admin, editor, again = [await sign_in(page, one) for one in (TOKEN, EDITOR, EDITOR)]
    assert (await page.get("/sessions")).json() == {"sessions": []}
    every = (await page.get("/sessions", headers=admin.headers())).json()["sessions"]
    own = (await page.get("/sessions", headers=editor.headers())).json()["sessions"]
    assert len(every) == 3
    assert [one["current"] for one in own] == [False, True]

    ids = [one.body["session"]["id"] for one in (admin, editor, again)]
    beyond = await page.delete(f"/sessions/{ids[0]}", headers=editor.headers())
    assert beyond.status_code == 404
    assert (await page.delete(f"/sessions/{ids[2]}", headers=editor.headers())).status_code == 204
    assert (await page.get(FUNNELS, headers=again.headers())).status_code == 401
    assert (await page.get(FUNNELS, headers=admin.headers())).status_code == 200


async def test_revoking_a_token_ends_its_sessions(
    page: httpx.AsyncClient, settings: Settings
) -> None:
    session = await sign_in(page, SOON)
    await asyncio.to_thread(run_with_key_admin, settings, lambda admin: admin.revoke_token(SOON))
    await eventually(
        lambda: page.get(FUNNELS, headers=session.headers()), lambda one: one.status_code == 401
    )


async def test_the_oldest_session_of_a_token_makes_room_for_the_newest(
    page: httpx.AsyncClient,
) -> None:
    sessions = [await sign_in(page, EDITOR) for _ in range(MAX_SESSIONS_PER_TOKEN + 1)]
    first, last = sessions[0], sessions[-1]
    assert (await page.get(FUNNELS, headers=first.headers())).status_code == 401
    held = (await page.get("/sessions", headers=last.headers())).json()["sessions"]
    assert len(held) == MAX_SESSIONS_PER_TOKEN


async def test_who_guesses_tokens_must_wait_and_who_has_one_is_let_in(
    page: httpx.AsyncClient,
) -> None:
    async def guess(token: str) -> httpx.Response:
        return await page.post("/session", json={"token": token}, headers={"origin": OWN})

    for _ in range(MAX_FAILURES):
        assert (await guess("aqt_guess")).status_code == 401
    answer = await guess("aqt_guess")
    assert (answer.status_code, code(answer)) == (429, "over_limit")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await guess(TOKEN)).status_code == 201


def test_failed_attempts_are_forgiven_with_time_and_each_client_has_its_own() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    for _ in range(MAX_FAILURES):
        attempts.failed("ann")
    with pytest.raises(OverLimit, match="too many failed attempts"):
        attempts.failed("ann")
    attempts.failed("bob")
    now = PER_S / MAX_FAILURES
    attempts.failed("ann")


def test_many_addresses_together_may_fail_no_more_often_than_the_limit_of_all() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(MAX_ALL_FAILURES):
        attempts.failed(f"10.0.{number // 256}.{number % 256}")
    with pytest.raises(OverLimit):
        attempts.failed("192.0.2.1")


def test_a_network_of_ipv6_is_one_client_and_addresses_of_ipv4_are_clients_each() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(MAX_FAILURES):
        attempts.failed(f"2001:db8:1:2::{number:x}")
        attempts.failed(f"::ffff:192.0.2.{number}")
    with pytest.raises(OverLimit):
        attempts.failed("2001:db8:1:2:ffff::1")
    attempts.failed("2001:db8:1:3::1")
    attempts.failed("::ffff:192.0.2.99")


@pytest.fixture
def port(settings: Settings) -> Iterator[int]:
    with serve_in_thread(settings) as port:
        yield port


@pytest.fixture
def cookie(port: int) -> str:
    address = f"http://127.0.0.1:{port}"

    async def begin() -> str:
        async with httpx.AsyncClient(base_url=address, headers={"origin": address}) as page:
            await ready(page)
            answer = await page.post("/session", json={"token": EDITOR})
            return answer.headers["set-cookie"].partition(";")[0]

    return asyncio.run(begin())


def follow(port: int, cookie: str, origin: str, project: str = "shop") -> str:
    """Open the live WebSocket as a page does; returns its first message."""
    address = f"ws://127.0.0.1:{port}/api/projects/{project}/live"
    with connect(address, additional_headers={"Cookie": cookie, "Origin": origin}) as live:
        return str(live.recv(10))


def test_the_live_connection_takes_a_session_from_our_own_page_alone(
    port: int, cookie: str
) -> None:
    own = f"http://127.0.0.1:{port}"
    assert "ready" in follow(port, cookie, own)
    for origin, project in ((FOREIGN, "shop"), ("null", "shop"), (own, "other")):
        with pytest.raises(InvalidStatus) as refused:
            follow(port, cookie, origin, project)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as ended:
        follow(port, "__Host-avila=unknown", own)
    assert ended.value.response.status_code == 401


def read_to_the_end(live: ClientConnection) -> None:
    while True:
        live.recv(10)


def test_the_live_connection_ends_with_its_session(port: int, cookie: str) -> None:
    own = f"http://127.0.0.1:{port}"
    address = f"ws://127.0.0.1:{port}/api/projects/shop/live"
    with connect(address, additional_headers={"Cookie": cookie, "Origin": own}) as live:
        assert "ready" in str(live.recv(10))
        answer = httpx.delete(f"{own}/session", headers={"cookie": cookie, "origin": own})
        assert answer.status_code == 204
        with pytest.raises(ConnectionClosed, match="1008"):
            read_to_the_end(live)
