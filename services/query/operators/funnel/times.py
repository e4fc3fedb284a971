"""The histogram of the times that persons took to a step. Pure."""

import datetime
from typing import Final

import msgspec

from schemas.sketches.durations import EDGES, Sketch, mean, merge, quantile
from services.query.http.params import Source
from services.query.operators.funnel.aggregates import FunnelAggregates
from services.query.operators.funnel.response import day_of, rounded
from services.query.views.progress import State

MAX_BINS: Final = 200
DEFAULT_BINS: Final = 20


class TimeBin(msgspec.Struct, frozen=True):
    """Persons who took from `from_ms` to `to_ms`, both included."""

    from_ms: int
    to_ms: int
    persons: int


class FunnelTimesResponse(msgspec.Struct, frozen=True):
    """How long persons took to a step from their first: each person once for each entry day.

    The bins follow each other without gaps, from the shortest time to the longest; each is some
    number of times as long as the one before it. The persons of each bin are exact. `previous` is
    as in the funnel's results; it is null if the previous version has no such step. `positions`
    and `complete_until` say which events are included, as with the results.
    """

    step: int
    source: Source
    state: State
    persons: int
    mean_ms: int | None
    median_ms: int | None
    p90_ms: int | None
    bins: list[TimeBin]
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None
    previous: "FunnelTimesResponse | None" = None


def histogram(
    aggregates: FunnelAggregates,
    source: Source,
    step: int,
    bins: int,
    first: datetime.date,
    last: datetime.date,
    previous: FunnelTimesResponse | None = None,
    complete_until: datetime.datetime | None = None,
) -> FunnelTimesResponse:
    """Return the times to a step (from 1) of the persons who entered from `first` to `last`."""
    times = merge(
        counts.times[step - 1]
        for number, counts in aggregates.days.items()
        if (day := day_of(number)) is not None and first <= day <= last
    )
    return FunnelTimesResponse(
        step=step,
        source=source,
        state=aggregates.status.state,
        persons=int(times.counts.sum()),
        mean_ms=rounded(mean(times)),
        median_ms=rounded(quantile(times, 0.5)),
        p90_ms=rounded(quantile(times, 0.9)),
        bins=binned(times, bins),
        positions=dict(sorted(aggregates.positions.items())),
        complete_until=complete_until,
        previous=previous,
    )


def binned(times: Sketch, bins: int) -> list[TimeBin]:
    """Combine the buckets of a sketch into up to `bins` bins of equally many buckets."""
    if not len(times.buckets):
        return []
    begin, end = int(times.buckets[0]), int(times.buckets[-1]) + 1
    width = -(-(end - begin) // bins)
    combined = []
    for bucket in range(begin, end, width):
        inside = (times.buckets >= bucket) & (times.buckets < bucket + width)
        least = int(EDGES[bucket - 1]) + 1 if bucket else 0
        most = int(EDGES[min(bucket + width, end) - 1])
        combined.append(TimeBin(least, most, int(times.counts[inside].sum())))
    return combined
