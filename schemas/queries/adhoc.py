"""Funnels, cohorts and segments that are asked once, by the bodies that define them."""

from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from schemas.conditions import PropertyName, Scalar
from schemas.definitions import Id
from schemas.errors import InvalidRequest
from schemas.operators.cohort import Cohort, decode_cohort
from schemas.operators.funnel import MAX_STEPS, Funnel, decode_funnel
from schemas.operators.segment import Rule, decode_segment
from schemas.queries.filters import PersonAt, Reference
from schemas.queries.lists import Cursor, Limit
from schemas.queries.query import Query, query_spec

_OF_RANGE: Final = ("timezone", "week_start", "since")
_ONE_OF: Final = "must have exactly one of `property`, `person` and `segment`"

Top = Annotated[int, Meta(ge=1, le=100)]
StepNumber = Annotated[int, Meta(ge=1, le=MAX_STEPS)]
Attribution = Literal["first", "last", "first_touch"] | StepNumber
FunnelOutcome = Literal["reached", "dropped", "open"]


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
        if sum(one is not None for one in (by.property, by.person, by.segment)) != 1:
            raise InvalidRequest(_ONE_OF, "breakdown")
        if by.at != "now" and by.person is None:
            raise InvalidRequest("must be set with `person` only", "breakdown.at")
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
        if persons.value is not UNSET and persons.other:
            raise InvalidRequest("must not be set together with `value`", "persons.other")
        if (persons.value is not UNSET or persons.other) and self.by is None:
            message = "must be set with a breakdown only"
            raise InvalidRequest(message, f"persons.{'other' if persons.other else 'value'}")


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
