"""A view of results: the newest record of each key, by the version of the definition it is of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
import pyarrow as pa
import structlog
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.definitions import Definition
from services.query.http.params import State

log = structlog.get_logger(__name__)

Version: TypeAlias = tuple[str, str, int]  # project, definition, version


class Result(Protocol):
    """What is common to the records of all kinds' topics."""

    @property
    def of(self) -> Version:
        """The definition that was counted."""


class Figures(Result, Protocol):
    """What is common to the figures of all kinds, one record of which says how far they are."""

    @property
    def period(self) -> int | None:
        """The day, period or bucket it is of; None for a partition's whole, which says how far."""

    @property
    def partition(self) -> int:
        """The partition of the event store that was counted."""

    @property
    def progress(self) -> "Progress":
        """How far it is."""


R = TypeVar("R", bound=Result)
F = TypeVar("F", bound=Figures)


class Progress(NamedTuple):
    """How far one partition is: events below `position` are counted.

    `backfilling_to` is the offset it has to reach to be live, None if it is, `live_since` the one
    from which on it has been; `failed` says why it counts nothing more.
    """

    position: int
    backfilling_to: int | None
    live_since: int | None = None
    failed: str | None = None

    @property
    def share(self) -> float:
        """The share of the partition's events that is counted; 1 only if it is live."""
        if self.backfilling_to is None:
            return 1.0
        return min(0.99, self.position / max(1, self.backfilling_to))


def progress_of(record: Mapping[str, Any]) -> Progress:
    """What a record of figures, of whatever kind, says of it."""
    return Progress(*(record[name] for name in Progress._fields))


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a definition is.

    It is `backfilling` until it has caught up with the events that came before it: `backfilled` is
    the share of them that is counted (0 to 1), and `text` says it for people. It is `live` then;
    `live_since` has for each partition of the event store the offset from which on it took in
    events as they came. It has `failed` if a worker could not go on with it: its figures stand
    where they stood, `reason` says why; a new version of it, or `avila replay`, begins anew.
    """

    state: State
    backfilled: float = 1.0
    live_since: Mapping[int, int] = {}
    reason: str | None = None
    text: str = ""


LIVE: Final = Status(state="live")


class Update(NamedTuple, Generic[R]):
    """A record by its key; None for a tombstone."""

    key: bytes
    result: R | None


class LatestByKey(Generic[F]):
    """The newest record of each key; for one thread."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._by_key: dict[bytes, F] = {}
        # Of each version: the records of each period.
        self._by_version: dict[Version, dict[int | None, dict[bytes, F]]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def apply(self, updates: Iterable[Update[F]]) -> None:
        """Take in records in the order of their partitions; some again change nothing."""
        for key, result in updates:
            before = self._by_key.pop(key, None)
            if before is not None:
                self._remove(key, before)
            if result is not None:
                self._by_key[key] = result
                periods = self._by_version.setdefault(result.of, {})
                periods.setdefault(result.period, {})[key] = result

    def _remove(self, key: bytes, result: F) -> None:
        periods = self._by_version[result.of]
        siblings = periods[result.period]
        del siblings[key]
        if not siblings:
            del periods[result.period]
        if not periods:
            del self._by_version[result.of]

    def of(self, definition: Definition) -> list[F]:
        """The records of this version of the definition; others do not count."""
        periods = self._periods(definition).values()
        return [result for results in periods for result in results.values()]

    def periods(self, definition: Definition) -> list[int | None]:
        """The periods that it has records of, None (of the whole) among them."""
        return list(self._periods(definition))

    def at(self, definition: Definition, period: int | None) -> list[F]:
        """Those of its records that are of one period, or of the whole: one of each partition."""
        return list(self._periods(definition).get(period, {}).values())

    def _periods(self, definition: Definition) -> Mapping[int | None, Mapping[bytes, F]]:
        return self._by_version.get((definition.project_id, definition.id, definition.version), {})

    def status(self, definition: Definition) -> Status:
        """How far this version of the definition is, of what the partitions say."""
        progress = {one.partition: one.progress for one in self.at(definition, None)}
        # Of a definition that is new, some partitions may have said nothing yet.
        share = min(1.0, sum(of_one.share for of_one in progress.values()) / self._partitions)
        since = {number: of_one.live_since for number, of_one in progress.items()}
        live_since = {number: at for number, at in since.items() if at is not None}
        for number, of_one in progress.items():
            if of_one.failed:
                reason = f"partition {number}: {of_one.failed}"
                return Status(
                    state="failed",
                    backfilled=share,
                    live_since=live_since,
                    reason=reason,
                    text=f"failed: {reason}",
                )
        if share < 1:
            text = f"backfilling ({share:.0%})"
            return Status(state="backfilling", backfilled=share, live_since=live_since, text=text)
        offsets = ", ".join(f"{at} of {number}" for number, at in sorted(live_since.items()))
        text = f"live since offset {offsets}" if offsets else "live"
        return Status(state="live", live_since=live_since, text=text)


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
