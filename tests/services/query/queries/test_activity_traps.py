"""Where stickiness and lifecycle usually go wrong, beside SQL written by hand."""

from typing import Final

from tests.oracles.events import Event
from tests.services.query.queries.asking import Asker, ms

NOW: Final = ms("2026-12-31T00:00:00+00:00")


def test_the_first_and_the_last_week_of_a_range_count_as_a_whole(asker: Asker) -> None:
    acts = [
        Event("ann", "buy", ms("2026-11-02T00:00:00Z")),  # the Monday before the range
        Event("ann", "buy", ms("2026-11-08T23:59:59.999Z")),
        Event("ann", "buy", ms("2026-11-15T23:59:59.999Z")),  # the Sunday behind it
        Event("bob", "buy", ms("2026-11-16T00:00:00Z")),
        Event("cy", "buy", ms("2026-11-01T23:59:59.999Z")),
    ]
    project = asker.write(acts)
    body = {"interval": "week", "from": "2026-11-05", "to": "2026-11-10"}
    answer = asker.ask("stickiness", project, body, NOW)
    assert (answer["exactly"], answer["at_least"]) == ([0, 1], [1, 1])
    rows = asker.sql(
        "SELECT weeks, count() FROM (SELECT uniqExact(toMonday(timestamp)) AS weeks"
        " FROM {db}.events WHERE project_id = {project:String}"
        " AND toMonday(timestamp) IN ('2026-11-02', '2026-11-09') GROUP BY person_id)"
        " GROUP BY weeks",
        project=project,
    )
    assert rows == [(2, 1)]
    lifecycle = asker.ask("lifecycle", project, body, NOW)
    assert lifecycle["new"] == [1, 0]
    assert lifecycle["returning"] == [0, 1]
    assert lifecycle["dormant"] == [1, 0]  # cy, who was active in the week before


def test_persons_without_events_in_the_range_count_nowhere(asker: Asker) -> None:
    acts = [
        Event("ann", "view", ms("2026-11-05T10:00:00Z")),
        Event("bob", "signup", ms("2026-01-05T10:00:00Z"), {"$set": {"plan": "pro"}}),
    ]
    project = asker.write(acts)
    days = {"from": "2026-11-05", "to": "2026-11-06"}
    assert asker.ask("stickiness", project, days, NOW)["exactly"] == [1, 0]
    assert asker.ask("lifecycle", project, days, NOW)["dormant"] == [0, 1]
    series = [{"measure": "persons"}, {"measure": "events_per_person"}]
    body = {"series": series, "breakdown": [{"person": "plan"}], **days}
    trends = asker.ask("trends", project, body, NOW)["trends"]
    assert [(one["breakdown"], one["total"]) for one in trends] == [([None], 1), ([None], 1)]
    funnel = {"funnel": {"steps": [{"event": "view"}, {"event": "buy"}]}, **days}
    assert asker.ask("funnel", project, funnel, NOW)["reached"] == [1, 0]
    cohort = {"cohort": {"start": {}, "periods": 1}, **days}
    rows = asker.ask("cohort", project, cohort, NOW)["rows"]
    assert [(row["begin"], row["persons"]) for row in rows] == [("2026-11-05", 1)]
