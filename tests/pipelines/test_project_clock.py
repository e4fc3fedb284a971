"""A project has one clock: time passes in all of its partitions, whatever event moved it where."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pipelines.engine.analytics import Analytics
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.matching.match import Key
from pipelines.operators import OPERATORS
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.clocks import SCHEMA, record_key
from schemas.operators.funnel import FUNNEL
from schemas.operators.metric import METRIC
from schemas.operators.segment import SEGMENT
from schemas.operators.spec import ResultTopic
from schemas.settings import Settings
from services.broker import Broker
from services.topics import ensure_topics
from tests.conftest import PARTITIONS, deployment
from tests.kafka import Record, delete_topics, read_all
from tests.oracles.events import Event
from tests.pipelines.in_process import Named, latest, produce, put, registry_of, store_events, write

DAY_MS: Final = 86_400_000
TIMEOUT_S: Final = 120.0
ALL: Final = range(PARTITIONS)
WITHIN_A_DAY: Final = {"rule": {"performed": {"event": "home", "within_s": 86_400}}}
WITHIN_A_MINUTE: Final = {"rule": {"performed": {"event": "home", "within_s": 60}}}


class Worker:
    """The engine of one worker with some partitions, which commits when it is told to."""

    def __init__(
        self, settings: Settings, numbers: Sequence[int], positions: dict[int, int] | None = None
    ) -> None:
        self.settings = settings
        self.positions = positions or dict.fromkeys(numbers, 0)
        self.outbox = Outbox()
        self.analytics = Analytics(settings, self.outbox, OPERATORS)
        self.analytics.connect(registry_of(settings.bootstrap))
        self._reader = Reader(settings.bootstrap)
        for number in numbers:
            for _ in self.analytics.restore(number, self.positions[number], self._reader):
                pass

    def run(self) -> "Worker":
        """Process all events that there are, let backfills end, and commit."""
        for number, position in self.positions.items():
            source = TopicPartition(self.settings.topics.events.name, number)
            for records in self._reader.read(source, position):
                if records is not None:
                    self.analytics.process(records)
                    self.positions[number] = records.next_offset
        self.commit()
        deadline = time.monotonic() + TIMEOUT_S
        while self.analytics.backfilling:
            assert time.monotonic() < deadline, "a backfill does not end"
            self.analytics.catch_up()
        self.commit()
        return self

    def commit(self) -> set[str]:
        """Flush, and write what is in the outbox; return the topics that it is for."""
        self.analytics.flush(self.positions, now_ms())
        outgoing = self.outbox.take()
        write(self.settings, outgoing)
        return {sent.topic for sent in outgoing}

    def until(self, reached: Callable[[], bool]) -> None:
        """Commit until something is so."""
        deadline = time.monotonic() + TIMEOUT_S
        while not reached():
            assert time.monotonic() < deadline, "it does not come"
            self.commit()
            time.sleep(0.01)

    def restarted(self) -> "Worker":
        """End, and return another one, which goes on from what this one has committed."""
        self.close()
        return Worker(self.settings, list(self.positions), self.positions)

    def close(self) -> None:
        self._reader.close()

    def knows(self, *definitions: Named) -> bool:
        return all(
            {Key(of.kind, of.project, of.id, 1) for of in definitions} <= partition.instances.keys()
            for partition in self.analytics._partitions.values()
        )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def settings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with deployment(broker, tmp_path_factory.mktemp("clocks")) as own:
        yield replace(own, checkpoint_interval_ms=0)


@pytest.fixture
def project() -> str:
    return uuid.uuid4().hex[:8]


def define(worker: Worker, *definitions: tuple[Named, dict[str, Any]]) -> None:
    put(worker.settings, {of: of.record(body) for of, body in definitions})
    worker.until(lambda: worker.knows(*(of for of, _ in definitions)))


def happened(settings: Settings, project: str, at: int, partition: int, *persons: str) -> None:
    store_events(settings, [Event(who, "home", at, {}) for who in persons], project, partition)


def records(settings: Settings, result: ResultTopic, project: str) -> list[dict[str, Any]]:
    codec = Codec(files.load(result.schema), registry_of(settings.bootstrap).find)
    found = latest(settings, result.topic(settings.topics), codec)
    return [record for record in found if record["project_id"] == project]


def members(settings: Settings, project: str) -> set[str]:
    return {
        record["person_id"]
        for record in records(settings, SEGMENT.changes[0], project)
        if record["change"] == "entered"
    }


def clocks(settings: Settings, project: str) -> dict[int, int]:
    """The offsets that are on the topic, by partition."""
    messages = read_all(settings.bootstrap, settings.topics.clocks.name)
    newest = {message.key(): message.value() for message in messages}
    keys = [record_key(project, number) for number in ALL]
    codec = Codec(files.load(SCHEMA), registry_of(settings.bootstrap).find)
    decoded = codec.decode([value for key in keys if (value := newest.get(key)) is not None])
    assert not decoded.failures
    return {one["partition"]: one["clock_offset_ms"] for one in decoded.batch.to_pylist()}


def twenty_of_the_past(settings: Settings, project: str) -> list[str]:
    """Twenty persons on all partitions were there ten days ago."""
    persons = [f"p{number}" for number in range(20)]
    for number in ALL:
        own = persons[number::PARTITIONS]
        happened(settings, project, now_ms() - 10 * DAY_MS, number, *own)
    return persons


def test_one_new_event_lets_the_time_of_all_partitions_pass(
    settings: Settings, project: str
) -> None:
    worker = Worker(settings, ALL)
    define(worker, (Named("segment", "recent", project), WITHIN_A_DAY))
    persons = twenty_of_the_past(settings, project)
    worker.run()
    assert members(settings, project) == set(persons)  # for the project, it is ten days ago
    happened(settings, project, now_ms(), 0, "new")
    worker.run()
    assert members(settings, project) == {"new"}
    whole = [
        record for record in records(settings, SEGMENT.aggregates, project) if record["day"] is None
    ]
    assert sum(record["entered"] - record["left"] for record in whole) == 1
    assert max(clocks(settings, project).values()) > -60_000
    worker.close()


def test_other_workers_and_those_that_join_later_have_the_same_clock(
    settings: Settings, project: str
) -> None:
    one, other = Worker(settings, [0]), Worker(settings, ALL[1:])
    of = Named("segment", "recent", project)
    for worker in (one, other):
        define(worker, (of, WITHIN_A_DAY))
    persons = twenty_of_the_past(settings, project)
    for worker in (one, other):
        worker.run()
    assert members(settings, project) == set(persons)
    happened(settings, project, now_ms(), 0, "new")
    one.run()
    other.until(lambda: members(settings, project) == {"new"})
    others = dict(other.positions)
    other.close()
    happened(settings, project, now_ms() - 10 * DAY_MS, 1, "old")
    late = Worker(settings, ALL[1:], others).run()
    assert members(settings, project) == {"new"}
    one.close()
    late.close()


def test_a_segment_that_is_defined_later_has_the_clock_of_its_project(
    settings: Settings, project: str
) -> None:
    worker = Worker(settings, ALL)
    twenty_of_the_past(settings, project)
    happened(settings, project, now_ms(), 1, "new")
    define(worker, (Named("segment", "recent", project), WITHIN_A_DAY))
    worker.run()
    assert members(settings, project) == {"new"}
    worker.close()


@pytest.mark.parametrize("made_again", [False, True])
def test_the_clock_goes_on_after_a_restart_even_if_the_topic_was_made_again(
    settings: Settings, project: str, *, made_again: bool
) -> None:
    """An earlier version has no such topic: the offsets in the log are the source then."""
    worker = Worker(settings, ALL)
    define(worker, (Named("segment", "recent", project), WITHIN_A_DAY))
    twenty_of_the_past(settings, project)
    happened(settings, project, now_ms(), 0, "new")
    worker.run()
    before = clocks(settings, project)
    if made_again:
        delete_topics(settings.bootstrap, [settings.topics.clocks.name])
        ensure_topics(
            settings.cluster, settings.topics, partitions=PARTITIONS, replication_factor=1
        )
        assert clocks(settings, project) == {}
    worker = worker.restarted()
    happened(settings, project, now_ms() - 10 * DAY_MS, 1, "old")
    worker.run()
    assert members(settings, project) == {"new"}
    assert max(clocks(settings, project).values()) == max(before.values())
    worker.close()


def test_an_event_that_is_dated_ahead_counts_at_once_and_moves_nobody(
    settings: Settings, project: str
) -> None:
    worker = Worker(settings, ALL)
    of = Named("segment", "online", project)
    define(worker, (of, {"rule": {"performed": {"event": "home", "within_s": 250}}}))
    for number in ALL:
        happened(settings, project, now_ms(), number, f"p{number}")
    worker.run()
    happened(settings, project, now_ms() + 290_000, 0, "ahead")
    worker.run()
    worker.commit()
    assert members(settings, project) == {*(f"p{number}" for number in ALL), "ahead"}
    assert max(clocks(settings, project).values()) == 0
    clock = worker.analytics._partitions[0].instances[Key(*of[:1], project, "online", 1)].clock
    assert clock is not None
    assert clock <= now_ms()
    restarted = worker.restarted().run()
    assert members(settings, project) == {*(f"p{number}" for number in ALL), "ahead"}
    restarted.close()


def test_the_windows_of_a_funnel_close_where_no_newer_events_are(
    settings: Settings, project: str
) -> None:
    worker = Worker(settings, ALL)
    steps = [{"event": "home"}, {"event": "cart"}]
    plain = {"steps": steps, "window_s": 86_400}
    define(
        worker,
        (Named("funnel", "plain", project), plain),
        (Named("funnel", "options", project), {**plain, "entries": True}),
    )
    happened(settings, project, now_ms() - 10 * DAY_MS, 1, "ann")
    worker.run()
    happened(settings, project, now_ms(), 0, "new")
    worker.run()
    changes = records(settings, FUNNEL.changes[0], project)
    assert {
        (change["funnel_id"], change["person_id"])
        for change in changes
        if change["change"] == "timed_out"
    } == {("plain", "ann"), ("options", "ann")}
    worker.close()


def test_a_metric_is_complete_up_to_the_clock_less_the_lateness(
    settings: Settings, project: str
) -> None:
    worker = Worker(settings, ALL)
    of = Named("metric", "visits", project)
    define(worker, (of, {"measure": "events", "filter": {"event": "home"}}))
    happened(settings, project, now_ms(), 0, "new")
    worker.run()
    began = now_ms()
    happened(settings, project, began - 10 * DAY_MS, 1, "old")
    worker.run()
    (whole,) = [
        record
        for record in records(settings, METRIC.aggregates, project)
        if record["bucket"] is None and record["partition"] == 1
    ]
    lateness_ms = 1_000 * settings.allowed_lateness_s
    clock = whole["complete_until"] + lateness_ms
    assert began - 60_000 < clock <= now_ms()
    worker.close()


def test_nothing_is_written_as_long_as_no_clock_rises(settings: Settings, project: str) -> None:
    worker = Worker(settings, ALL)
    define(worker, (Named("segment", "recent", project), WITHIN_A_DAY))
    happened(settings, project, now_ms() + 1_000, 0, "new")
    worker.run()
    worker.until(lambda: clocks(settings, project) == {0: 0})
    written = len(read_all(settings.bootstrap, settings.topics.clocks.name))
    happened(settings, project, now_ms() + 1_000, 1, "other")
    happened(settings, project, now_ms() - DAY_MS, 1, "old")
    worker.run()
    assert worker.commit() == set()
    assert len(read_all(settings.bootstrap, settings.topics.clocks.name)) == written
    worker.close()


def test_a_record_that_cannot_be_read_costs_itself(settings: Settings, project: str) -> None:
    worker = Worker(settings, ALL)
    define(worker, (Named("segment", "recent", project), WITHIN_A_DAY))
    twenty_of_the_past(settings, project)
    happened(settings, project, now_ms(), 0, "new")
    worker.run()
    topic = settings.topics.clocks.name
    own = record_key(project, 0)
    produce(
        settings,
        topic,
        [Record(b"{}", own), Record(b"\0\0\0\0\1", own), Record(None, b"/"), Record(b"")],
    )
    worker = worker.restarted()
    happened(settings, project, now_ms() - 10 * DAY_MS, 1, "old")
    worker.run()
    assert members(settings, project) == {"new"}
    worker.close()


def test_the_clock_of_a_project_ends_with_its_last_definition(
    settings: Settings, project: str
) -> None:
    worker = Worker(settings, ALL)
    one, other = Named("segment", "one", project), Named("segment", "other", project)
    define(worker, (one, WITHIN_A_DAY), (other, WITHIN_A_MINUTE))
    for number in ALL:
        happened(settings, project, now_ms() - 1_000 * number, number, f"p{number}")
    worker.run()
    kept = clocks(settings, project)
    assert kept
    put(settings, {one: None})
    worker.until(lambda: not worker.knows(one))
    assert clocks(settings, project) == kept
    put(settings, {other: None})
    worker.until(lambda: not worker.knows(other))
    assert clocks(settings, project) == {}
    for partition in worker.analytics._partitions.values():
        assert project not in partition.clock_offsets
    define(worker, (one, WITHIN_A_DAY))
    worker.run()
    assert max(clocks(settings, project).values()) >= max(kept.values())
    worker.close()
