"""Funnels, cohorts and segments that are asked once, by the bodies that define them."""

from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.errors import InvalidRequest
from schemas.operators.cohort import Cohort, decode_cohort
from schemas.operators.funnel import Funnel, decode_funnel
from schemas.operators.segment import Rule, decode_segment
from schemas.queries.lists import Cursor
from schemas.queries.query import Query, query_spec

_OF_RANGE: Final = ("timezone", "week_start", "since")


class FunnelQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """How far persons get who enter a funnel from the day `from` to the day `to`.

    `funnel` is the body of a funnel, with all options; the days are those of the query's time zone.
    Conversions after the range count, if they are within the window. Only events that pass `where`
    count.
    """

    funnel: Funnel

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        _check_body(self.funnel, decode_funnel, "funnel")


class CohortQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A retention grid of persons who begin from the day `from` to the day `to`.

    `cohort` is the body of a cohort without a breakdown; its periods are those of the query's time
    zone. Only events that pass `where` count.
    """

    cohort: Cohort

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        _check_body(self.cohort, decode_cohort, "cohort")
        if self.cohort.breakdown is not None:
            raise InvalidRequest("must not be set in a query", "cohort.breakdown")


class SegmentQuery(
    Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """How many persons a rule holds for now, and who they are, by id.

    `rule` is that of a segment. Only events that pass `where` count; `from` and `to` are not
    accepted, as rules have times of their own.
    """

    rule: Rule
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 50
    after: Cursor = ""

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        if self.from_ is not None or self.to is not None:
            raise InvalidRequest("must not be set for segments", "from")
        decode_segment(msgspec.json.encode({"rule": self.rule}))


def _check_body(body: msgspec.Struct, decode: Callable[[bytes], object], path: str) -> None:
    """Refuse what the definition refuses, and the fields that the query has itself."""
    given = msgspec.to_builtins(body)
    for name in _OF_RANGE:
        if name in given:
            raise InvalidRequest("must be set for the query, not in its body", f"{path}.{name}")
    try:
        decode(msgspec.json.encode(body))
    except InvalidRequest as error:
        field = f"{path}.{error.field}" if error.field else path
        raise InvalidRequest(error.reason, field) from None


FUNNEL: Final = query_spec("funnel", FunnelQuery, "How far persons get in a funnel")
COHORT: Final = query_spec("cohort", CohortQuery, "A retention grid")
SEGMENT: Final = query_spec("segment", SegmentQuery, "Persons for whom a rule holds now")
