"""An output that cannot be written costs the definitions that it is of, visibly, and nothing else.

Written once over every topic that definitions are published to: when a topic takes no record any
more, the epoch commits, the definitions of that operator fail with the reason, and the others go
on. The reason is published as soon as it can be.
"""

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from msgspec.structs import replace

from pipelines.kafka.records import Outbox
from pipelines.kafka.topic_limits import _OVERHEAD_BYTES, TopicLimits
from schemas.operators import OPERATORS
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.settings import Settings
from schemas.topic import MAX_MESSAGE_BYTES
from services.broker import Broker
from tests.conftest import deployment
from tests.laws.entry import entry_of
from tests.pipelines.in_process import Engine, Named, published, put, store
from tests.pipelines.test_outbox import limit_topic

NOW_MS: Final = time.time_ns() // 1_000_000


class Running(NamedTuple):
    """An engine that asks the broker how large records may be."""

    engine: Engine
    outbox: Outbox

    @property
    def settings(self) -> Settings:
        return self.engine.settings

    def limit(self, topic: str, max_bytes: int) -> None:
        """Change what a topic takes, and check every record from now on."""
        limit_topic(self.settings, topic, max_bytes)
        self.outbox.check_all()

    def happen(self, project: str, at_ms: int) -> None:
        """Let a person do what every definition counts and publishes."""
        store(self.settings, ["home", "cart"], at_ms, "ann", project)
        self.engine.run()

    def failures(self, project: str) -> dict[str, str]:
        """Return why the definitions of a project have failed, by operator."""
        instances = self.engine.partition.instances.items()
        return {key.operator: one.failed for key, one in instances if key.project == project}


@pytest.fixture(scope="module")
def running(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with deployment(broker, tmp_path_factory.mktemp("outputs")) as own:
        outbox = Outbox(TopicLimits(own.bootstrap))
        engine = Engine(replace(own, checkpoint_interval_ms=0), outbox=outbox)
        yield Running(engine, outbox)
        engine.close()


def define(running: Running, project: str) -> dict[str, Named]:
    """Define something of every operator, and wait until it counts."""
    definitions = {spec.name: Named(spec.name, "it", project) for spec in OPERATORS}
    put(running.settings, {of: of.record(entry_of(of.kind).body) for of in definitions.values()})
    running.engine.await_definitions(lambda _: len(running.failures(project)) == len(OPERATORS))
    running.engine.run()
    return definitions


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        (spec, result)
        for spec in OPERATORS
        for result in spec.results
        if result.suffix not in entry_of(spec.name).silent
    ],
    ids=lambda of: of.suffix if isinstance(of, ResultTopic) else of.name,
)
def test_a_topic_that_takes_no_record_costs_the_definitions_of_its_operator(
    running: Running, spec: OperatorSpec, result: ResultTopic
) -> None:
    project, topic = result.suffix, result.topic(running.settings.topics).name
    definitions = define(running, project)
    running.limit(topic, _OVERHEAD_BYTES + 1)
    try:
        running.happen(project, NOW_MS)
    finally:
        running.limit(topic, MAX_MESSAGE_BYTES)
    failures = running.failures(project)
    assert f"{topic}: a record of" in failures.pop(spec.name)
    assert failures == dict.fromkeys(failures, "")
    running.happen(project, NOW_MS + 1_000)
    found = published(running.settings)
    reasons: dict[str, Any] = {
        name: found[of][1, None]["failed"] for name, of in definitions.items()
    }
    assert f"{topic}: a record of" in reasons.pop(spec.name)
    assert reasons == dict.fromkeys(reasons)


def test_a_log_of_the_state_that_takes_no_record_costs_the_definitions_with_rows(
    running: Running,
) -> None:
    project, topic = "state", running.settings.topics.person_state.name
    define(running, project)
    running.limit(topic, _OVERHEAD_BYTES + 1)
    try:
        running.happen(project, NOW_MS)
    finally:
        running.limit(topic, MAX_MESSAGE_BYTES)
    assert all("accepted are 1" in reason for reason in running.failures(project).values())
    project = "afterwards"
    define(running, project)
    running.happen(project, NOW_MS)
    assert set(running.failures(project).values()) == {""}
