"""The registry on the `_schemas` topic: many processes, one set of ids."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from schemas.errors import Conflict, Unavailable
from schemas.registry.log import Registry
from schemas.registry.subjects import level_record
from services.broker import Broker
from tests.kafka import EphemeralTopic
from tests.schemas.examples import changed, record

FIRST = record({"name": "a", "type": "string"})
SECOND = changed(FIRST, add=[{"name": "b", "type": "int", "default": 0}], drop=set())
BREAKING = changed(FIRST, add=[{"name": "c", "type": "int"}], drop=set())

# Registers four schemas that everyone registers and one of its own, and prints their ids.
REGISTRAR = """
import json, sys
from schemas.avro.schema import Schema
from schemas.registry.log import Registry

bootstrap, topic, name = sys.argv[1:]
with Registry(bootstrap, topic, timeout_s=120) as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in [*range(4), name]:
        field = {"name": f"f{number}", "type": "int"}
        tree = {"type": "record", "name": "R", "fields": [field]}
        print(number, registry.register(f"s{number}", Schema(json.dumps(tree))), flush=True)
"""


@pytest.fixture
def topic(broker: Broker) -> Iterator[str]:
    """A `_schemas` topic of the test's own."""
    with EphemeralTopic(broker.bootstrap) as topic:
        yield topic.name


def test_a_schema_that_one_registers_is_found_by_another_at_once(
    broker: Broker, topic: str
) -> None:
    with Registry(broker.bootstrap, topic) as one, Registry(broker.bootstrap, topic) as other:
        first = one.register("x-value", FIRST)
        assert other.find([first, 99]) == {first: FIRST}
        second = other.register("x-value", SECOND)

        assert one.register("x-value", SECOND) == second
        assert one.register("x-value", FIRST) == first
        assert (first, second) == (1, 2)
    with Registry(broker.bootstrap, topic) as later:
        assert [v.version for v in later.refresh().versions("x-value")] == [1, 2]


def test_an_incompatible_schema_is_refused_and_nothing_is_written(
    broker: Broker, topic: str
) -> None:
    with Registry(broker.bootstrap, topic) as registry:
        registry.register("x-value", FIRST)
        with pytest.raises(Conflict, match="c: not written, and without a default"):
            registry.register("x-value", BREAKING)

        assert len(registry.refresh().versions("x-value")) == 1
        registry.change(lambda _: (None, [level_record("x-value", "NONE")]))
        assert registry.register("x-value", BREAKING) == 2


def test_records_that_are_not_committed_or_not_ours_do_no_harm(broker: Broker, topic: str) -> None:
    stranger = Producer({"bootstrap.servers": broker.bootstrap})
    stranger.produce(topic, b"{}", b"not a key")
    stranger.flush()
    undecided = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    undecided.init_transactions()

    with Registry(broker.bootstrap, topic) as registry:
        schema_id = registry.register("x-value", FIRST)
        undecided.begin_transaction()
        undecided.produce(topic, b"null", b"{}")
        undecided.flush()

        assert registry.find([schema_id, 7]) == {schema_id: FIRST}
        undecided.abort_transaction()
        assert registry.register("x-value", SECOND) == schema_id + 1


def test_processes_that_register_at_once_agree_on_every_id(broker: Broker, topic: str) -> None:
    names = ["ann", "ben", "cem"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTRAR, broker.bootstrap, topic, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=240)[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * len(names)
    ids = [dict(line.split() for line in output.splitlines()) for output in outputs]
    for number in map(str, range(4)):
        assert len({own[number] for own in ids}) == 1
    everything = {schema_id for own in ids for schema_id in own.values()}
    assert everything == {str(number) for number in range(1, 8)}
    with Registry(broker.bootstrap, topic) as registry:
        subjects = registry.refresh()
        assert len(subjects.subjects()) == 7
        assert all(len(subjects.versions(name)) == 1 for name in subjects.subjects())


def test_threads_share_one_registry(broker: Broker, topic: str) -> None:
    ids: list[int] = []
    with Registry(broker.bootstrap, topic) as registry:
        threads = [
            threading.Thread(target=lambda: ids.append(registry.register("x-value", FIRST)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert ids == [1, 1, 1, 1]


def test_a_broker_that_does_not_answer_is_named(broker: Broker) -> None:
    with (
        Registry(broker.bootstrap, "no-such-topic", timeout_s=3) as registry,
        pytest.raises(Unavailable, match="no-such-topic does not answer"),
    ):
        registry.refresh()
