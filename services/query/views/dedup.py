"""A view of `avila.dedup`: whose duplicates are recognized for less than the window."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.dedup import Coverage, read_key

log = structlog.get_logger(__name__)

_decoder: Final = msgspec.json.Decoder(Coverage)


class CoverageChange(NamedTuple):
    """What a partition says of a project; None: it covers the whole window."""

    project: str
    partition: int
    coverage: Coverage | None


def read_coverage(messages: list[Message]) -> list[CoverageChange]:
    """Read records; those that cannot be read are logged and left out."""
    changes = []
    for message in messages:
        value = message.value()
        try:
            project, partition = read_key(message.key() or b"")
            coverage = None if value is None else _decoder.decode(value)
        except (ValueError, msgspec.DecodeError) as error:
            log.error("coverage_unreadable", offset=message.offset(), reason=str(error))
        else:
            changes.append(CoverageChange(project, partition, coverage))
    return changes


class DedupCoverage:
    """For how long back duplicates are recognized, by project."""

    def __init__(self) -> None:
        self._short: dict[str, dict[int, int]] = {}

    def apply(self, changes: Sequence[CoverageChange]) -> None:
        """Take changes over, in order."""
        for project, partition, coverage in changes:
            partitions = self._short.setdefault(project, {})
            if coverage is None:
                partitions.pop(partition, None)
            else:
                partitions[partition] = coverage.covered_ms
            if not partitions:
                del self._short[project]

    def covered_ms(self, project: str, window_ms: int) -> int:
        """Return for how many milliseconds back the project's duplicates are recognized."""
        return min(window_ms, *self._short.get(project, {}).values(), window_ms)
