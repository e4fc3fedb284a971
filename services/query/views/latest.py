"""A view of results: the latest record of each key, by the version of its definition."""

from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from schemas.definitions import Definition
from services.query.views.progress import Progress, StatusResponse, status_of
from services.query.views.reader import Update, VersionedRecord, VersionKey


class AggregateRecord(VersionedRecord, Protocol):
    """The fields that the aggregates of all operators have."""

    @property
    def period(self) -> int | None:
        """The day, period or bucket that was counted; None for the partition's whole."""

    @property
    def partition(self) -> int:
        """The partition of the event store that was counted."""

    @property
    def progress(self) -> Progress:
        """How far the partition is."""


A = TypeVar("A", bound=AggregateRecord)


class LatestByKey(Generic[A]):
    """The latest record of each key; for one thread."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._by_key: dict[bytes, A] = {}
        # Of each version: the records of each period.
        self._by_version: dict[VersionKey, dict[int | None, dict[bytes, A]]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def apply(self, updates: Iterable[Update[A]]) -> None:
        """Take in records in the order of their partitions; repeating some changes nothing."""
        for key, record in updates:
            before = self._by_key.pop(key, None)
            if before is not None:
                self._remove(key, before)
            if record is not None:
                self._by_key[key] = record
                periods = self._by_version.setdefault(record.version_key, {})
                periods.setdefault(record.period, {})[key] = record

    def _remove(self, key: bytes, record: A) -> None:
        periods = self._by_version[record.version_key]
        siblings = periods[record.period]
        del siblings[key]
        if not siblings:
            del periods[record.period]
        if not periods:
            del self._by_version[record.version_key]

    def of(self, definition: Definition) -> list[A]:
        """Return the records of this version of the definition."""
        periods = self._periods(definition).values()
        return [record for records in periods for record in records.values()]

    def periods(self, definition: Definition) -> list[int | None]:
        """Return the periods that have records, with None for the whole."""
        return list(self._periods(definition))

    def at(self, definition: Definition, period: int | None) -> list[A]:
        """Return the records of one period, or of the whole: one a partition."""
        return list(self._periods(definition).get(period, {}).values())

    def _periods(self, definition: Definition) -> Mapping[int | None, Mapping[bytes, A]]:
        key = VersionKey(definition.project_id, definition.id, definition.version)
        return self._by_version.get(key, {})

    def positions(self, definition: Definition) -> dict[int, int]:
        """Return the offset below which this version counts all events, by partition."""
        return {one.partition: one.progress.position for one in self.at(definition, None)}

    def status(self, definition: Definition) -> StatusResponse:
        """Return how far this version of the definition is."""
        progress = {one.partition: one.progress for one in self.at(definition, None)}
        return status_of(progress, self._partitions)

    def was_live(self, definition: Definition) -> bool:
        """Whether this version has been live on all partitions."""
        whole = self.at(definition, None)
        live = {record.partition for record in whole if record.progress.was_live}
        return len(live) >= self._partitions
