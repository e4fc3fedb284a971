"""Live results are worked out once for all who look, and anew when they change or time passes."""

import itertools
import json
import math

import pytest

from schemas.operators.metric import Metric, MetricDefinition
from services.query.live.feed import LiveResults
from services.query.operators.metric.aggregates import MetricQuery
from services.query.operators.metric.live import REFRESH_S, live_metric
from services.query.operators.metric.view import MetricResultsView
from services.query.views.catalog import Definitions
from services.query.views.changes import Change, Key
from tests.pipelines.test_metric_fold import CASE, NOON, feed, minutes, start
from tests.services.query.test_metric_figures import published

SHOP, OTHER = Key("shop", "m"), Key("other", "m")


class Clock:
    """Stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watcher:
    """Looks at the metrics of a project."""

    def __init__(self, live: LiveResults[MetricDefinition], project_id: str = "shop") -> None:
        self._live = live
        self._project_id = project_id
        self._touched: list[str] = []
        self.begin()

    def begin(self) -> None:
        self._live.watch(self._project_id, self._touched.append)

    def end(self) -> None:
        self._live.leave(self._project_id, self._touched.append)

    def touched(self) -> list[str]:
        """The names that came since it was last asked."""
        names = self._touched[:]
        self._touched.clear()
        return names


def define(*keys: Key) -> Definitions[MetricDefinition]:
    definitions = Definitions[MetricDefinition]("metric")
    for key in keys:
        one = MetricDefinition(
            project_id=key.project_id,
            id=key.id,
            version=1,
            created_at=0,
            updated_at=0,
            metric=Metric(measure="persons"),
        )
        definitions.apply([Change("metric", key, one)])
    return definitions


def counting(every_s: float, clock: Clock) -> LiveResults[MetricDefinition]:
    """States that say how many have been worked out."""
    numbers = itertools.count(1)
    return LiveResults(define(SHOP, OTHER), lambda _: b"%d" % next(numbers), every_s, clock)


def test_a_state_is_worked_out_once_for_all_until_it_changes() -> None:
    live = counting(math.inf, Clock())
    one, other, elsewhere = Watcher(live), Watcher(live), Watcher(live, "other")
    assert one.touched() == other.touched() == elsewhere.touched() == ["m"]
    assert [live.state(*SHOP), live.state(*SHOP)] == [b"1", b"1"]
    live.changed([SHOP, SHOP])
    assert one.touched() == other.touched() == ["m"]
    assert elsewhere.touched() == []
    assert live.state(*SHOP) == b"2"
    assert live.state("shop", "unknown") is None


def test_all_who_look_are_told_when_the_time_of_states_is_over_whoever_finds_it() -> None:
    clock = Clock()
    live = counting(1.0, clock)
    one, other = Watcher(live), Watcher(live, "other")
    assert one.touched() == other.touched() == ["m"]
    for second in range(1, 4):
        clock.now = second - 0.1
        live.refresh()
        assert one.touched() == other.touched() == []
        clock.now = second
        live.refresh()
        live.refresh()
        assert one.touched() == other.touched() == ["m"]
        assert live.state(*SHOP) == b"%d" % second


def test_states_hold_for_ever_unless_it_is_said_how_long() -> None:
    clock = Clock()
    live = counting(math.inf, clock)
    one = Watcher(live)
    assert one.touched() == ["m"]
    clock.now = 1e9
    live.refresh()
    assert one.touched() == []


@pytest.mark.parametrize("left", [("shop",), ("shop", "other")])
def test_who_comes_back_is_not_shown_what_was_then(left: tuple[str, ...]) -> None:
    clock = Clock()
    live = counting(1.0, clock)
    watchers = {"shop": Watcher(live), "other": Watcher(live, "other")}
    assert live.state(*SHOP) == b"1"
    for project_id in left:
        watchers[project_id].end()
    clock.now = 60
    live.refresh()
    clock.now = 60.5
    watchers["shop"].begin()
    live.refresh()
    assert live.state(*SHOP) == b"2"


def test_persons_are_active_no_more_when_time_has_passed() -> None:
    running = start(CASE, "persons")
    feed(running, minutes((0, None)))
    results, clock = MetricResultsView(1), Clock()
    results.apply(published(running, 0))
    live = LiveResults(
        define(SHOP),
        lambda one: live_metric(one, None, results, MetricQuery(NOON + int(1_000 * clock.now))),
        REFRESH_S,
        clock,
    )
    one = Watcher(live)
    for now, persons in ((59.9, [1, 1, 1]), (60, [1, 1, 1]), (60.9, [0, 1, 1]), (300, [0, 0, 1])):
        clock.now = now
        live.refresh()
        assert [window["persons"] for window in state(live)["active"]] == persons
    assert one.touched() == ["m"] * 4


def state(live: LiveResults[MetricDefinition]) -> dict[str, list[dict[str, int]]]:
    found: dict[str, list[dict[str, int]]] = json.loads(live.state(*SHOP) or b"")
    return found
