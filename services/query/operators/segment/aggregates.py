"""What is counted of a segment, on the stream or by ClickHouse."""

from typing import NamedTuple

import msgspec

from services.query.views.progress import LIVE, StatusResponse


class Moves(msgspec.Struct, frozen=True):
    """How often persons entered and left."""

    entered: int
    left: int

    def __add__(self, other: "Moves") -> "Moves":
        return Moves(self.entered + other.entered, self.left + other.left)


class SegmentAggregates(NamedTuple):
    """All that is counted of a segment, by days since 1970, and how far it is (`status`).

    `scores_since` is the time (ms) from which on scores count in all partitions.
    """

    persons: int
    days: dict[int, Moves]
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    scores_since: int | None = None
    status: StatusResponse = LIVE
