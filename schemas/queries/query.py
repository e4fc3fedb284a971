"""What the queries of all kinds have in common."""

from collections.abc import Callable, Iterator
from typing import Annotated, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from schemas.definitions import read_request
from schemas.queries.filters import QueryFilters, Reference, check_filters, references
from schemas.time.calendar import WeekStart, find_zone

TimeText = Annotated[str, Meta(max_length=64)]


class Query(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    rename={"from_": "from"},
):
    """The fields that queries of all kinds have.

    `from` and `to` bound the times of the events. A date, `2026-11-22`, is that whole day of the
    time zone: `from` is its first moment, and `to` includes it. A date and time with a zone, such
    as `2026-11-22T10:00:00Z`, is a moment, which `from` includes and `to` does not. Without `to`
    the range ends now. `timezone` and `week_start` are by default those of the project. `where`
    has filters that all events must pass.

    `as_of` asks over exactly the events below the `positions` of an earlier answer, or over those
    that were appended to the event store before a time.
    """

    where: QueryFilters = ()
    from_: TimeText | None = None
    to: TimeText | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    week_start: WeekStart = "monday"
    as_of: dict[int, int] | Annotated[str, Meta(max_length=50_000)] | None = None

    def check(self) -> None:
        """Refuse what the types alone accept.

        Raises:
            InvalidRequest: names the field and what is accepted.
        """
        find_zone(self.timezone)
        check_filters(self.where, "where")

    def references(self) -> Iterator[Reference]:
        """Yield the segments that the query refers to."""
        yield from references(self.where, "where")


Q = TypeVar("Q", bound=Query)


class QuerySpec(NamedTuple, Generic[Q]):
    """A kind of query: its name, which is part of the path, and the type of its request."""

    name: str
    request: type[Q]
    summary: str
    decode: Callable[[bytes], Q]


def query_spec(name: str, request: type[Q], summary: str) -> QuerySpec[Q]:
    """Return the spec of a kind; its `decode` raises `InvalidRequest` with the field's path."""
    decoder = msgspec.json.Decoder(request)

    def decode(body: bytes) -> Q:
        query = read_request(decoder, body)
        query.check()
        return query

    return QuerySpec(name, request, summary, decode)
