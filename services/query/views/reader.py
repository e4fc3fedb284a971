"""Topics of results, and how their records are decoded."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import pyarrow as pa
import structlog
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.operators.spec import ResultTopic

log = structlog.get_logger(__name__)


class VersionKey(NamedTuple):
    """One version of one definition, among those of its kind."""

    project_id: str
    id: str
    version: int


class VersionedRecord(Protocol):
    """What the records of all result topics have in common."""

    @property
    def version_key(self) -> VersionKey:
        """The definition, and the version, that was counted."""


R = TypeVar("R", bound=VersionedRecord)


class ResultSource(NamedTuple, Generic[R]):
    """A topic of results, under the name that its view is reported by.

    `read` turns decoded rows into records, one each, in their order.
    """

    name: str
    topic: ResultTopic
    read: Callable[[pa.RecordBatch], Sequence[R]]


class Update(NamedTuple, Generic[R]):
    """A record by its key; None for a tombstone."""

    key: bytes
    record: R | None


class ResultReader(Generic[R]):
    """Decodes records of a result topic; for the thread that reads it.

    Raises what looking up an unknown schema raises; call again then.
    """

    def __init__(self, codec: Codec, read: Callable[[pa.RecordBatch], Sequence[R]]) -> None:
        self._codec = codec
        self._read = read

    def __call__(self, messages: list[Message]) -> list[Update[R]]:
        """Return the readable records; the others are logged and left out."""
        keys = [message.key() or b"" for message in messages]
        filled = [row for row, message in enumerate(messages) if message.value() is not None]
        decoded = self._codec.decode([messages[row].value() for row in filled])
        for failure in decoded.failures:
            message = messages[filled[failure.row]]
            log.error(
                "result_unreadable", key=message.key(), offset=message.offset(), why=failure[1:]
            )
        rows = (filled[row] for row in decoded.rows.tolist())
        records = dict(zip(rows, self._read(decoded.batch), strict=True))
        return [
            Update(key, records.get(row))
            for row, key in enumerate(keys)
            if row in records or messages[row].value() is None
        ]
