"""What the API answers about a verification."""

import datetime
from typing import Final, Literal

import msgspec

from services.query.verify.audit import EventDifference
from services.query.verify.compare import FigureDifference
from services.query.views.progress import State

MAX_FIGURES: Final = 200
MAX_PERSONS: Final = 100

Cause = Literal["stream", "store"]
PersonProblem = Literal["only_on_stream", "only_in_store", "event_differs"]


class PersonDifference(msgspec.Struct, frozen=True):
    """A person behind a difference: `problem` is a code, `text` says it.

    `only_on_stream` and `only_in_store` say where a person is in a segment. `event_differs` names a
    person of whom the store has other events than the log.
    """

    person: str
    problem: PersonProblem
    text: str


def missing(person: str) -> PersonDifference:
    """Return the difference that the store lacks a person."""
    return PersonDifference(person, "only_on_stream", "is in on the stream, and not in ClickHouse")


def added(person: str) -> PersonDifference:
    """Return the difference that the stream lacks a person."""
    return PersonDifference(person, "only_in_store", "is in in ClickHouse, and not on the stream")


class VerificationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Whether ClickHouse counts what the stream counts, over the same events, as of one moment.

    `positions` and `clock` are those of the stream's figures, which ClickHouse is asked for.
    `equal` is true if all figures agree, but for those called `not_compared`, which the stream
    approximates or ClickHouse does not count. Sums may differ by rounding, quantiles of times by
    2 %.

    If they do not agree, `figures` has those that differ, up to 200 of the `differing`, by their
    path in the results. Then the events of the store are compared with those of the log, which
    `events` are found to differ, and `persons` are those behind the differences, up to 100 at a
    time. `next` is the next page's `after`, null at the end. `cause` is `store` if the store has
    other events than the log, `stream` if it has exactly those of the log, and null as long as
    nothing was found and not everything was compared. While `state` is `behind`, the stream lacks
    late events, and counts them in a moment.
    """

    id: str
    kind: str
    version: int
    state: State
    equal: bool
    clock: datetime.datetime | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None
    late_dropped: int
    not_compared: list[str]
    differing: int
    figures: list[FigureDifference]
    cause: Cause | None
    persons: list[PersonDifference]
    events: list[EventDifference]
    next: str | None
