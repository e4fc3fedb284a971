"""A cohort query has the grids of the oracle, and says which of its cells may still change."""

import datetime
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from tests.oracles import adhoc_cohort as oracle
from tests.oracles.cohort import first_day
from tests.oracles.events import Event
from tests.oracles.values import name_of
from tests.services.query.queries.asking import Asker, ms

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
BEGIN: Final = ms("2026-10-19T00:00:00+00:00")  # six days before clocks change in Lisbon
NOW: Final = ms("2027-12-31T00:00:00+00:00")
VIEW_TO_BUY: Final[dict[str, Any]] = {"start": {"event": "view"}, "return": {"event": "buy"}}
patient = hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
plans = st.sampled_from(["pro", "free", 1, None])
acts_of = st.lists(
    st.builds(
        lambda person, event, hour, plan, then: Event(
            person, event, BEGIN + hour * HOUR_MS, {"plan": plan, "$set": {"plan": then}}
        ),
        st.sampled_from("abcd"),
        st.sampled_from(["view", "buy"]),
        st.integers(0, 20 * 24),
        plans,
        plans,
    ),
    max_size=20,
)
bodies: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "cohort": st.builds(
            lambda returning, period: {
                "start": {"event": "view"},
                "return": returning,
                "period": period,
                "periods": 4,
            },
            st.sampled_from([{}, {"event": "buy"}]),
            st.sampled_from(["day", "week", "month"]),
        ),
        "entry": st.sampled_from(["first", "recurring"]),
        "columns": st.sampled_from(["calendar", "rolling"]),
        "timezone": st.sampled_from(["UTC", "Europe/Lisbon", "Asia/Kolkata"]),
        "week_start": st.sampled_from(["monday", "sunday"]),
        "from": st.sampled_from(["2026-10-19", "2026-10-22"]),
        "to": st.sampled_from(["2026-10-27", "2026-11-04"]),
        "top": st.integers(1, 3),
    }
)
breakdowns: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"property": "plan"}, {"person": "plan"}, {"person": "plan", "at": "event"}]
)


def grid_of(rows: list[dict[str, Any]]) -> dict[datetime.date, tuple[Any, ...]]:
    return {
        datetime.date.fromisoformat(row["begin"]): (
            row["persons"],
            [cell["returned"] for cell in row["cells"]],
            [cell["returned_or_later"] for cell in row["cells"]],
        )
        for row in rows
    }


def mean_of(rows: dict[datetime.date, tuple[Any, ...]], place: int) -> list[float | None]:
    persons = sum(row[0] for row in rows.values())
    return [
        sum(row[place][column] for row in rows.values()) / persons if persons else None
        for column in range(4)
    ]


@given(acts=acts_of, body=bodies, by=breakdowns, counted=st.sampled_from([0, 1, 2]))
@patient
def test_a_grid_of_any_kind_and_breakdown_is_that_of_the_oracle(
    asker: Asker, acts: list[Event], body: dict[str, Any], by: dict[str, Any], counted: int
) -> None:
    asked = body | ({"breakdown": by} if by else {})
    project = asker.write(acts)
    answer = asker.ask("cohort", project, asked, NOW)
    first, last = (
        first_day(
            ms(f"{body[side]}T12:00:00+00:00"),
            body["cohort"]["period"],
            "UTC",
            body["week_start"],
        )
        for side in ("from", "to")
    )
    found = [one for one in oracle.entries(body, by, acts) if first <= one.begin <= last]
    wanted = oracle.rows(found, 4)
    assert grid_of(answer["rows"]) == wanted
    assert answer["incomplete"] is False
    assert answer["mean"] == pytest.approx(mean_of(wanted, 1))
    assert answer["mean_or_later"] == pytest.approx(mean_of(wanted, 2))
    shown = oracle.shown_of(found, body["top"])
    rest = [one for one in found if one.label not in shown]
    labels = [oracle.OTHER if of["other"] else name_of(of["value"]) for of in answer["breakdown"]]
    assert labels == ([*shown, *([oracle.OTHER] if rest else [])] if by else [])
    for of in answer["breakdown"]:
        name = name_of(of["value"])
        its = rest if of["other"] else [one for one in found if one.label == name]
        assert grid_of(of["rows"]) == oracle.rows(its, 4)
    for row in answer["rows"][:1]:
        field = ("persons", "returned", "returned_or_later")[counted]
        cell = {"begin": row["begin"], "column": 1, "counted": field, "limit": 2}
        page = asker.ask("cohort", project, asked | {"persons": cell}, NOW)["persons"]
        own = [one for one in found if one.begin.isoformat() == row["begin"]]
        persons = sorted(
            one.person
            for one in own
            if (True, 1 in one.back, max(one.back, default=-1) >= 1)[counted]
        )
        assert page["persons"] == persons[:2]
        assert page["next"] == (persons[1] if len(persons) > 2 else None)


def test_a_rolling_column_is_unknown_until_it_begins_and_incomplete_until_it_ends_for_all(
    asker: Asker,
) -> None:
    begin = ms("2026-11-02T00:00:00+00:00")
    acts = [
        Event("ann", "view", begin),
        Event("ann", "buy", begin + DAY_MS - 1),
        Event("bob", "view", begin + 23 * HOUR_MS),
        Event("bob", "buy", begin + 25 * HOUR_MS),  # on the next day, but within 24 hours
    ]
    body = {
        "cohort": VIEW_TO_BUY | {"periods": 3},
        "columns": "rolling",
        "from": "2026-11-02",
        "to": "2026-11-02",
    }
    project = asker.write(acts)
    answer = asker.ask("cohort", project, body, begin + 2 * DAY_MS - 1)
    (row,) = answer["rows"]
    assert [cell["returned"] for cell in row["cells"]] == [2, 0, None]
    assert [cell["incomplete"] for cell in row["cells"]] == [True, True, True]
    assert answer["mean"] == [None, None, None]
    later = asker.ask("cohort", project, body, begin + 2 * DAY_MS)
    assert [cell["incomplete"] for cell in later["rows"][0]["cells"]] == [False, True, True]
    assert later["mean"] == [1, None, None]
    calendar = asker.ask("cohort", project, body | {"columns": "calendar"}, NOW)
    assert [cell["returned"] for cell in calendar["rows"][0]["cells"]] == [1, 1, 0]


def test_a_person_recurs_in_each_period_with_a_start(asker: Asker) -> None:
    begin = ms("2026-11-02T00:00:00+00:00")
    acts = [Event("ann", "view", begin + day * DAY_MS) for day in (-30, 0, 1)]
    body = {
        "cohort": {"start": {"event": "view"}, "periods": 2},
        "from": "2026-11-02",
        "to": "2026-11-03",
    }
    project = asker.write(acts)
    assert asker.ask("cohort", project, body, NOW)["rows"] == []
    answer = asker.ask("cohort", project, body | {"entry": "recurring"}, NOW)
    grid = [[cell["returned"] for cell in row["cells"]] for row in answer["rows"]]
    assert grid == [[1, 1], [1, 0]]
    assert answer["mean"] == [1, 0.5]


def test_a_range_within_a_week_has_the_row_of_the_whole_week(asker: Asker) -> None:
    acts = [Event("ann", "view", ms("2026-11-02T00:00:00+00:00"))]
    cohort = {"start": {"event": "view"}, "period": "week", "periods": 1}
    body = {"cohort": cohort, "from": "2026-11-05", "to": "2026-11-06"}
    answer = asker.ask("cohort", asker.write(acts), body, NOW)
    assert [(row["begin"], row["persons"]) for row in answer["rows"]] == [("2026-11-02", 1)]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"breakdown": {}}, "breakdown"),
        ({"breakdown": {"segment": "s", "at": "event"}}, "breakdown.at"),
        ({"entry": "second"}, "entry"),
        ({"persons": {"begin": "2026-11-03"}}, "persons.begin"),
        ({"persons": {"begin": "2026-11-02", "column": 12}}, "persons.column"),
        ({"persons": {"begin": "2026-11-02", "value": 1}}, "persons.value"),
    ],
)
def test_a_grid_that_means_nothing_is_refused_with_its_field(
    asker: Asker, more: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asker.ask("cohort", "none", {"cohort": VIEW_TO_BUY | {"period": "week"}, **more}, NOW)
    assert refused.value.field == field
