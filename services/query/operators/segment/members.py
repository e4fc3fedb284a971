"""The view of the segments' members: sets of numbered persons, from the latest changes.

A person has one number in a project, so a member costs about a bit, and a person who is or was in
any segment about 200 bytes with the name. The view holds up to `MAX_PERSONS` persons; with more it
refuses to answer, and ClickHouse must be asked.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final, NamedTuple

import pyarrow as pa
import structlog
from pyroaring import BitMap

from schemas.errors import Unavailable
from schemas.operators.segment import SEGMENT, SegmentDefinition
from services.query.views.crowd import Crowd
from services.query.views.reader import ResultSource, Update, VersionKey

log = structlog.get_logger(__name__)

MAX_PERSONS: Final = 2_000_000


class Membership(NamedTuple):
    """Whether a person is in a version of a segment, by one record."""

    version_key: VersionKey
    entered: bool


class _Project:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.names: list[str] = []
        # By segment, then by version.
        self.segments: dict[str, dict[int, BitMap]] = {}


class Members:
    """The members of all segments; for one thread."""

    def __init__(self, max_persons: int = MAX_PERSONS) -> None:
        self._projects: dict[str, _Project] = {}
        # The present and the previous version of segments that have been promoted.
        self._taken_over: dict[tuple[str, str], tuple[int, int]] = {}
        self._room = max_persons
        self._full = False

    def apply(self, updates: Iterable[Update[Membership]]) -> None:
        """Take in records in the order of their partitions; repeating some changes nothing."""
        for key, membership in updates:
            try:
                project_id, segment_id, person = key.decode().split("/", 2)
            except ValueError:
                log.error("membership_unreadable", key=key)
                continue
            project = self._projects.setdefault(project_id, _Project())
            number = project.numbers.get(person)
            if number is None:
                if membership is None or not membership.entered:
                    continue
                if not self._room:
                    self._overflow()
                    continue
                self._room -= 1
                number = project.numbers[person] = len(project.names)
                project.names.append(person)
            versions = project.segments.setdefault(segment_id, {})
            for version, numbers in list(versions.items()):
                numbers.discard(number)
                if not numbers:
                    del versions[version]
            if membership is not None and membership.entered:
                versions.setdefault(membership.version_key.version, BitMap()).add(number)

    @property
    def full(self) -> bool:
        """Whether the view does not hold all persons, so that `of` raises."""
        return self._full

    def take_over(self, definition: SegmentDefinition, previous: int) -> None:
        """Include members of the `previous` version until the worker has published this one's.

        A person's latest record is of one version. So nobody is counted twice, and nobody is
        missing while the worker changes from one version to the other.
        """
        key = definition.project_id, definition.id
        self._taken_over[key] = definition.version, previous

    def of(self, definition: SegmentDefinition) -> Crowd:
        """Return who is in this version of the segment.

        Raises:
            Unavailable: the view does not hold all persons.
        """
        if self._full:
            raise Unavailable(
                "the query service cannot hold all members of segments: ask with source=store"
            )
        project = self._projects.get(definition.project_id, _Project())
        versions = project.segments.get(definition.id, {})
        numbers = versions.get(definition.version, BitMap()).copy()
        version, previous = self._taken_over.get((definition.project_id, definition.id), (0, 0))
        if version == definition.version:
            numbers |= versions.get(previous, BitMap())
        return Crowd(numbers, project.names)

    def in_all(self, definitions: Sequence[SegmentDefinition]) -> int:
        """Return how many are in all of some segments of one project; raises what `of` does."""
        crowds = [self.of(definition).numbers for definition in definitions]
        return len(reduce(BitMap.intersection, crowds))

    def _overflow(self) -> None:
        if not self._full:
            log.error("segment_members_full", max_persons=MAX_PERSONS)
        self._full = True


def read_memberships(batch: pa.RecordBatch) -> list[Membership]:
    """Read decoded rows as memberships."""
    names = ("project_id", "segment_id", "version", "change")
    columns = (batch.column(name).to_pylist() for name in names)
    return [
        Membership(VersionKey(project, segment, version), change == "entered")
        for project, segment, version, change in zip(*columns, strict=True)
    ]


SEGMENT_MEMBERS: Final = ResultSource("segment members", SEGMENT.changes[0], read_memberships)
