"""The paths that access logs have name no person."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.access_log import AccessLog
from services.metrics_middleware import MetricsMiddleware, logged_path
from services.query.api import ROUTES

Lines = list[dict[str, Any]]
Ask = Callable[[str], Awaitable[Lines]]


class Counted:
    """Counts nothing."""

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count nothing."""


async def _answer(_: Request) -> Response:
    return Response("{}")


@pytest.fixture
def ask() -> Ask:
    """Ask for a path of the API, and return the lines of the log."""
    lines: Lines = []

    def write(_: str, **fields: Any) -> None:
        lines.append(fields)

    paths = dict.fromkeys(route.matched_path for route in ROUTES)
    app = Starlette(
        routes=[Route(path, _answer) for path in paths],
        middleware=[
            Middleware(MetricsMiddleware, telemetry=Counted(), log=AccessLog("all", write=write))
        ],
    )

    async def asked(path: str) -> Lines:
        lines.clear()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://query") as client:
            await client.get(path)
        return lines

    return asked


OF_PERSONS = [route.full_path for route in ROUTES if "{person}" in route.full_path]


@pytest.mark.parametrize("path", OF_PERSONS)
@pytest.mark.parametrize("person", ["ann@example.com", "a/b/persons/c", "%C3%A9", "trace"])
async def test_no_line_has_the_id_of_a_person(ask: Ask, path: str, person: str) -> None:
    (line,) = await ask(path.format(project="shop", id="buy", person=person))
    assert line["path"] == path.format(project="shop", id="buy", person="{person}")
    assert line["status"] == 200


async def test_paths_without_a_person_are_logged_as_they_are(ask: Ask) -> None:
    for path in ("/api/projects/shop/funnels/buy/results", "/nowhere"):
        assert [line["path"] for line in await ask(path)] == [path]


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_path_that_no_route_has_does_not_show_what_follows_persons(person: str) -> None:
    scope = {"path": f"/api/projects/shop/funnel/buy/persons/{person}", "path_params": {}}
    assert logged_path(scope) == "/api/projects/shop/funnel/buy/persons/{person}"
