"""Query tokens on a running service: every route of the API asks for one, no other does."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from schemas.settings import Settings
from services.keys.admin import run_with_key_admin
from services.query import make_query_app
from services.query.openapi import document
from tests.credentials import KEY, bearer, put, query_token, write_key
from tests.services.query.conftest import eventually
from tests.services.query.test_funnels import BUY, FUNNELS

pytestmark = pytest.mark.usefixtures("settings")

EXPIRED, READER, WRITER, ELSEWHERE = (f"aqt_{name}" for name in ("old", "read", "write", "other"))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The deployment, which knows more tokens and a write key."""
    put(
        settings,
        query_token(EXPIRED, expires_at=1),
        query_token(READER, scopes=("read",)),
        query_token(WRITER, scopes=("write",)),
        query_token(ELSEWHERE, "other"),
        write_key(),
    )
    return settings


async def ask(
    query: httpx.AsyncClient, token: str, method: str = "GET", path: str = FUNNELS
) -> tuple[int, str]:
    answer = await query.request(
        method, path, headers={"Authorization": f"Bearer {token}" if token else ""}, json=BUY
    )
    error: dict[str, Any] = answer.json().get("error", {}) if answer.content else {}
    assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
    return answer.status_code, error.get("message", "")


async def test_every_route_of_the_api_asks_for_a_token_and_no_other_does(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    routes = [route for route in make_query_app(settings).routes if isinstance(route, Route)]
    del query.headers["Authorization"]
    for route in routes:
        for method in (route.methods or set()) - {"HEAD"}:
            described = route.path.replace(":path}", "}")
            names = {"project": "shop", "id": "buy", "person": "ann", "tile": "sold"}
            path = described.format(**names, topic="funnels")
            status = (await query.request(method, path)).status_code
            # What a link shows asks for the link's secret.
            asks = route.path.startswith(("/api/", "/shared/{id}/"))
            assert (status == 401) == asks, (method, route.path)
            operation = document()["paths"][described][method.lower()]
            required = operation.get("security", document()["security"])
            assert bool(required) == asks
            assert (required == [{"dashboardLink": []}]) == route.path.startswith("/shared/{id}/")
    accepted = [name for one in document()["security"] for name in one]
    assert {*accepted, "dashboardLink"} == set(document()["components"]["securitySchemes"])


async def test_what_is_no_token_is_told_what_it_is(query: httpx.AsyncClient) -> None:
    for token, why in (
        ("", "a query token is required"),
        (KEY, "this is a write key"),
        ("aqt_unknown", "unknown or was revoked"),
        (EXPIRED, "expired on 1970-01-01"),
    ):
        status, message = await ask(query, token)
        assert status == 401
        assert why in message


async def test_scopes_and_projects_are_kept_to(query: httpx.AsyncClient) -> None:
    assert (await ask(query, READER))[0] == 200
    assert (await ask(query, WRITER, "POST"))[0] == 201
    assert (await ask(query, ELSEWHERE, "GET", "/api/projects/other/funnels"))[0] == 200
    for token, method in ((READER, "POST"), (WRITER, "GET"), (ELSEWHERE, "GET")):
        assert (await ask(query, token, method))[0] == 403
    for method in ("PUT", "DELETE"):
        assert (await ask(query, READER, method, f"{FUNNELS}/buy"))[0] == 403


async def test_a_project_in_other_letters_is_another_project(query: httpx.AsyncClient) -> None:
    for path in ("/api/projects/other%2Ffunnels%2F/funnels", "/api/projects/%6Fthers/funnels"):
        assert (await ask(query, ELSEWHERE, "GET", path))[0] in {403, 404}
    assert (await ask(query, ELSEWHERE, "GET", "/api/projects/%6Fther/funnels"))[0] == 200


async def test_a_token_is_good_as_soon_as_it_is_made_and_not_once_it_is_revoked(
    query: httpx.AsyncClient, settings: Settings
) -> None:

    token, made = await asyncio.to_thread(
        run_with_key_admin, settings, lambda admin: admin.create_token("shop", ("read",), days=1)
    )
    await eventually(
        lambda: query.get(FUNNELS, headers=bearer(token)), lambda answer: answer.status_code == 200
    )
    await asyncio.to_thread(run_with_key_admin, settings, lambda admin: admin.revoke_token(made.id))
    await eventually(
        lambda: query.get(FUNNELS, headers=bearer(token)), lambda answer: answer.status_code == 401
    )
