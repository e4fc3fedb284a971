"""Batches of records of one topic-partition, as columns, and the outbox for what is written.

Keys and values lie in one block of memory each, and become objects only where a stage asks for
them. Batches are immutable: any number of agents may share one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Final, NamedTuple, Self, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from confluent_kafka import Message
from numpy.typing import NDArray

from pipelines.columnar.binary_column import BinaryColumn
from pipelines.columnar.string_column import ArrowColumn
from pipelines.kafka.header_column import HeaderColumn, Headers
from pipelines.kafka.topic_limits import MAX_REQUEST_BYTES, UNCHECKED_BYTES, TopicLimits

__all__ = [
    "BY_KEY",
    "Column",
    "Headers",
    "Outbox",
    "Outgoing",
    "RecordTooLarge",
    "Records",
    "Refused",
    "TopicPartition",
]

log = structlog.get_logger(__name__)

Column: TypeAlias = Sequence[bytes | None]
Int64s: TypeAlias = NDArray[np.int64]

_HEADER_BYTES: Final = 10  # that a header takes besides its name and its content
_LOGGED_KEY_BYTES: Final = 200

BY_KEY = -1  # as a partition: let the partitioner choose it by the key


class TopicPartition(NamedTuple):
    """A topic's partition. Faust's `TP` compares equal to it."""

    topic: str
    partition: int


class Records:
    """Consecutive records of one topic-partition, the lowest offset first; never empty.

    Offsets may have gaps, because transaction markers and aborted records are left out. All columns
    have one entry a record: `offsets` are ascending, `timestamps` are in Unix milliseconds and 0
    where there is none, a missing value is a tombstone.
    """

    def __init__(
        self,
        source: TopicPartition,
        offsets: Int64s,
        timestamps: Int64s,
        key_column: BinaryColumn,
        value_column: BinaryColumn,
        header_column: HeaderColumn | None = None,
    ) -> None:
        self.source = source
        self.offsets = offsets
        self.timestamps = timestamps
        self.key_column = key_column
        self.value_column = value_column
        self._headers = header_column

    @classmethod
    def of(cls, source: TopicPartition, messages: Sequence[Message]) -> Self:
        """Copy messages that were fetched one by one."""
        count = len(messages)
        stamps = (stamp for _, stamp in map(Message.timestamp, messages))
        headers = [cast(Headers, message.headers() or []) for message in messages]
        return cls(
            source,
            np.fromiter(map(Message.offset, messages), np.int64, count),
            np.maximum(np.fromiter(stamps, np.int64, count), 0),
            BinaryColumn.of(list(map(Message.key, messages))),
            BinaryColumn.of(list(map(Message.value, messages))),
            HeaderColumn.of(headers) if any(headers) else None,
        )

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def next_offset(self) -> int:
        """The offset after the last record, from which reading continues."""
        return int(self.offsets[-1]) + 1

    @cached_property
    def values(self) -> list[bytes | None]:
        """The records' values, each as an object; None is a tombstone."""
        return self.value_column.to_list()

    @cached_property
    def keys(self) -> list[bytes | None]:
        """The records' keys, each as an object."""
        return self.key_column.to_list()

    def headers(self, row: int) -> Headers:
        """Return the headers of one record, in order; a value may be None."""
        return [] if self._headers is None else self._headers.of_record(row)

    def before(self, offset: int) -> Self | None:
        """Return the records below an offset, or None if there is none; copies nothing."""
        count = int(np.searchsorted(self.offsets, offset))
        if count == len(self):
            return self
        return self._first(count) if count else None

    def _first(self, count: int) -> Self:
        return type(self)(
            self.source,
            self.offsets[:count],
            self.timestamps[:count],
            self.key_column.first(count),
            self.value_column.first(count),
            self._headers,
        )


class Outgoing(NamedTuple):
    """Records to write to one topic, in the transaction of the epoch that made them.

    With `partition` `BY_KEY` the key decides, by the partitioner that Java clients use too. Keys
    and values are Arrow binary arrays; a null value is a tombstone, a null key no key.
    """

    topic: str
    partition: int
    keys: ArrowColumn
    values: ArrowColumn
    headers: Sequence[Headers] | None = None

    def sizes(self) -> Int64s:
        """Return the bytes that each record takes: key, value and headers."""
        sizes = _lengths(self.keys) + _lengths(self.values)
        for row, headers in enumerate(self.headers or ()):
            sizes[row] += sum(
                len(name.encode()) + len(content or b"") + _HEADER_BYTES
                for name, content in headers
            )
        return sizes

    def filter(self, taken: NDArray[np.bool_]) -> "Outgoing":
        """Return some of the records."""
        headers = self.headers
        if headers is not None:
            headers = [headers[row] for row in np.flatnonzero(taken).tolist()]
        keys, values = self.keys.filter(taken), self.values.filter(taken)
        return self._replace(keys=keys, values=values, headers=headers)


class Refused(NamedTuple):
    """A record that is too large to be written, by its row in what was sent."""

    row: int
    bytes: int
    limit: int

    def __str__(self) -> str:
        return f"a record of {self.bytes} bytes cannot be written; accepted are {self.limit}"


class RecordTooLarge(ValueError):
    """A record is larger than its topic takes; says how large, and what is accepted."""


class Outbox:
    """Collects the records that an epoch writes, in order.

    A record that its topic would not take is refused here, because one that the broker refuses
    fails the whole transaction, each time that it is tried.
    """

    def __init__(self, limits: TopicLimits | None = None) -> None:
        self._outgoing: list[Outgoing] = []
        self._limits = limits
        self._unchecked_bytes = UNCHECKED_BYTES
        self._refuses_none = False  # inside `all_or_nothing`

    def __bool__(self) -> bool:
        return bool(self._outgoing)

    def send(
        self,
        topic: str,
        keys: Column | ArrowColumn,
        values: Column | ArrowColumn,
        *,
        partition: int = BY_KEY,
        headers: Sequence[Headers] | None = None,
    ) -> list[Refused]:
        """Add records to this epoch's transaction; return those that are too large for the topic.

        What is refused is logged, and it is the sender's to say what that costs. Keeps the
        arguments. May block when a topic has its first large record.

        When the epoch commits, all of them become visible to `read_committed` readers. If it fails,
        none do: they are dropped, and made again when the epoch's input is processed again.

        Raises:
            RecordTooLarge: a record is refused inside `all_or_nothing`.
            ValueError: keys, values and headers differ in number.
        """
        if len({len(keys), len(values), len(keys if headers is None else headers)}) > 1:
            raise ValueError("keys, values and headers must be equal in number")
        if not len(keys):
            return []
        outgoing = Outgoing(topic, partition, _column(keys), _column(values), headers)
        refused = self._too_large(outgoing)
        if refused and self._refuses_none:
            raise RecordTooLarge(f"{topic}: {refused[0]}")
        if refused:
            taken = np.ones(len(outgoing.keys), np.bool_)
            taken[[one.row for one in refused]] = False
            outgoing = outgoing.filter(taken)
        if len(outgoing.keys):
            self._outgoing.append(outgoing)
        return refused

    def limit(self, topic: str) -> int:
        """Return how many bytes a record of the topic may have; asks once, and may block then."""
        return MAX_REQUEST_BYTES if self._limits is None else self._limits.of(topic)

    def check_all(self) -> None:
        """Check every record from now on: the broker has refused one that was not checked."""
        self._unchecked_bytes = 0
        if self._limits is not None:
            self._limits.refresh()

    def _too_large(self, outgoing: Outgoing) -> list[Refused]:
        if self._limits is None:
            return []
        sizes = outgoing.sizes()
        if sizes.max() <= self._unchecked_bytes:
            return []
        limit = self._limits.of(outgoing.topic)
        refused = [
            Refused(row, int(sizes[row]), limit) for row in np.flatnonzero(sizes > limit).tolist()
        ]
        for one in refused:
            key = (outgoing.keys[one.row].as_py() or b"")[:_LOGGED_KEY_BYTES]
            log.error("record not written", topic=outgoing.topic, key=key, reason=str(one))
        return refused

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Remove what is sent inside if it ends with an error, which is passed on.

        A record that is too large for its topic is an error inside.
        """
        count, before = len(self._outgoing), self._refuses_none
        self._refuses_none = True
        try:
            yield
        except BaseException:
            del self._outgoing[count:]
            raise
        finally:
            self._refuses_none = before

    def take(self) -> list[Outgoing]:
        """Return what the outbox holds, and empty it."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing


def _lengths(column: ArrowColumn) -> Int64s:
    lengths: ArrowColumn = pc.binary_length(column)
    filled: Int64s = lengths.fill_null(0).to_numpy().astype(np.int64)
    return filled


def _column(values: Column | ArrowColumn) -> ArrowColumn:
    return values if isinstance(values, pa.Array) else pa.array(values, pa.binary())
