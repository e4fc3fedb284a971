"""The routes under `/api`, as data: REST, OpenAPI and gRPC are three readings of one table."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from services.keys.tokens import Needed
from services.query.http.describe import Json, query_parameters

T = TypeVar("T")

Handler = Callable[[Request], Awaitable[Response]]
PROJECT_PATH: Final = "/api/projects/{project}"


class ApiRoute(NamedTuple, Generic[T]):
    """One method of one path below `PROJECT_PATH`.

    `handle` takes the resource that answers, and the request. `rpc` is the method of
    `avila.v1.Query` that asks for the same; where several kinds of definitions share one, `kind`
    tells which kind this route is for. `scope` is what a token must have; by default that of the
    method: `read` for GET, else `write`; `admin` is an administrator's.
    """

    method: str
    path: str
    handle: Callable[[T, Request], Awaitable[Response]]
    operation: Json
    rpc: str
    kind: str = ""
    scope: Needed | None = None

    @property
    def full_path(self) -> str:
        """The whole path, with `{project}`, and perhaps `{id}` and `{person}`, in it."""
        return PROJECT_PATH + self.path

    @property
    def matched_path(self) -> str:
        """The whole path as Starlette matches it: a person's id may have slashes."""
        return self.full_path.replace("{person}", "{person:path}")


class RouteGroup(NamedTuple, Generic[T]):
    """Routes that one resource answers, and the types that their descriptions refer to."""

    routes: tuple[ApiRoute[T], ...]
    types: tuple[type[msgspec.Struct], ...]


# Of any resource: only the group knows which.
AnyRoute = ApiRoute[Any]
AnyGroup = RouteGroup[Any]


def checked(handle: Handler, operation: Json) -> Handler:
    """Refuse requests with query parameters that the operation does not describe."""
    accepted = query_parameters(operation)

    async def answer(request: Request) -> Response:
        check_parameters([name for name, _ in request.query_params.multi_items()], accepted)
        return await handle(request)

    return answer


def check_parameters(given: list[str], accepted: tuple[str, ...]) -> None:
    """Refuse names of query parameters that are not accepted, or are repeated.

    Raises:
        InvalidRequest: names the first one, and what is accepted.
    """
    for place, name in enumerate(given):
        if name not in accepted:
            known = f"accepted are {', '.join(accepted)}" if accepted else "none is accepted here"
            raise InvalidRequest(f"is not a query parameter of this endpoint; {known}", name)
        if name in given[:place]:
            raise InvalidRequest("is given more than once", name)
