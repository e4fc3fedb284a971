"""The clocks of projects, by the records of `avila.clocks`.

A project has one clock: the time of its newest event, in whatever partition that is, plus the time
that has passed since. It never runs ahead of the time of day. So it is the time of day plus an
offset that is at most 0 and rises only with a newer event. Each partition publishes its own offset
under the key `project/partition`; the greatest one counts.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.definitions import is_id

log = structlog.get_logger(__name__)

SCHEMA: Final = "project-clock"


class ClockChange(NamedTuple):
    """What a partition says of a project's clock: its offset (ms); None deletes it."""

    project: str
    partition: int
    offset_ms: int | None


class ProjectClocks:
    """The clocks of all projects; for one thread."""

    def __init__(self) -> None:
        self._offsets: dict[str, dict[int, int]] = {}
        self._newest: dict[str, int] = {}

    def apply(self, changes: Iterable[ClockChange]) -> None:
        """Take in changes in the topic's order; repeating some changes nothing."""
        for project, partition, offset_ms in changes:
            partitions = self._offsets.setdefault(project, {})
            if offset_ms is None:
                partitions.pop(partition, None)
            else:
                partitions[partition] = max(offset_ms, partitions.get(partition, offset_ms))
            if partitions:
                self._newest[project] = max(partitions.values())
            else:
                del self._offsets[project]
                self._newest.pop(project, None)

    def offset_ms(self, project: str) -> int | None:
        """Return how far a project's clock is ahead of the time of day: 0 or less, None if unknown.

        It is known from the first event that a live definition of the project has met.
        """
        return self._newest.get(project)

    def at(self, project: str, now_ms: int) -> int | None:
        """Return what a project's clock says at a time of day (ms); None if it is unknown."""
        offset_ms = self._newest.get(project)
        return None if offset_ms is None else now_ms + offset_ms

    def projects_of(self, partition: int) -> list[str]:
        """Return the projects of which a partition has published a clock."""
        return [project for project, offsets in self._offsets.items() if partition in offsets]


def record_key(project: str, partition: int) -> bytes:
    """Return the key of a record."""
    return f"{project}/{partition}".encode()


def read_key(key: bytes) -> tuple[str, int]:
    """Return the project and the partition of a record; raises `ValueError` for another key."""
    project, _, partition = key.decode().partition("/")
    if not is_id(project):
        raise ValueError(f"{project[:80]!r} is not a project")
    return project, int(partition)


class ClockReader:
    """Decodes records of the topic; for one thread. Raises what looking up a schema raises."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def __call__(self, messages: list[Message]) -> list[ClockChange]:
        """Return what records say; those that cannot be read are logged and left out."""
        decoded = self._codec.decode([message.value() for message in messages])
        offsets = decoded.batch.column("clock_offset_ms").to_pylist()
        read = dict(zip(decoded.rows.tolist(), offsets, strict=True))
        faults = {failure.row: failure.detail for failure in decoded.failures}
        changes = []
        for row, message in enumerate(messages):
            try:
                project, partition = read_key(message.key() or b"")
                if message.value() is None:
                    changes.append(ClockChange(project, partition, None))
                elif row in read:
                    changes.append(ClockChange(project, partition, min(read[row], 0)))
                else:
                    raise ValueError(faults[row])
            except ValueError as error:
                log.error("clock_unreadable", offset=message.offset(), reason=str(error))
        return changes
