"""Sliding windows: tallies of buckets, merged into those of windows that end with each bucket."""

from collections.abc import Iterable, Mapping

from schemas.sketches.metric_aggregate import MetricAggregate


def slide(
    tallies: Mapping[int, MetricAggregate], window: int, numbers: Iterable[int]
) -> dict[int, MetricAggregate]:
    """Merge, for each of some buckets, the `window` ones that end with it; none for none.

    A window is put together from stretches of 1, 2, 4 … buckets, each merged but once, so that the
    work is that of some merges a bucket, however long the window is.
    """
    found: dict[int, MetricAggregate] = {}
    wanted = list(numbers)
    stretches, length, done = dict(tallies), 1, 0
    while True:
        if window & length:
            for number in wanted:
                _merge(found, number, stretches.get(number - done))
            done += length
            if done == window:
                break
        longer = dict(stretches)
        for number, tally in stretches.items():
            _merge(longer, number + length, tally)
        stretches, length = longer, 2 * length
    return found


def _merge(into: dict[int, MetricAggregate], number: int, tally: MetricAggregate | None) -> None:
    if tally is not None:
        known = into.get(number)
        into[number] = tally if known is None else known.merged(tally)
