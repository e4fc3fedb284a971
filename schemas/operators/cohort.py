"""Cohorts (retention grids): persons who started in one period, and how many of them return."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.conditions import PropertyName, check_conditions
from schemas.definition_codec import DefinitionCodec
from schemas.definitions import (
    Definition,
    Text,
    counts_alike,
)
from schemas.event_filter import EventFilter
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.time.calendar import Period, WeekStart, find_zone
from schemas.time.since import Since, since_ms

MAX_PERIODS: Final = 60
MAX_COHORTS_PER_PROJECT: Final = 100


class ByValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A grid for each value of a property: a person counts for the value at their first start.

    Of several starts at the same time the same one is always chosen. Not to be set (null) is a
    value like others. The 25 values with the most persons are shown, all others together as
    `other`. On the stream each partition tracks 1,000 values (of 200 kB in all), and its figures
    equal ClickHouse's as long as no partition has more. Then the most frequent ones are tracked,
    `approximate` is true, and `error` says how many persons a value may lack at most.

    Values are compared as a whole: text to its end, and numbers exactly (1 and 1.0 are one value),
    but whole numbers beyond 64 bits as 64-bit floats. A text of more than 200 characters is shown
    as its first 200, `…`, and 16 hexadecimal digits of its MD5 digest. Lists and objects count as
    not set.
    """

    property: PropertyName


class Cohort(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A retention grid: a row for each period in which persons started, columns for later ones.

    A person belongs to the period of their first `start`; events before it do not count. They are
    counted in column n if a `return` event lies in the n-th period after that (`returned`), or in
    that period or any later one (`returned_or_later`). Column 0 is the period of the start itself,
    whichever of the two events came first in it. The columns are 0 to `periods` - 1.

    Periods are those of `timezone`, and weeks begin on `week_start`. A cohort that names neither
    when it is created or replaced has those of its project. For days and months, `week_start`
    changes nothing.

    With `since`, events before that time do not count, and a new definition reads the event store
    from that time on instead of from its beginning.
    """

    start: EventFilter
    returning: EventFilter = msgspec.field(name="return", default=EventFilter())
    period: Period = "day"
    periods: Annotated[int, Meta(ge=1, le=MAX_PERIODS)] = 12
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    week_start: WeekStart = "monday"
    breakdown: ByValue | None = None
    since: Since | None = None
    name: Text = ""
    description: Text = ""


class CohortDefinition(Definition, frozen=True, kw_only=True):
    """A cohort on the definitions topic."""

    KIND = "cohort"

    cohort: Cohort

    @property
    def since_ms(self) -> int:
        """The first moment whose events count (ms since 1970)."""
        return since_ms(self.cohort.since)


def decode_cohort(body: bytes) -> Cohort:
    """Decode a cohort from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: CohortDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> CohortDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a cohort.
    """
    return _CODEC.decode(value)


def _check(cohort: Cohort) -> None:
    check_conditions(cohort.start.where, "start.where")
    check_conditions(cohort.returning.where, "return.where")
    find_zone(cohort.timezone)
    since_ms(cohort.since)


def _counts_alike(before: CohortDefinition, after: CohortDefinition) -> bool:
    return counts_alike(_counted(before.cohort), _counted(after.cohort))


def _counted(cohort: Cohort) -> Cohort:
    """Return the cohort without what changes nothing that it counts."""
    if cohort.period == "week":
        return cohort
    return msgspec.structs.replace(cohort, week_start="monday")


_CODEC: Final = DefinitionCodec(
    Cohort,
    CohortDefinition,
    check=_check,
    check_stored=lambda definition: _check(definition.cohort),
)


COHORT: Final = OperatorSpec(
    name=CohortDefinition.KIND,
    plural="cohorts",
    decode=decode,
    encode=encode,
    counts_alike=_counts_alike,
    max_per_project=MAX_COHORTS_PER_PROJECT,
    aggregates=ResultTopic("cohorts", "cohort-result"),
)
