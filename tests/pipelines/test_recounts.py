"""History that comes late gives right figures: in order of time at once, or else by itself."""

import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from pipelines.engine.instance import AnyInstance
from schemas.settings import Settings
from services.broker import Broker
from tests.conftest import deployment
from tests.oracles import funnel as funnel_oracle
from tests.oracles import metric as metric_oracle
from tests.oracles.events import Event
from tests.pipelines.in_process import PARTITION, Engine, Named, published, put, store_events

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
NOW_MS: Final = time.time_ns() // 1_000_000
DAYS: Final = 84
_TIMEOUT_S: Final = 60.0

BY_PLAN: Final[dict[str, Any]] = {
    "steps": [{"event": "in"}, {"event": "view"}, {"event": "buy"}],
    "window_s": 86_400,
    "breakdown": {"property": "plan"},
}
PLAIN: Final = {name: BY_PLAN[name] for name in ("steps", "window_s")}
DAILY: Final = {"measure": "events", "bucket_s": 86_400, "of": {"event": "in"}}


class Project:
    """Two funnels and a metric in a project of its own, and the engine that runs them."""

    def __init__(self, settings: Settings, engine: Engine | None = None) -> None:
        self.settings = settings
        self.name = f"p{uuid.uuid4().hex[:8]}"
        self.events: list[Event] = []
        self.by_plan = Named("funnel", "by-plan", self.name)
        self.plain = Named("funnel", "plain", self.name)
        self.daily = Named("metric", "daily", self.name)
        self.engine = engine or Engine(settings).run()

    def define(self, more: int = 0) -> None:
        """Define the two funnels and the metric, and some more funnels."""
        bodies = {self.by_plan: BY_PLAN, self.plain: PLAIN, self.daily: DAILY}
        bodies |= {Named("funnel", f"more-{one}", self.name): PLAIN for one in range(more)}
        put(self.settings, {of: of.record(body) for of, body in bodies.items()})
        self.engine.await_definitions(lambda _: len(self.instances()) == len(bodies))
        self.engine.run()

    def definitions(self) -> list[Named]:
        return [Named(one.key.operator, one.key.id, self.name) for one in self.instances().values()]

    def instances(self) -> dict[str, AnyInstance]:
        found = self.engine.partition.instances
        return {key.id: one for key, one in found.items() if key.project == self.name}

    def happen(self, *events: Event, run: bool = True) -> None:
        store_events(self.settings, events, self.name)
        self.events += events
        if run:
            self.engine.run()

    def total(self, of: Named) -> dict[str, Any]:
        return published(self.settings)[of][1, None]

    def behind(self) -> dict[str, int]:
        """How many late events the definitions lack, by what is published."""
        found = published(self.settings)
        return {of.id: found[of][1, None]["behind"] for of in (self.by_plan, self.plain)}

    def recount_due(self) -> bool:
        """Whether a recount has begun, or is about to."""
        return self.engine.analytics.backfilling

    def await_recount_due(self) -> None:
        """Let time pass until a recount is to begin, for ten seconds at most."""
        deadline = time.monotonic() + 10
        while not self.recount_due():
            assert time.monotonic() < deadline, "no recount begins"
            self.engine.commit()
            time.sleep(0.01)

    def await_recount(self) -> None:
        """Let time pass until nothing is behind."""
        deadline = time.monotonic() + _TIMEOUT_S
        while any(one.behind or one.settling for one in self.instances().values()):
            assert time.monotonic() < deadline, "a definition stays behind"
            if self.engine.analytics.backfilling:
                self.engine.analytics.catch_up()
            self.engine.commit()
            time.sleep(0.01)

    def assert_right(self) -> None:
        """What is published is what the definitions say of all events, in whatever order."""
        found = published(self.settings)
        for of, body in ((self.by_plan, BY_PLAN), (self.plain, PLAIN)):
            expected = funnel_oracle.figures(body, self.events)
            assert found[of][1, None]["reached"] == expected.reached
            days = {record["day"]: record["reached"] for record in found[of].values()}
            del days[None]
            reached = [days[day] for day in sorted(days) if any(days[day])]
            assert reached == [expected.days[day].reached for day in sorted(expected.days)]
        expected_daily = metric_oracle.figures(DAILY, self.events, NOW_MS).buckets
        events = [record["events"] for (_, day), record in found[self.daily].items() if day]
        assert sorted(events) == sorted(figure.events for figure in expected_daily.values())


@pytest.fixture(scope="module")
def own_settings(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A deployment of this module's, in which rows wait for a while to be logged."""
    with deployment(broker, tmp_path_factory.mktemp("recounts")) as settings:
        yield replace(settings, checkpoint_interval_ms=500)


@pytest.fixture
def project(own_settings: Settings) -> Iterator[Project]:
    project = Project(own_settings)
    yield project
    put(own_settings, dict.fromkeys((project.by_plan, project.plain, project.daily)))
    project.engine.close()


def live(person: int) -> Event:
    return Event(f"p{person}", "in", NOW_MS - 1_000 + person, {"plan": "free"})


def visit(person: int, at: int, steps: int) -> list[Event]:
    """The first few steps of the funnels, some minutes apart."""
    names = ("in", "view", "buy")[:steps]
    plan = {"plan": ("free", "pro")[person % 2]}
    return [
        Event(f"p{person}", name, at + 300_000 * place, plan) for place, name in enumerate(names)
    ]


def history(persons: range) -> list[Event]:
    """Visits on each of many days, in order of time."""
    draw = random.Random(7)
    begin = NOW_MS - (DAYS + 2) * DAY_MS
    events = [
        event
        for day in range(DAYS)
        for person in persons
        for event in visit(
            person, begin + day * DAY_MS + draw.randrange(12 * HOUR_MS), draw.choice([1, 2, 2, 3])
        )
    ]
    return sorted(events, key=lambda event: event.at)


def test_three_files_of_history_in_order_of_time_are_counted_at_once(project: Project) -> None:
    """Others are live meanwhile, and the definitions were made for them."""
    project.happen(*map(live, range(20)))
    project.define()
    events = history(range(20, 32))
    third = len(events) // 3
    for begin in range(0, len(events), third + 1):
        project.happen(*events[begin : begin + third + 1])
        assert project.behind() == {"by-plan": 0, "plain": 0}
    project.assert_right()
    assert project.total(project.daily)["late_dropped"] == 0


def test_history_of_persons_who_are_live_is_counted_without_being_asked(project: Project) -> None:
    project.happen(*map(live, range(20)))
    project.define()
    before = project.total(project.by_plan)
    project.happen(*history(range(15, 25)))
    behind = project.total(project.by_plan)
    assert behind["behind"] == behind["late_dropped"] > 0
    assert behind["behind_since"] is not None
    assert behind["reached"][0] == before["reached"][0] + 5  # of those who were not there

    project.await_recount()
    assert project.total(project.by_plan)["late_dropped"] == 0
    assert project.behind() == {"by-plan": 0, "plain": 0}
    project.assert_right()

    project.engine = project.engine.restarted()
    project.happen(*visit(16, NOW_MS, 3))
    project.assert_right()


def test_a_recount_that_a_crash_ends_begins_again_and_takes_along_what_came_since(
    project: Project,
) -> None:
    project.define()
    project.happen(*map(live, range(4)))
    project.happen(*history(range(4)))
    project.await_recount_due()
    for _ in range(3):
        project.engine.analytics.catch_up()
        project.engine.commit()
    assert all(project.behind().values())

    project.engine = project.engine.restarted()
    assert all(project.behind().values())
    project.happen(*visit(1, NOW_MS - 40 * DAY_MS + 7, 3), *visit(2, NOW_MS, 2))
    project.await_recount()
    project.assert_right()


def test_a_small_recount_does_not_wait_for_the_large_ones_of_many_other_projects(
    project: Project,
) -> None:
    large = [Project(project.settings, project.engine) for _ in range(5)]
    for one in (*large, project):
        one.define(more=0 if one is project else 6)
        one.happen(live(1))
    for one in (*large, project):
        one.happen(*history(range(1, 2)), run=False)
    project.engine.run()
    project.await_recount_due()
    deadline = time.monotonic() + _TIMEOUT_S
    while any(one.behind for one in project.instances().values()):
        assert time.monotonic() < deadline, "it stays behind"
        project.engine.analytics.catch_up()
        project.engine.commit()
    for one in large:
        assert any(instance.behind for instance in one.instances().values())
    project.assert_right()
    for one in large:
        one.await_recount()
        one.assert_right()
        put(project.settings, dict.fromkeys(one.definitions()))


def test_figures_stay_if_the_log_from_which_they_were_counted_is_gone(
    broker: Broker, tmp_path: Path
) -> None:
    """A recount would count less than was counted; the definition says that it is behind."""
    with deployment(broker, tmp_path) as settings:
        project = Project(settings)
        _lose_the_log(project)
        project.engine.close()


def _lose_the_log(project: Project) -> None:
    project.define()
    project.happen(*visit(1, NOW_MS - 9 * DAY_MS, 3), *visit(2, NOW_MS - DAY_MS, 2))
    counted = project.total(project.plain)["reached"]
    topic = project.settings.topics.events.name
    admin = AdminClient({"bootstrap.servers": project.settings.bootstrap})
    deleted = admin.delete_records([TopicPartition(topic, PARTITION, project.engine.position)])
    for future in deleted.values():
        future.result(_TIMEOUT_S)
    project.happen(*visit(2, NOW_MS - 20 * DAY_MS, 3))
    project.await_recount_due()
    while project.recount_due():
        project.engine.analytics.catch_up()
    project.engine.commit()
    assert project.total(project.plain)["reached"] == counted
    assert project.behind() == {"by-plan": 3, "plain": 3}


def test_a_definition_that_reads_a_log_in_any_order_is_live_with_right_figures(
    project: Project,
) -> None:
    events = history(range(5))
    random.Random(3).shuffle(events)
    project.happen(*events)
    project.define()
    assert project.total(project.plain)["backfilling_to"] is not None
    project.await_recount()
    assert project.total(project.plain)["backfilling_to"] is None
    assert project.total(project.plain)["live_since"] is not None
    project.assert_right()
