"""What the responses to queries of all kinds have in common."""

import datetime

import msgspec


class QueryResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that say which events are in an answer.

    `as_of` is the time of day at which the query was answered. `positions` has, for each partition
    of the event store, the offset before which all events of the project are included, and no
    others; the field `as_of` of a query takes them. `complete_until` is the time before which no
    event is missing, but for those that come later than the allowed lateness; null while that is
    unknown. `incomplete` says whether a figure may still change with the events
    to come; the figures that may are marked.
    """

    as_of: datetime.datetime
    complete_until: datetime.datetime | None
    positions: dict[int, int]
    incomplete: bool


class IntervalResponse(msgspec.Struct, frozen=True):
    """An interval of time, from `begin` to `end`, which is not part of it.

    It is `incomplete` if it has not ended by `complete_until`, and if the query's range has only a
    part of it.
    """

    begin: datetime.datetime
    end: datetime.datetime
    incomplete: bool
