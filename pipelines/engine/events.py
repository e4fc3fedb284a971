"""Batches of the event store on their way down: as records, decoded, matched with definitions."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import structlog

from pipelines.columnar.jit import Int64s
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.kafka.avro_values import ValueDecoder
from pipelines.kafka.records import Records
from pipelines.matching.match import Key, Match
from schemas.avro import files
from schemas.registry.client import SchemaRegistry

log = structlog.get_logger(__name__)


class OffsetRange(NamedTuple):
    """The offsets from `begin` (inclusive) to `end` (exclusive)."""

    begin: int
    end: int


class Events(NamedTuple):
    """Decoded events, one entry each, in the order of their offsets.

    `range` is the range of the event store that they cover. It may hold offsets without an event,
    at both ends as well. `at` are the events' own times, `record_times` those of their records, in
    ms since 1970; `properties` is an Arrow column of JSON texts. `ids` are the events' UUIDs.
    """

    range: OffsetRange
    offsets: Int64s
    projects: StringColumn
    persons: StringColumn
    names: StringColumn
    properties: ArrowColumn
    at: Int64s
    record_times: Int64s
    ids: StringColumn | None = None


class MatchedEvents(NamedTuple):
    """Events, and the rows that each definition selects.

    `failures` are the definitions that could not be matched. `clock_offsets` say, for each project
    with definitions, how far its newest event is ahead of the broker's clock (ms).
    """

    events: Events
    matches: Mapping[Key, Match]
    clock_offsets: Mapping[str, int] = {}
    failures: Mapping[Key, Exception] = {}


class EventDecoder:
    """Decodes records of the event store."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._decode = ValueDecoder(
            files.load("event"), registry.find, ours=True, shipped=files.history("event")
        ).decode

    def decode(self, records: Records, begin: int) -> Events:
        """Decode records that follow offset `begin` (inclusive). May ask the registry, and block.

        A record that is no event is logged and left out. The Tracker writes none.
        """
        decoded = self._decode(records.value_column)
        for failure in decoded.failures:
            log.error(
                "not an event",
                source=records.source,
                offset=int(records.offsets[failure.row]),
                reason=failure.reason,
                detail=failure.detail,
            )
        column = decoded.batch.column
        return Events(
            OffsetRange(begin, records.next_offset),
            records.offsets[decoded.rows],
            StringColumn.of(column("project_id")),
            StringColumn.of(column("person_id")),
            StringColumn.of(column("event")),
            column("properties"),
            np.asarray(column("timestamp").cast(pa.int64())),
            records.timestamps[decoded.rows],
            StringColumn.of(column("event_id")),
        )
