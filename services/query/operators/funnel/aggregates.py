"""What is counted of a funnel, on the stream or by ClickHouse."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from schemas.sketches.durations import Sketch
from schemas.value_tokens import token_of_json
from services.query.operators.breakdown import MAX_SHOWN
from services.query.views.progress import LIVE, StatusResponse


class ValueCounts(NamedTuple):
    """How many persons reached each step with one value, and chains if the funnel counts them."""

    reached: list[int]
    entries: list[int]


# By the value in JSON; None for all values that are not tracked.
Values = Mapping[str | None, ValueCounts]


class DayCounts(NamedTuple):
    """How many persons of one entry day reached each step, and the times that they took.

    `entries` counts the chains that reached each step; empty if the funnel does not count them.
    """

    reached: list[int]
    times: list[Sketch]
    entries: list[int]
    values: Values = MappingProxyType({})


class FunnelAggregates(NamedTuple):
    """All that is counted of a funnel, by days since 1970, and how far it is (`status`).

    `total` has each person once. `values_error` says how many persons a value may lack at most;
    None if the figures by value are exact.
    """

    total: list[int]
    days: dict[int, DayCounts]
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    status: StatusResponse = LIVE
    entries: Sequence[int] = ()
    values: Values = MappingProxyType({})
    values_error: int | None = None


def top_values(values: Values) -> list[str]:
    """Return the values that most persons entered with, which are shown by themselves."""

    def place(value: str) -> tuple[int, str]:
        return -values[value].reached[0], token_of_json(value)

    breakdown_values = (value for value in values if value is not None and values[value].reached[0])
    return sorted(breakdown_values, key=place)[:MAX_SHOWN]


def add_up(parts: Sequence[ValueCounts]) -> ValueCounts:
    """Return the sum of some counts."""
    reached = [sum(column) for column in zip(*(part.reached for part in parts), strict=True)]
    entries = [part.entries for part in parts if part.entries]
    return ValueCounts(reached, [sum(column) for column in zip(*entries, strict=True)])
