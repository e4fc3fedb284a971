"""A project has one clock: whatever partition an event is in, it moves the time of all persons."""

import uuid
from collections.abc import Sequence

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.constants import NEVER
from tests.laws.driver import PROJECT, Life, Published, cut, definition_of
from tests.laws.entry import PERSONS, Case
from tests.laws.segment import ENTRY, cases
from tests.oracles.events import Event
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

checked = hypothesis.settings(hypothesis.settings.get_profile("laws"))
_PARTITIONS = 2


class Partitions:
    """Partitions of one project, which commit together and know each other's clocks."""

    def __init__(self, case: Case) -> None:
        self._case = case
        fields = {"segment": case.body, **ENTRY.more(case.body)}
        self._lives: list[Life] = []
        self._lives += (
            Life(
                definition_of("segment", fields),
                case.lateness_ms,
                checkpoint_ms=5_000,
                elsewhere=self._newest,
            )
            for _ in range(_PARTITIONS)
        )

    def _newest(self, project: str) -> int:
        assert project == PROJECT
        return max((life.clock_offset for life in self._lives), default=NEVER)

    @property
    def clock(self) -> int:
        """The project's time: by the newest event of any partition that has some."""
        return max(life.clock for life in self._lives if life.clock_offset != NEVER)

    def take(self, events: Sequence[Event], passed_ms: int) -> None:
        """Take events in after some time, each in the partition of its person, and commit."""
        for number, life in enumerate(self._lives):
            life.fold([event for event in events if partition_of(event) == number], passed_ms)
        for life in self._lives:
            life.commit()

    def crash(self, number: int) -> None:
        self._lives[number].crash()

    def assert_right(self, taken: Sequence[Event]) -> None:
        """What is published must be what the rule says of all persons at the project's clock."""
        parts = [life.published() for life in self._lives]
        published = Published(
            [record for part in parts for record in part.aggregates],
            [change for part in parts for change in part.changes],
        )
        body, now = self._case.body, self.clock
        assert ENTRY.read(body, published, now) == ENTRY.oracle(body, taken, now)
        assert ENTRY.changes is not None
        assert ENTRY.oracle_of_changes is not None
        assert ENTRY.changes(published) == ENTRY.oracle_of_changes(body, taken, now)


def partition_of(event: Event) -> int:
    return PERSONS.index(event.person) % _PARTITIONS


def live_through(case: Case, data: st.DataObject) -> Partitions:
    partitions, taken = Partitions(case), list[Event]()
    events = data.draw(st.permutations(case.events))
    for batch in cut(events, data.draw(st.lists(st.integers(1, 5), max_size=10))):
        partitions.take(batch, data.draw(st.sampled_from([0, 0, 1_000, 9_000])))
        taken += batch
        partitions.assert_right(taken)
        crashed = data.draw(st.sampled_from([None, None, *range(_PARTITIONS)]))
        if crashed is not None:
            partitions.crash(crashed)
    for wait_ms in (0, *ENTRY.wait_ms):
        partitions.take([], wait_ms)
        partitions.assert_right(taken)
    return partitions


@checked
@given(case=cases(), data=st.data())
def test_time_passes_for_all_persons_by_the_newest_event_of_any(
    case: Case, data: st.DataObject
) -> None:
    live_through(case, data)


@hypothesis.settings(checked, max_examples=8)
@given(case=cases(), data=st.data())
def test_clickhouse_has_the_members_of_the_stream_at_the_clock_of_the_project(
    warehouse: Warehouse, case: Case, data: st.DataObject
) -> None:
    clock, project = live_through(case, data).clock, uuid.uuid4().hex
    for number in range(_PARTITIONS):
        warehouse.write(
            Row(project, event.person, event.event, event.at, event.text, number)
            for event in case.events
            if partition_of(event) == number
        )
    fields = {"segment": case.body, **ENTRY.more(case.body)}
    found = ENTRY.in_store(warehouse, definition_of("segment", fields, project), clock)
    assert found == ENTRY.oracle(case.body, case.events, clock)
