"""Funnels, cohorts and segments that are asked once, by the bodies that define them."""

import datetime
from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.conditions import PropertyName, Scalar
from schemas.definitions import Id
from schemas.errors import InvalidRequest
from schemas.operators.cohort import MAX_PERIODS, Cohort, decode_cohort
from schemas.operators.funnel import MAX_STEPS, Funnel, decode_funnel
from schemas.operators.segment import Rule, decode_segment
from schemas.queries.filters import PersonAt, Reference
from schemas.queries.lists import Cursor, Limit
from schemas.queries.query import Query, query_spec
from schemas.queries.trends import BreakdownBy, check_breakdown
from schemas.time.calendar import begin_of, number_of

_OF_RANGE: Final = ("timezone", "week_start", "since")

Top = Annotated[int, Meta(ge=1, le=100)]
StepNumber = Annotated[int, Meta(ge=1, le=MAX_STEPS)]
Attribution = Literal["first", "last", "first_touch"] | StepNumber
FunnelOutcome = Literal["reached", "dropped", "open"]
CohortEntry = Literal["first", "recurring"]
CohortColumns = Literal["calendar", "rolling"]
CohortCounted = Literal["persons", "returned", "returned_or_later"]


class FunnelBreakdownBy(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What a funnel is broken down by, one of three.

    `property` is a property of the event, `person` one that the person has now or, with `at`
    `event`, had at the event, and `segment` whether the person is in that segment now.

    `attribution` says whose value of a property a chain has: that of its `first` event, of its
    `last` so far, or of the one that was step n (null if the chain has not reached it). With
    `first_touch` it is that of the first of all events of the person that has the property.
    """

    property: PropertyName | None = None
    person: PropertyName | None = None
    segment: Id | None = None
    at: PersonAt = "now"
    attribution: Attribution = "first"


class FunnelPersons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which persons of a funnel are asked for: those who `reached` a step, or did not.

    Of those who reached the step before it, which is the nearest that is not optional, but not the
    step, `open` are those who have time left for it, and `dropped` the others. With `value` or
    `other` they are those of a value of the breakdown, or of all values that are not shown.
    """

    step: StepNumber
    outcome: FunnelOutcome = "reached"
    value: Scalar | UnsetType | None = UNSET
    other: bool = False
    limit: Limit = 50
    after: Cursor = ""


class FunnelQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """How far persons get who enter a funnel from the day `from` to the day `to`.

    `funnel` is the body of a funnel, with all options; the days are those of the query's time zone.
    Conversions after the range count, if they are within the window. Only events that pass `where`
    count.

    `breakdown` has the figures of each of the `top` values with which the most persons entered, and
    of all others together; equal ones are in the order of the values. A person counts once for each
    value, and once among the others. `persons` asks for those behind a figure, by id.
    """

    funnel: Funnel
    breakdown: FunnelBreakdownBy | None = None
    top: Top = 10
    persons: FunnelPersons | None = None

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        _check_body(self.funnel, decode_funnel, "funnel")
        if self.breakdown is not None:
            self._check_breakdown(self.breakdown)
        if self.persons is not None:
            self._check_persons(self.persons)

    @property
    def by(self) -> FunnelBreakdownBy | None:
        """What the figures are broken down by: the body may say it as well."""
        own = self.funnel.breakdown
        if self.breakdown is None and own is not None:
            return FunnelBreakdownBy(own.property, attribution=own.attribution)
        return self.breakdown

    def references(self) -> Iterator[Reference]:
        """Yield the segments that the query refers to."""
        yield from super().references()
        if self.breakdown is not None and self.breakdown.segment is not None:
            yield Reference(self.breakdown.segment, "breakdown.segment")

    def _check_breakdown(self, by: FunnelBreakdownBy) -> None:
        if self.funnel.breakdown is not None:
            raise InvalidRequest("must not be set together with `funnel.breakdown`", "breakdown")
        check_breakdown(BreakdownBy(by.property, by.person, by.at, by.segment), "breakdown")
        of_person = by.segment is not None or (by.person is not None and by.at == "now")
        if by.attribution != "first" and of_person:
            message = "must not be set: persons have one value now"
            raise InvalidRequest(message, "breakdown.attribution")
        if by.attribution == "first_touch" and by.property is None:
            raise InvalidRequest("must be set with `property` only", "breakdown.attribution")
        steps = len(self.funnel.steps)
        if isinstance(by.attribution, int) and by.attribution > steps:
            message = f"must be `first`, `last`, `first_touch`, or 1 to {steps}"
            raise InvalidRequest(message, "breakdown.attribution")

    def _check_persons(self, persons: FunnelPersons) -> None:
        steps = len(self.funnel.steps)
        least = 1 if persons.outcome == "reached" else 2
        if not least <= persons.step <= steps:
            raise InvalidRequest(f"must be from {least} to {steps}", "persons.step")
        _check_value(persons, self.by is not None)


class CohortPersons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which persons of a grid are asked for: those of the row that begins on the day `begin`.

    `returned` and `returned_or_later` are those in the cell of that `column`, and `persons` all of
    the row. With `value` or `other` they are those of a value of the breakdown, or of all values
    that are not shown.
    """

    begin: datetime.date
    column: Annotated[int, Meta(ge=0, lt=MAX_PERIODS)] = 0
    counted: CohortCounted = "persons"
    value: Scalar | UnsetType | None = UNSET
    other: bool = False
    limit: Limit = 50
    after: Cursor = ""


class CohortQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A retention grid of persons who begin in the periods that the range touches.

    `cohort` is the body of a cohort without a breakdown; its periods are those of the query's time
    zone, and count as a whole. Only events that pass `where` count.

    With `entry` `first`, a person belongs to the period of their first `start` of all time; with
    `recurring`, to each period in which they have one. With `columns` `calendar`, column n is the
    n-th period after that. With `rolling`, it is counted from the person's own first start in the
    period: column n has the returns from n to n + 1 times 24 hours, 7 days or 30 days after it.

    `breakdown` has a grid for each of the `top` values with the most persons, and one for all
    others; equal ones are in the order of the values. The value of a property of events is that of
    the start by which a person belongs to the row. `persons` asks for those behind a cell, by id.
    """

    cohort: Cohort
    entry: CohortEntry = "first"
    columns: CohortColumns = "calendar"
    breakdown: BreakdownBy | None = None
    top: Top = 10
    persons: CohortPersons | None = None

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        _check_body(self.cohort, decode_cohort, "cohort")
        if self.cohort.breakdown is not None:
            message = "must not be set in a query: its field `breakdown` is accepted"
            raise InvalidRequest(message, "cohort.breakdown")
        if self.breakdown is not None:
            check_breakdown(self.breakdown, "breakdown")
        if self.persons is not None:
            self._check_persons(self.persons)

    def references(self) -> Iterator[Reference]:
        """Yield the segments that the query refers to."""
        yield from super().references()
        if self.breakdown is not None and self.breakdown.segment is not None:
            yield Reference(self.breakdown.segment, "breakdown.segment")

    def _check_persons(self, persons: CohortPersons) -> None:
        if persons.column >= self.cohort.periods:
            raise InvalidRequest(f"must be less than {self.cohort.periods}", "persons.column")
        period = number_of(self.cohort.period, persons.begin, self.week_start)
        if begin_of(self.cohort.period, period, self.week_start) != persons.begin:
            raise InvalidRequest(f"no {self.cohort.period} begins on that day", "persons.begin")
        _check_value(persons, self.breakdown is not None)


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


def _check_value(persons: FunnelPersons | CohortPersons, broken_down: bool) -> None:
    """Refuse persons of a value where there is none, or more than one."""
    if persons.value is not UNSET and persons.other:
        raise InvalidRequest("must not be set together with `value`", "persons.other")
    if (persons.value is not UNSET or persons.other) and not broken_down:
        name = "other" if persons.other else "value"
        raise InvalidRequest("must be set with a breakdown only", f"persons.{name}")


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
