"""Batches of events as a partition is given them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipelines.columnar.string_column import StringColumn
from pipelines.engine.events import Events, MatchedEvents, OffsetRange
from pipelines.matching.match import Key, Match


def events(
    persons: Sequence[str],
    offset: int,
    at: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    properties: Sequence[str] | None = None,
    project: str = "shop",
    begin: int | None = None,
) -> Events:
    """Events of some persons at consecutive offsets; `begin` is that of the batch."""
    count = len(persons)
    times = np.array(at, np.int64)
    return Events(
        OffsetRange(offset if begin is None else begin, offset + count),
        np.arange(offset, offset + count, dtype=np.int64),
        StringColumn.of(pa.array([project] * count, pa.string())),
        StringColumn.of(pa.array(persons, pa.string())),
        StringColumn.of(pa.array(names or ["home"] * count, pa.string())),
        pa.array(properties or ["{}"] * count, pa.string()),
        times,
        times,
    )


def first_steps(
    persons: Sequence[str],
    offset: int,
    keys: Sequence[Key],
    at: int = 0,
    begin: int | None = None,
    clock_offsets: Mapping[str, int] | None = None,
) -> MatchedEvents:
    """An event of each person, from `at` on (ms), that the first selector of each key selects."""
    count = len(persons)
    match = Match(np.arange(count), np.ones(count, np.uint32))
    batch = events(persons, offset, range(at, at + count), begin=begin)
    return MatchedEvents(batch, dict.fromkeys(keys, match), clock_offsets or {})
