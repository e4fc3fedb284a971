"""A view of results: the newest record of each key, by the version of the definition it is of."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import pyarrow as pa
import structlog
from confluent_kafka import Message

from schemas.codec import Codec
from schemas.definitions import Definition

log = structlog.get_logger(__name__)

Version: TypeAlias = tuple[str, str, int]  # project, definition, version


class Result(Protocol):
    """What is common to the results of all kinds."""

    @property
    def of(self) -> Version:
        """The definition that was counted."""


R = TypeVar("R", bound=Result)


class Progress(NamedTuple):
    """How far one partition is: events below `position` are counted.

    `backfilling_to` is the offset it has to reach to be live, None if it is.
    """

    position: int
    backfilling_to: int | None

    @property
    def share(self) -> float:
        """The share of the partition's events that is counted; 1 only if it is live."""
        if self.backfilling_to is None:
            return 1.0
        return min(0.99, self.position / max(1, self.backfilling_to))


class Update(NamedTuple, Generic[R]):
    """A record by its key; None for a tombstone."""

    key: bytes
    result: R | None


class Newest(Generic[R]):
    """The newest record of each key; for one thread."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._by_key: dict[bytes, R] = {}
        self._by_version: defaultdict[Version, dict[bytes, R]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._by_key)

    def apply(self, updates: Iterable[Update[R]]) -> None:
        """Take in records in the order of their partitions; some again change nothing."""
        for key, result in updates:
            before = self._by_key.pop(key, None)
            if before is not None:
                siblings = self._by_version[before.of]
                del siblings[key]
                if not siblings:
                    del self._by_version[before.of]
            if result is not None:
                self._by_key[key] = result
                self._by_version[result.of][key] = result

    def of(self, definition: Definition) -> list[R]:
        """The records of this version of the definition; others do not count."""
        version = (definition.project_id, definition.id, definition.version)
        return list(self._by_version.get(version, {}).values())

    def backfilled(self, progress: Iterable[Progress]) -> float:
        """The share of all events that is counted, of what the partitions say."""
        # Of a definition that is new, some partitions may have said nothing yet.
        return min(1.0, sum(of_one.share for of_one in progress) / self._partitions)


class Reader(Generic[R]):
    """Decodes records of a topic of results; for the thread that follows it.

    `read` makes results of decoded rows. Raises what looking up an unknown schema raises; call
    again then.
    """

    def __init__(self, codec: Codec, read: Callable[[pa.RecordBatch], Sequence[R]]) -> None:
        self._codec = codec
        self._read = read

    def __call__(self, messages: list[Message]) -> list[Update[R]]:
        """Return the readable records; the others are left out, with a line in the log for each."""
        keys = [message.key() or b"" for message in messages]
        filled = [row for row, message in enumerate(messages) if message.value() is not None]
        decoded = self._codec.decode([messages[row].value() for row in filled])
        for failure in decoded.failures:
            message = messages[filled[failure.row]]
            log.error(
                "result left out", key=message.key(), offset=message.offset(), why=failure[1:]
            )
        rows = (filled[row] for row in decoded.rows.tolist())
        results = dict(zip(rows, self._read(decoded.batch), strict=True))
        return [
            Update(key, results.get(row))
            for row, key in enumerate(keys)
            if row in results or messages[row].value() is None
        ]
