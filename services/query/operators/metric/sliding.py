"""Sliding windows: the aggregates of buckets, merged for the window that ends with each bucket."""

from collections.abc import Iterable, Mapping

from schemas.sketches.metric_aggregate import MetricAggregate


def slide(
    aggregates: Mapping[int, MetricAggregate], window: int, numbers: Iterable[int]
) -> dict[int, MetricAggregate]:
    """Merge, for each of the buckets `numbers`, the `window` buckets that end with it.

    A window without aggregates is left out. Windows are combined from runs of 1, 2, 4 … buckets,
    each merged once: the work grows with the logarithm of the window.
    """
    windows: dict[int, MetricAggregate] = {}
    ends = list(numbers)
    runs, length, done = dict(aggregates), 1, 0
    while True:
        if window & length:
            for number in ends:
                _merge(windows, number, runs.get(number - done))
            done += length
            if done == window:
                break
        longer = dict(runs)
        for number, aggregate in runs.items():
            _merge(longer, number + length, aggregate)
        runs, length = longer, 2 * length
    return windows


def _merge(
    into: dict[int, MetricAggregate], number: int, aggregate: MetricAggregate | None
) -> None:
    if aggregate is not None:
        known = into.get(number)
        into[number] = aggregate if known is None else known.merged(aggregate)
