"""Compares the rows of the store with the records of the log, offset by offset.

The log is the truth: a row that the store lacks, has beside it, or has otherwise, explains why a
figure of ClickHouse differs from the stream's.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.errors import InvalidRequest
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import Prefix, Statement, events
from services.query.clickhouse.queries import EventStore

Problem = Literal["missing_in_store", "not_in_log", "differs", "twice_in_store"]

MAX_FOUND: Final = 100
_BATCH: Final = 20_000
# The range of DateTime64: the sink replaces times out of it by the nearest.
FIRST_MS: Final = -2_208_988_800_000
LAST_MS: Final = 10_413_791_999_999
_TIMEOUT_S: Final = 8.0

_TEXTS: Final[dict[Problem, str]] = {
    "missing_in_store": "the log has this event, the store does not",
    "not_in_log": "the store has this event, the log does not",
    "differs": "the store has another person, name or time for this event than the log",
    "twice_in_store": "the store has this event more than once",
}


class EventDifference(msgspec.Struct, frozen=True):
    """An event that the store does not have as the log has it: `problem` is a code, `text` says it.

    `person` is whose event it is: by the log, or by the store if the log has none.
    """

    partition: int
    offset: int
    person: str
    event: str
    problem: Problem
    text: str


class Audited(NamedTuple):
    """The differences found, and where the next page begins: None if all has been compared."""

    found: list[EventDifference]
    next: tuple[int, int] | None


class _Row(NamedTuple):
    person: str
    event: str
    at: int


class Audit:
    """Compares a project's events below some positions with the log, page by page."""

    def __init__(self, store: EventStore, codec: Codec) -> None:
        self._store, self._codec = store, codec

    async def page(
        self, project_id: str, positions: Mapping[int, int], after: tuple[int, int]
    ) -> Audited:
        """Compare events from a partition and an offset on, for up to some seconds.

        Raises what `EventStore.query` does, and `Unavailable` if Kafka does not answer.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        found: list[EventDifference] = []
        for number, end in sorted(positions.items()):
            begin = after[1] if number == after[0] else 0
            while number >= after[0] and begin < end:
                if len(found) >= MAX_FOUND or time.monotonic() > deadline:
                    return Audited(found, (number, begin))
                until, log = await self._log(project_id, number, begin, end)
                store = await self._rows(project_id, number, begin, until)
                found += _compared(number, log, store)
                begin = until
        return Audited(found, None)

    async def _log(
        self, project_id: str, number: int, begin: int, end: int
    ) -> tuple[int, dict[int, _Row]]:
        """Return the project's events in the log from an offset on, and where they end."""
        until, messages = await asyncio.to_thread(
            self._store.log.offsets.records, number, begin, end, _BATCH
        )
        prefix = f"{project_id}:".encode()
        own = [message for message in messages if (message.key() or b"").startswith(prefix)]
        return until, await asyncio.to_thread(self._decoded, own)

    def _decoded(self, messages: list[Message]) -> dict[int, _Row]:
        decoded = self._codec.decode([message.value() for message in messages])
        persons, events_, times = map(decoded.batch.column, ("person_id", "event", "timestamp"))
        at = np.clip(times.cast(pa.int64()).to_numpy(), FIRST_MS, LAST_MS).tolist()
        rows = map(_row, zip(persons.to_pylist(), events_.to_pylist(), at, strict=True))
        offsets = (messages[row].offset() or 0 for row in decoded.rows.tolist())
        return dict(zip(offsets, rows, strict=True))

    async def _rows(
        self, project_id: str, number: int, begin: int, end: int
    ) -> dict[int, list[_Row]]:
        def state(source: Prefix) -> Statement:
            bind = Binder()
            text = f"""
SELECT _offset, person_id, event, toUnixTimestamp64Milli(timestamp)
FROM {events(source, project_id, bind)} AND _offset >= {bind(begin, "UInt64")}
"""  # noqa: S608
            return Statement(text, bind.parameters)

        result = await self._store.query(project_id, state, {number: end})
        rows: dict[int, list[_Row]] = {}
        for offset, *row in zip(*result.columns, strict=True):
            rows.setdefault(int(offset), []).append(_row(row))
        return rows


def _row(row: Iterable[Any]) -> _Row:
    person, event, at = row
    return _Row(str(person), str(event), int(at))


def _compared(
    number: int, log: Mapping[int, _Row], store: Mapping[int, list[_Row]]
) -> Iterator[EventDifference]:
    for offset in sorted(log.keys() | store.keys()):
        row, rows = log.get(offset), store.get(offset, [])
        problem: Problem
        if row is None:
            problem = "not_in_log"
        elif not rows:
            problem = "missing_in_store"
        elif len(rows) > 1:
            problem = "twice_in_store"
        elif rows[0] != row:
            problem = "differs"
        else:
            continue
        of = row or rows[0]
        yield EventDifference(number, offset, of.person, of.event, problem, _TEXTS[problem])


def read_cursor(text: str | None) -> tuple[int, int]:
    """Read where a page begins: `partition:offset`.

    Raises:
        InvalidRequest: it is no such place.
    """
    if text is None:
        return 0, 0
    number, _, offset = text.partition(":")
    if all(part.isascii() and part.isdigit() and len(part) < 19 for part in (number, offset)):
        return int(number), int(offset)
    raise InvalidRequest("accepted is `next` of an earlier answer", "after")
