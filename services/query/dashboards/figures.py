"""Asks for the figures of tiles: each is answered by the endpoint of what it shows.

So tiles have the rules, errors and limits of those endpoints, and the same figures.
"""

import datetime
import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from schemas.dashboards import DashboardRange, Tile
from schemas.queries.filters import QueryFilters
from schemas.time.calendar import find_zone
from services.query.dashboards.asks import Ask, Find, Scope, ask_of
from services.query.dashboards.response import TileResponse
from services.query.http.params import now_ms
from services.query.projects.settings import Projects
from services.query.queries import QUERIES

Handle = Callable[[Request], Awaitable[Response]]

MAX_ROWS: Final = 200

_KINDS: Final = {kind.spec.name: kind for kind in QUERIES}
_NOTHING: Final = msgspec.Raw(b"null")


class TileFigures:
    """Answers tiles.

    `results` has the handler of each kind of definition's results, `queries` that of each kind of
    query. `find` returns a project's definition of a kind; it raises `NotFound` if there is none.
    """

    def __init__(
        self,
        results: Mapping[str, Handle],
        queries: Mapping[str, Handle],
        find: Callable[[str], Find],
        projects: Projects,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._results = results
        self._queries = queries
        self._find = find
        self._projects = projects
        self._clock = clock

    def days(self, project: str, of: DashboardRange) -> tuple[datetime.date, datetime.date] | None:
        """Return the days of a range, by the project's time zone."""
        zone = find_zone(self._projects.settings(project).timezone)
        return of.days(datetime.datetime.fromtimestamp(self._clock() / 1_000, zone).date())

    async def answer(
        self,
        project: str,
        tile: Tile,
        of: DashboardRange,
        where: QueryFilters,
        receive: Receive,
    ) -> TileResponse:
        """Return the figures of a tile; `receive` says when the client has left.

        Raises:
            AvilaError: what the endpoint that answers the tile raises.
        """
        settings = self._projects.settings(project)
        scope = Scope(self.days(project, of), where, settings.timezone, settings.week_start)
        ask = ask_of(tile, scope, self._find(project))
        figures = _NOTHING
        if ask.answered_by != "nothing":
            answer = await self._handle_of(ask)(_request(project, ask, receive))
            body = bytes(answer.body)
            figures = msgspec.Raw(_rows(ask, body) if ask.as_rows else _without_persons(ask, body))
        return TileResponse(
            id=tile.id,
            answered_by=ask.answered_by,
            kind=ask.kind,
            period=ask.period,
            ignores=ask.ignores,
            figures=figures,
        )

    def _handle_of(self, ask: Ask) -> Handle:
        return (self._queries if ask.body is not None else self._results)[ask.kind]


def _request(project: str, ask: Ask, receive: Receive) -> Request:
    body = b"" if ask.body is None else msgspec.json.encode(ask.body)
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return unread.pop() if unread else await receive()

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET" if ask.body is None else "POST",
        "path": "/",
        "headers": [],
        "query_string": urlencode(ask.parameters).encode(),
        "path_params": {"project": project, "id": ask.id},
    }
    return Request(scope, next_message)


def _rows(ask: Ask, body: bytes) -> bytes:
    """Return the first rows of the table of an answer, as a JSON array."""
    kind = _KINDS[ask.kind]
    answer = msgspec.json.decode(body, type=kind.response)
    return msgspec.json.encode(list(islice(kind.rows(answer), MAX_ROWS)))


def _without_persons(ask: Ask, body: bytes) -> bytes:
    """Return an answer without the names of persons, which no tile shows."""
    if ask.body is None or ask.kind not in _LISTING:
        return body
    answer = json.loads(body)
    if ask.kind == "segment":
        answer |= {"persons": [], "next": None}
    else:
        answer["next"] = None
        answer["events"] = [
            {name: one[name] for name in ("event_id", "event", "timestamp")}
            for one in answer["events"]
        ]
    return msgspec.json.encode(answer)


_LISTING: Final = ("segment", "events")
