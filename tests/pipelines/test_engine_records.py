"""A record of ours that cannot be read costs the definitions that it may be of, and nothing else.

Whoever may write to Kafka may write such a record: the state and the aggregates are topics too.
"""

import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pipelines.matching.match import Key
from schemas.operators import BY_NAME, OPERATORS
from schemas.settings import Settings
from services.broker import Broker
from tests.conftest import deployment
from tests.kafka import Record
from tests.laws.entry import entry_of
from tests.pipelines.in_process import PARTITION, Engine, Named, produce, published, put, store

NOW_MS: Final = time.time_ns() // 1_000_000
KINDS: Final = [spec.name for spec in OPERATORS]


class Case:
    """An engine with a definition of every operator in two projects, and an event in each."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.project = uuid.uuid4().hex[:8]
        self.other = f"other-{self.project}"
        projects = (self.project, self.other)
        self.definitions = [Named(kind, "it", project) for kind in KINDS for project in projects]
        put(self.settings, {of: of.record(entry_of(of.kind).body) for of in self.definitions})
        known = len(engine.partition.instances) + len(self.definitions)
        engine.await_definitions(lambda one: len(one.partition.instances) == known)
        for project in projects:
            store(self.settings, ["home"], NOW_MS, "ann", project)
        engine.run()

    @property
    def settings(self) -> Settings:
        return self.engine.settings

    def log(self, key: bytes, value: bytes) -> None:
        """Write a record to the log of the state."""
        topic = self.settings.topics.person_state.name
        produce(self.settings, topic, [Record(value, key, PARTITION)])

    def restart(self) -> dict[tuple[str, str], str]:
        """Restart the engine; return why definitions have failed, by project and operator."""
        self.engine = self.engine.restarted()
        self.engine.run()
        instances = self.engine.partition.instances.items()
        return {
            (key.project, key.operator): one.failed
            for key, one in instances
            if one.failed and key.project in (self.project, self.other)
        }

    def published(self) -> dict[Named, list[dict[str, Any]]]:
        """Return what is published, without what says where and when it was counted."""
        other = {"updated_at", "live_since", "position", "clock", "complete_until"}
        found = published(self.settings)
        return {
            of: [
                {name: value for name, value in record.items() if name not in other}
                for record in found[of].values()
            ]
            for of in self.definitions
        }


@pytest.fixture(scope="module")
def engines(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    """The engine that the last test has left."""
    with deployment(broker, tmp_path_factory.mktemp("records")) as own:
        running = [Engine(replace(own, checkpoint_interval_ms=0))]
        yield running
        running.pop().close()


@pytest.fixture
def case(engines: list[Engine]) -> Iterator[Case]:
    case = Case(engines.pop())
    yield case
    engines.append(case.engine)


@pytest.mark.parametrize("value", [b"\1", b"\xff" * 40], ids=["short", "of a length it has not"])
def test_a_malformed_record_of_a_person_fails_the_definitions_of_the_project(
    case: Case, value: bytes
) -> None:
    case.log(f"{case.project}/ann".encode(), value)
    found = case.restart()
    assert set(found) == {(case.project, name) for name in KINDS}
    assert all(f"{case.project}/ann" in reason for reason in found.values())
    for of, records in case.published().items():
        failed = any(record["failed"] for record in records)
        assert failed == (of.project == case.project)


def test_a_malformed_record_of_one_row_fails_its_definition(case: Case) -> None:
    key = Key("funnel", case.project, "it", 1)
    tag = case.engine.partition.instances[key].tag
    case.log(f"\0{tag:016x}{case.project}/ann".encode(), b"\1")
    assert set(case.restart()) == {(case.project, "funnel")}


def test_records_of_nobody_are_left_out(case: Case) -> None:
    for key in (b"nobody", b"\0", b"\0short/x", b"\0" + b"0" * 16, b"\xff/\xfe", b"\0" + b"g" * 20):
        case.log(key, b"\1")
        case.log(key + b"/y", b"\1" * 50)
    assert case.restart() == {}


def test_a_log_that_does_not_say_how_far_it_has_come_is_made_again(case: Case) -> None:
    before = case.published()
    case.log(b"\0meta", b"{}")
    assert case.restart() == {}
    assert case.published() == before


@pytest.mark.parametrize("kind", KINDS)
def test_aggregates_that_cannot_be_read_fail_their_definition(case: Case, kind: str) -> None:
    topic = BY_NAME[kind].aggregates.topic(case.settings.topics).name
    names = [f"{case.project}/it/1/12345/0", f"{case.project}/none/1/total/0", "no key of ours"]
    records = [Record(b"\0nothing", name.encode(), PARTITION) for name in names]
    produce(case.settings, topic, records)
    found = case.restart()
    tombstones = [Record(None, name.encode(), PARTITION) for name in names]
    produce(case.settings, topic, tombstones)
    assert set(found) == {(case.project, kind)}
    assert names[0] in found[case.project, kind]
