"""Batches of records of one topic-partition, as columns, and the outbox for what is written.

A column is built when it is first used, so that a stage that needs no keys or headers does not pay
for them. Batches are immutable: any number of agents may share one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import pyarrow as pa
from confluent_kafka import Message
from numpy.typing import NDArray

from pipelines.columnar.string_column import ArrowColumn

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
Column: TypeAlias = Sequence[bytes | None]
Int64s: TypeAlias = NDArray[np.int64]

BY_KEY = -1  # as a partition: let the partitioner choose it by the key


class TopicPartition(NamedTuple):
    """A topic's partition. Faust's `TP` compares equal to it."""

    topic: str
    partition: int


class Records:
    """Consecutive records of one topic-partition, the lowest offset first; never empty.

    Offsets may have gaps, because transaction markers and aborted records are left out.
    """

    def __init__(self, source: TopicPartition, messages: list[Message]) -> None:
        self.source = source
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def next_offset(self) -> int:
        """The offset after the last record, from which reading continues."""
        return _offset(self._messages[-1]) + 1

    @cached_property
    def offsets(self) -> Int64s:
        """Shape (n,), ascending."""
        # Row by row only where there are gaps: most batches have few.
        offsets = np.empty(len(self), np.int64)
        parts = [(0, len(self) - 1)]
        while parts:
            begin, last = parts.pop()
            first = _offset(self._messages[begin])
            if _offset(self._messages[last]) - first == last - begin:
                offsets[begin : last + 1] = np.arange(first, first + last - begin + 1)
            else:
                middle = (begin + last) // 2
                parts += [(begin, middle), (middle + 1, last)]
        return offsets

    @cached_property
    def timestamps(self) -> Int64s:
        """Shape (n,): the records' timestamps in Unix milliseconds, 0 where there is none."""
        stamps = map(itemgetter(1), map(Message.timestamp, self._messages))
        return np.maximum(np.fromiter(stamps, np.int64, len(self)), 0)

    @cached_property
    def values(self) -> list[bytes | None]:
        """The records' values; None is a tombstone."""
        return list(map(Message.value, self._messages))

    @cached_property
    def keys(self) -> list[bytes | None]:
        """The records' keys."""
        return list(map(Message.key, self._messages))

    def headers(self, row: int) -> Headers:
        """Return the headers of one record, in order; a value may be None."""
        return cast(Headers, self._messages[row].headers() or [])


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None, "a fetched record has an offset"
    return offset


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


class Outbox:
    """Collects the records that an epoch writes, in order."""

    def __init__(self) -> None:
        self._outgoing: list[Outgoing] = []

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
    ) -> None:
        """Add records to this epoch's transaction; does not block, and keeps the arguments.

        When the epoch commits, all of them become visible to `read_committed` readers. If it fails,
        none do: they are dropped, and made again when the epoch's input is processed again.

        Raises:
            ValueError: keys, values and headers differ in number.
        """
        if len({len(keys), len(values), len(keys if headers is None else headers)}) > 1:
            raise ValueError("keys, values and headers must be equal in number")
        if len(keys):
            columns = _column(keys), _column(values)
            self._outgoing.append(Outgoing(topic, partition, *columns, headers))

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Remove what is sent inside if it ends with an error, which is passed on."""
        count = len(self._outgoing)
        try:
            yield
        except BaseException:
            del self._outgoing[count:]
            raise

    def take(self) -> list[Outgoing]:
        """Return what the outbox holds, and empty it."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing


def _column(values: Column | ArrowColumn) -> ArrowColumn:
    return values if isinstance(values, pa.Array) else pa.array(values, pa.binary())
