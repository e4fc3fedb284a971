"""A partition that is restored after a crash publishes what it would have published anyway."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.engine.changelog import PersonChangelog, keep_latest
from pipelines.engine.events import MatchedEvents
from pipelines.engine.instance import key_of
from pipelines.engine.partition import Partition, PartitionChanges, Pass
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.matcher import Matcher, Selection
from pipelines.operators.segment.operator import SEGMENT
from pipelines.worker.snapshots import Snapshots
from schemas.event_filter import EventFilter
from schemas.operators.segment import EventSequence, Performed, Rule, Segment, SegmentDefinition
from tests.pipelines.batches import events

NOW = 1_800_000_000_000
_LATENESS_MS = 100_000
_RULES = {
    "in order": Rule(
        sequence=EventSequence((EventFilter("a"), EventFilter("b"), EventFilter("c")), 600)
    ),
    "lately": Rule(performed=Performed(event="b", within_s=10)),
    "now and then": Rule(
        or_=(
            Rule(performed=Performed(event="a", within_s=2)),
            Rule(
                and_=(
                    Rule(performed=Performed(event="b")),
                    Rule(not_=Rule(performed=Performed(event="c", within_s=20))),
                )
            ),
        )
    ),
}
DEFINITIONS = {
    key_of(one): one
    for one in (
        SegmentDefinition(
            project_id="shop",
            id=name,
            version=1,
            created_at=0,
            updated_at=0,
            segment=Segment(rule=rule),
            rule=rule,
        )
        for name, rule in _RULES.items()
    )
}


def empty_partition() -> Partition:
    empty = Partition()
    for key, one in DEFINITIONS.items():
        empty.instances[key] = SEGMENT.instance(one, _LATENESS_MS)
    return empty


class Event(NamedTuple):
    person: str
    name: str
    age_ms: int  # how long it was on its way


class Epoch(NamedTuple):
    passed_ms: int  # since the epoch before
    events: list[Event]
    crash: bool  # whether the worker crashes after it


_events = st.builds(
    Event, st.sampled_from(["ann", "ben"]), st.sampled_from("abc"), st.sampled_from([0, 0, 7_000])
)
_epochs = st.builds(
    Epoch, st.sampled_from([0, 1_000, 9_000, 60_000]), st.lists(_events, max_size=4), st.booleans()
)


class CompactedTopic:
    """A compacted topic, as a reader reads it from its beginning."""

    def __init__(self) -> None:
        self.newest: dict[bytes, bytes | None] = {}

    @property
    def keys(self) -> list[bytes]:
        return list(self.newest)

    @property
    def values(self) -> list[bytes | None]:
        return list(self.newest.values())

    def read(self, *_: object) -> Iterator["CompactedTopic"]:
        yield self


class Life:
    """A partition and its log, epoch by epoch."""

    def __init__(self, snapshots: Snapshots, checkpoint_ms: int) -> None:
        self._snapshots, self._checkpoint_ms = snapshots, checkpoint_ms
        self._outbox, self._topic = Outbox(), CompactedTopic()
        self._events: list[tuple[Event, int]] = []
        self._now = NOW
        self._matcher = Matcher(
            Selection(key, SEGMENT.selectors(one), SEGMENT.reads(one))
            for key, one in DEFINITIONS.items()
        )
        self._begin()

    def _begin(self) -> None:
        self._log = PersonChangelog("state", 0, self._snapshots, self._outbox)
        self._partition = empty_partition()

    def run(self, epoch: Epoch) -> list[tuple[Any, ...]]:
        """Process an epoch and commit it; return who entered and who left."""
        self._now += epoch.passed_ms
        self._events += [(event, self._now - event.age_ms) for event in epoch.events]
        moves = []
        if epoch.events:
            begin = len(self._events) - len(epoch.events)
            batch, due = self._matched(begin, len(self._events)), self._now + self._checkpoint_ms
            moves += self._moves(self._partition.process(batch, Pass.LIVE, due))
        moves += self._moves(self._partition.expire(self._now))
        self._log.write_rows(self._partition, self._now)
        self._log.write_meta(self._partition)
        for sent in self._outbox.take():
            keep_latest(self._topic.newest, sent.keys.to_pylist(), sent.values.to_pylist())
        return sorted(moves)

    def crash(self) -> None:
        """Lose everything but what is committed, and restore that."""
        self._begin()
        committed = len(self._events)
        restoring = self._log.restore(empty_partition, committed, cast(Reader, self._topic))
        try:
            while True:
                next(restoring)
        except StopIteration as done:
            recovery = done.value
        self._partition = recovery.partition
        if recovery.live.begin < committed:
            batch = self._matched(recovery.live.begin, committed)
            self._partition.process(batch, Pass.REPLAY_LIVE, self._now)
        self._partition.restored(committed, recovery.clocks)
        self._partition.promote(committed)

    def _matched(self, begin: int, end: int) -> MatchedEvents:
        some, at = zip(*self._events[begin:end], strict=True)
        persons, names = ([getattr(event, of) for event in some] for of in ("person", "name"))
        batch = events(persons, begin, at, names=names)
        found = self._matcher.match(batch.projects, batch.names, batch.properties)
        return MatchedEvents(batch, found.matches, {"shop": 0})

    def _moves(self, changed: PartitionChanges) -> list[tuple[Any, ...]]:
        return [
            (one.key.id, person, *(change[name].item() for name in ("at", "event_at", "entered")))
            for one, changes in changed.changes
            for person, change in zip(
                self._partition.persons.second(one.state.persons_of(changes["row"])).to_pylist(),
                changes,
                strict=True,
            )
        ]


@pytest.fixture(scope="module")
def no_snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    return Snapshots(tmp_path_factory.mktemp("snapshots"), "persons")


@example(
    [
        Epoch(0, [Event("ann", "b", 0), Event("ann", "c", 0)], crash=False),
        Epoch(0, [Event("ann", "a", 7_000)], crash=True),
        Epoch(60_000, [], crash=False),
    ],
    5_000,
)
@given(st.lists(_epochs, min_size=2, max_size=8), st.sampled_from([0, 5_000, 30_000]))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_crash_changes_nothing_of_what_is_published(
    no_snapshots: Snapshots, epochs: list[Epoch], checkpoint_ms: int
) -> None:
    whole, lost = (Life(no_snapshots, checkpoint_ms) for _ in range(2))
    for epoch in epochs:
        assert lost.run(epoch) == whole.run(epoch)
        if epoch.crash and epoch.events:  # time alone is not committed
            lost.crash()
