"""Where trends usually go wrong: each case beside figures written down or SQL written by hand."""

from typing import Any

import pytest

from tests.oracles.events import Event
from tests.services.query.queries.asking import Asker, ms

NOW = ms("2026-11-30T12:00:00+00:00")
BUY: dict[str, Any] = {"event": "buy"}


def at(person: str, when: str, event: str = "buy", **properties: Any) -> Event:
    return Event(person, event, ms(when), properties)


def trend(answer: dict[str, Any], series: str = "A", *breakdown: Any) -> dict[str, Any]:
    """The one trend of a series with these values."""
    (found,) = (
        one
        for one in answer["trends"]
        if (one["series"], one["breakdown"], one["other"]) == (series, [*breakdown], False)
    )
    return dict(found)


def other(answer: dict[str, Any], series: str = "A") -> dict[str, Any]:
    (found,) = (one for one in answer["trends"] if one["series"] == series and one["other"])
    return dict(found)


def day(number: int) -> dict[str, Any]:
    """The fields of a query about one day of November in UTC."""
    return {"from": f"2026-11-{number:02}", "to": f"2026-11-{number:02}"}


@pytest.mark.parametrize(
    ("date", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)]
)
def test_a_day_of_the_zone_has_as_many_hours_as_its_clocks_show(
    asker: Asker, date: str, hours: int
) -> None:
    zone = {"timezone": "Europe/Lisbon", "from": date, "to": date, "series": [{}]}
    begin = ms(f"{date}T00:00:00+00:00") - (3_600_000 if date != "2026-03-29" else 0)
    if date == "2026-10-26":
        begin += 3_600_000
    acts = [
        Event("ann", "view", begin + offset)
        for offset in (-1, 0, 3_600_000 * hours - 1, 3_600_000 * hours)
    ]
    project = asker.write(acts)
    daily = asker.ask("trends", project, zone, NOW)
    assert trend(daily)["values"] == [2]
    hourly = asker.ask("trends", project, zone | {"interval": "hour"}, NOW)
    assert trend(hourly)["values"] == [1, *[0] * (hours - 2), 1]
    rows = asker.sql(
        "SELECT count() FROM {db}.events WHERE project_id = {project:String} "
        "AND toDate(timestamp, 'Europe/Lisbon') = {date:Date}",
        project=project,
        date=date,
    )
    assert rows == [(2,)]


def test_hours_of_a_zone_begin_when_its_clocks_show_a_whole_hour(asker: Asker) -> None:
    body = {"series": [{}], "interval": "hour", "timezone": "Asia/Kolkata", **day(5)}
    answer = asker.ask("trends", asker.write([at("ann", "2026-11-05T00:45:00+05:30")]), body, NOW)
    assert answer["intervals"][0]["begin"] == "2026-11-04T18:30:00Z"
    assert trend(answer)["values"] == [1, *[0] * 23]


def test_persons_of_a_week_and_of_the_range_are_not_sums_of_days(asker: Asker) -> None:
    project = asker.write(
        [
            at("ann", "2026-11-02T10:00:00Z"),
            at("ann", "2026-11-03T10:00:00Z"),
            at("bob", "2026-11-03T10:00:00Z"),
            at("ann", "2026-11-10T10:00:00Z"),
        ]
    )
    body = {"series": [{"measure": "persons"}], "from": "2026-11-02", "to": "2026-11-15"}
    daily = trend(asker.ask("trends", project, body, NOW))
    assert daily["values"] == [1, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert daily["total"] == 2
    weekly = trend(asker.ask("trends", project, body | {"interval": "week"}, NOW))
    assert (weekly["values"], weekly["total"]) == ([2, 1], 2)
    monthly = {**body, "interval": "month", "from": "2026-10-01", "to": "2026-11-30"}
    assert trend(asker.ask("trends", project, monthly, NOW))["values"] == [0, 2]
    rows = asker.sql(
        "SELECT toMonday(timestamp) AS week, uniqExact(person_id) FROM {db}.events "
        "WHERE project_id = {project:String} GROUP BY week ORDER BY week",
        project=project,
    )
    assert [count for _, count in rows] == weekly["values"]


def test_no_events_are_zeros_and_no_values_are_null(asker: Asker) -> None:
    measured = {"event": "buy", "property": "total"}
    body = {
        "series": [
            BUY,
            {"measure": "persons"},
            {"measure": "events_per_person"},
            measured | {"measure": "sum"},
            measured | {"measure": "average"},
            measured | {"measure": "maximum"},
            measured | {"measure": "percentile", "percentile": 50},
        ],
        "from": "2026-11-01",
        "to": "2026-11-02",
    }
    answer = asker.ask("trends", asker.write([]), body, NOW)
    figures = [one["total"] for one in answer["trends"]]
    assert figures == [0, 0, None, 0, None, None, None]
    assert [one["values"] for one in answer["trends"]] == [[one, one] for one in figures]
    assert answer["positions"] == {}


def test_ratios_are_of_sums_and_null_where_the_divisor_is_nothing(asker: Asker) -> None:
    project = asker.write(
        [
            at("ann", "2026-11-01T10:00:00Z"),
            *(at("ann", "2026-11-01T11:00:00Z", "view") for _ in range(10)),
            *(at("ann", "2026-11-02T11:00:00Z", "buy") for _ in range(3)),
            *(at("ann", "2026-11-02T11:00:00Z", "view") for _ in range(2)),
            at("ann", "2026-11-03T11:00:00Z", "buy"),
            at("ann", "2026-11-04T11:00:00Z", "view"),
        ]
    )
    body = {
        "series": [BUY, {"event": "view"}],
        "formulas": [{"formula": "A / B"}, {"formula": "(A + B) * 100 - -1"}],
        "from": "2026-11-01",
        "to": "2026-11-05",
    }
    answer = asker.ask("trends", project, body, NOW)
    ratio = trend(answer, "A / B")
    assert ratio["values"] == [0.1, 1.5, None, 0, None]
    assert ratio["total"] == 5 / 13  # not the mean of the days' ratios
    assert trend(answer, "(A + B) * 100 - -1")["values"] == [1101, 501, 101, 101, 1]


def test_text_counts_as_a_number_only_if_that_is_asked_for(asker: Asker) -> None:
    values = [10, "12.50", "1e1", "0x10", " 5", "inf", "NaN", "", True, None, [1]]
    when = "2026-11-05T10:00:00Z"
    project = asker.write([at("ann", when, total=value) for value in values])
    sums = {"measure": "sum", "property": "total"}
    body = {"series": [sums, sums | {"text_numbers": True}], **day(5)}
    answer = asker.ask("trends", project, body, NOW)
    assert (trend(answer)["total"], trend(answer)["unmeasured"]) == (10, 10)
    assert (trend(answer, "B")["total"], trend(answer, "B")["unmeasured"]) == (32.5, 8)


def test_equal_values_come_by_name_and_the_rest_counts_each_person_once(asker: Asker) -> None:
    when = "2026-11-05T10:00:00Z"
    project = asker.write(
        [at(person, when, plan=plan) for person in "ab" for plan in ("pro", "free", "team")]
        + [at("c", when, plan="max"), at("c", when, plan="min"), at("c", when)]
    )
    body = {
        "series": [{"measure": "persons"}],
        "breakdown": [{"property": "plan"}],
        "top": 2,
        **day(5),
    }
    answer = asker.ask("trends", project, body, NOW)
    assert [(one["breakdown"], one["other"]) for one in answer["trends"]] == [
        (["free"], False),
        (["pro"], False),
        ([], True),
    ]
    assert [one["total"] for one in answer["trends"]] == [2, 2, 3]
    everything = asker.ask("trends", project, body | {"top": 10}, NOW)
    shown = [one["breakdown"] for one in everything["trends"]]
    assert shown == [["free"], ["pro"], ["team"], [None], ["max"], ["min"]]
    assert not any(one["other"] for one in everything["trends"])


def test_values_of_all_types_keep_their_type(asker: Asker) -> None:
    when = "2026-11-05T10:00:00Z"
    values = [1, 1.0, True, "1", 2**53 + 1, 2**64 - 1, -(2**63), 0.1, None, [1], {"a": 1}, ""]
    project = asker.write([at("ann", when, v=value) for value in values])
    body = {"series": [{}], "breakdown": [{"property": "v"}], "top": 100, **day(5)}
    answer = asker.ask("trends", project, body, NOW)
    found = {repr(one["breakdown"][0]): one["total"] for one in answer["trends"]}
    assert found == {
        "1": 2,
        "True": 1,
        "'1'": 1,
        repr(2**53 + 1): 1,
        repr(2**64 - 1): 1,
        repr(float(-(2**63))): 1,
        "0.1": 1,
        "None": 3,
        "''": 1,
    }
    inner = body | {"breakdown": [{"property": "v.a"}]}
    assert trend(asker.ask("trends", project, inner, NOW), "A", None)["total"] == 12


def test_the_period_before_is_cut_where_the_present_one_is(asker: Asker) -> None:
    project = asker.write(
        [
            at("ann", "2026-11-29T11:59:59.999Z"),
            at("ann", "2026-11-29T12:00:00Z"),
            at("ann", "2026-11-28T23:00:00Z"),
            at("ann", "2026-11-30T01:00:00Z"),
        ]
    )
    body = {"series": [{}], "last": 1, "compare": True}
    answer = asker.ask("trends", project, body, NOW)
    assert trend(answer)["values"] == [1]
    assert answer["intervals"][0]["incomplete"] is True
    assert answer["previous"]["trends"][0]["values"] == [1]  # until noon, as today
    whole = asker.ask("trends", project, body | {"last": None, **day(29)}, NOW)
    assert whole["previous"]["trends"][0]["values"] == [1]
    assert whole["intervals"][0]["incomplete"] is False
    assert (trend(whole)["values"], whole["incomplete"]) == ([2], False)


def test_a_month_is_compared_with_the_month_before_however_long_it_is(asker: Asker) -> None:
    project = asker.write([at("ann", "2026-10-31T23:00:00Z"), at("ann", "2026-09-30T23:00:00Z")])
    body = {
        "series": [{}],
        "interval": "month",
        "from": "2026-11-01",
        "to": "2026-11-30",
        "compare": True,
    }
    later = asker.ask("trends", project, body, ms("2026-12-05T00:00:00Z"))
    assert later["previous"]["intervals"][0]["begin"] == "2026-10-01T00:00:00Z"
    assert later["previous"]["trends"][0]["values"] == [1]


def test_the_running_interval_and_cut_ones_are_marked_and_later_ones_are_left_out(
    asker: Asker,
) -> None:
    project = asker.write([at("ann", "2026-11-30T10:00:00Z")])
    body = {"series": [{}], "from": "2026-11-28T06:00:00Z", "to": "2026-12-24"}
    answer = asker.ask("trends", project, body, NOW)
    assert [one["incomplete"] for one in answer["intervals"]] == [True, False, True]
    assert trend(answer)["values"] == [0, 0, 1]
    late = asker.ask("trends", project, body, NOW, lateness_ms=13 * 3_600_000)
    assert [one["incomplete"] for one in late["intervals"]] == [True, True, True]
    assert late["complete_until"] == "2026-11-29T23:00:00Z"


def test_filters_know_the_segments_and_the_present_properties_of_persons(asker: Asker) -> None:
    when = "2026-11-05T10:00:00Z"
    project = asker.write(
        [
            at("ann", when, "view", **{"$set": {"plan": "free"}}),
            at("ann", "2026-11-05T11:00:00Z", "view", **{"$set": {"plan": "pro"}}),
            at("ann", when),
            at("bob", when, "view", **{"$set_once": {"plan": "free"}}),
            at("bob", when),
            at("cy", when),
            at("cy", when, "view", **{"$set": {"plan": ["list"]}}),
        ]
    )
    buyers = {"performed": {"event": "view"}}
    body: dict[str, Any] = {"series": [BUY], **day(5)}
    for where, wanted in (
        ([{"person": {"property": "plan", "value": "pro"}}], 1),
        ([{"person": {"property": "plan", "op": "is_set"}}], 3),
        ([{"not": {"person": {"property": "plan", "value": "pro"}}}], 2),
        ([{"segment": "viewers"}], 3),
        ([{"not": {"segment": "viewers"}}], 0),
        ([{"or": [{"segment": "nobody"}, {"person": {"property": "plan", "value": "free"}}]}], 1),
    ):
        segments = {"viewers": buyers, "nobody": {"performed": {"event": "none"}}}
        answer = asker.ask("trends", project, body | {"where": where}, NOW, segments)
        assert trend(answer)["total"] == wanted, where
    by_plan = asker.ask("trends", project, body | {"breakdown": [{"person": "plan"}]}, NOW)
    assert {one["breakdown"][0]: one["total"] for one in by_plan["trends"]} == {
        "pro": 1,
        "free": 1,
        None: 1,
    }
    rich = {"rich": {"person": [{"property": "plan", "value": "pro"}]}}
    both = body | {"breakdown": [{"segment": "rich"}, {"property": "$set.plan"}]}
    answer = asker.ask("trends", project, both | {"series": [{}]}, NOW, rich)
    found = {tuple(one["breakdown"]): one["total"] for one in answer["trends"]}
    assert sum(found.values()) == 7
    assert found[True, None] == 3


def test_a_series_is_asked_for_by_several_events_in_one_go(asker: Asker) -> None:
    acts = [at("ann", "2026-11-05T10:00:00Z"), at("bob", "2026-11-05T10:00:00Z", "view")]
    body = {
        "series": [BUY, {"event": "view", "measure": "persons"}, {"event": "none"}],
        "breakdown": [{"property": "plan"}],
        **day(5),
    }
    answer = asker.ask("trends", asker.write(acts), body, NOW)
    assert [one["total"] for one in answer["trends"]] == [1, 1, 0]
    assert [one["name"] for one in answer["trends"]] == [
        "buy: events",
        "view: persons",
        "none: events",
    ]
