"""What a prediction has asked, added up over partitions."""

from typing import NamedTuple

from services.query.views.progress import LIVE, StatusResponse


class PredictionAggregates(NamedTuple):
    """Questions by days since 1970 and in all, the events that asked none, and how far it is."""

    asked: int
    capped: int
    sampled_out: int
    late_triggers: int
    days: dict[int, int]
    updated_at: int | None
    positions: dict[int, int]
    status: StatusResponse = LIVE
