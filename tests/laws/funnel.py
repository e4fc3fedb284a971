"""Funnels for the laws: plain ones, and those with options."""

import datetime
import operator
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.definitions import Definition
from schemas.operators.funnel import FunnelDefinition
from services.query.clickhouse.queries import QueryResult
from services.query.operators.funnel.chain_sql import chain_statement, read_chain_counts
from services.query.operators.funnel.sql import funnel_statement, read_counts
from tests.laws.driver import Published
from tests.laws.entry import DAY_MS, NOON, PERSONS, VALUES, ZONES, Case, Entry
from tests.oracles import funnel as oracle
from tests.oracles.durations import Sketch, sketch_of
from tests.oracles.events import Event, Json
from tests.oracles.funnel_options import OfValue
from tests.oracles.values import name_of_shown
from tests.warehouse import Warehouse

HOUR_MS = 3_600_000
LATENESS_MS = 40 * DAY_MS
# Within five days, clocks go forward in Asuncion and on Lord Howe Island, or back in Lisbon.
_BEGINS = st.sampled_from([NOON, NOON + 22 * DAY_MS])
_EPOCH = datetime.date(1970, 1, 1)


class Shown(NamedTuple):
    """Figures without the days and values of which there are none; values are by name."""

    reached: list[int]
    entries: list[int]
    days: dict[int, tuple[list[int], list[int], list[Sketch]]]
    values: dict[str, OfValue]
    values_by_day: dict[tuple[int, str], OfValue]


def _counted(body: Json, events: Sequence[Event], _: int) -> Shown:
    found = oracle.figures(body, events)
    return Shown(
        found.reached,
        found.entries,
        {
            day: (own.reached, own.entries, list(map(sketch_of, own.times)))
            for day, own in found.days.items()
        },
        found.values,
        found.values_by_day,
    )


def _read(body: Json, published: Published, _: int) -> Shown:
    nought = [0] * len(body["steps"])
    shown = Shown(nought, nought if body.get("entries") else [], {}, {}, {})
    for record in published.aggregates:
        values = {
            _name(one["value"]): OfValue(one["reached"], one["entries"])
            for one in record["breakdown"]
            if any(one["reached"])
        }
        if record["day"] is None:
            shown = shown._replace(
                reached=record["reached"], entries=record["entries"], values=values
            )
        elif any(record["reached"]):
            day = (record["day"] - _EPOCH).days
            shown.days[day] = record["reached"], record["entries"], _sketches(record["times"])
            shown.values_by_day.update({(day, name): of for name, of in values.items()})
    return shown


def _sketches(times: Iterable[Mapping[str, Any]]) -> list[Sketch]:
    return [
        Sketch(dict(zip(one["buckets"], one["counts"], strict=True)), one["sum_ms"])
        for one in times
    ]


def _name(value: str | None) -> str:
    """The name of a value that is written in JSON."""
    assert value is not None, "so few values are all counted by themselves"
    return name_of_shown(value)


def _in_store(warehouse: Warehouse, definition: Definition, _: int) -> Shown:
    assert isinstance(definition, FunnelDefinition)
    database = warehouse.settings.clickhouse_database
    if definition.funnel.plain:
        result = QueryResult(warehouse.ask(funnel_statement(database, definition)), {})
        counted = read_counts(definition, result, 0)
    else:
        result = QueryResult(warehouse.ask(chain_statement(database, definition)), {})
        counted = read_chain_counts(definition, result, 0)
    return Shown(
        counted.total,
        list(counted.entries),
        {
            day: (
                own.reached,
                own.entries,
                _sketches(
                    {
                        "buckets": time.buckets.tolist(),
                        "counts": time.counts.tolist(),
                        "sum_ms": time.sum_ms,
                    }
                    for time in own.times
                ),
            )
            for day, own in counted.days.items()
        },
        {_name(value): OfValue(of.reached, of.entries) for value, of in counted.values.items()},
        {
            (day, _name(value)): OfValue(of.reached, of.entries)
            for day, own in counted.days.items()
            for value, of in own.values.items()
        },
    )


class Step(NamedTuple):
    """A step that a person reached, of those who entered on a day."""

    person: str
    day: int
    number: int


def _steps(published: Published) -> dict[Step, int]:
    """How long each person took to each step, as the changes of persons add up.

    Fails if changes contradict each other.
    """
    known: dict[Step, Mapping[str, Any]] = {}
    over: set[tuple[Step, Any]] = set()
    for change in published.changes:
        step = Step(change["person_id"], (change["day"] - _EPOCH).days, change["step"])
        what = change["change"]
        assert (step in known) == (what != "reached"), f"{what}: {step}"
        if what == "retracted":
            assert change["at"] == known.pop(step)["at"], "of another time than was announced"
        elif what == "timed_out":
            # Who enters again on the same day may time out again, at another time.
            closed = step, change["at"]
            assert closed not in over, f"timed out twice: {closed}"
            over.add(closed)
        else:
            known[step] = change
    return {step: change["took_ms"] for step, change in known.items()}


def _steps_counted(body: Json, events: Sequence[Event], _: int) -> dict[Step, int]:
    return {
        Step(person, day, number): time
        for person in {event.person for event in events}
        for day, own in oracle.figures(body, [e for e in events if e.person == person]).days.items()
        for number, times in enumerate(own.times, 1)
        for time in times
    }


# ── cases ────────────────────────────────────────────────────────────────────────────────────────


def _asked(number: int) -> dict[str, Any]:
    """What selects events that have the property of this number."""
    return {"event": "e", "where": [{"property": f"s{number}", "op": "is_set"}]}


@st.composite
def plain(draw: st.DrawFn) -> Case:
    """A plain funnel and events of any of its steps, with many ties."""
    steps = draw(st.integers(2, 4))
    window_s = draw(st.sampled_from([1, 7, 3_600, 86_400, 3 * 86_400, 30 * 86_400]))
    timezone = draw(st.sampled_from(ZONES))
    body = {
        "steps": [_asked(number) for number in range(steps)],
        "window_s": window_s,
        "timezone": timezone,
    }
    span = draw(st.sampled_from([10, 2_000, 20_000, 5 * DAY_MS]))
    times = _times(timezone, draw(_BEGINS), span)
    return Case(body, draw(_events(steps, times, least=1)), LATENESS_MS)


@st.composite
def with_options(draw: st.DrawFn) -> Case:
    """A funnel with some options; its exclusions are numbered after its steps."""
    steps = draw(st.integers(2, 4))
    order = draw(st.sampled_from(["ordered", "strict", "any"]))
    optional = [False, *(order != "any" and draw(st.booleans()) for _ in range(steps - 1))]
    spans = draw(st.lists(st.tuples(st.integers(1, steps - 1), st.integers(1, 3)), max_size=2))
    exclusions = [
        {
            **_asked(steps + number),
            "after": after,
            "before": draw(st.sampled_from([after + 1, min(steps, after + length), steps])),
        }
        for number, (after, length) in enumerate(spans)
    ]
    attribution = draw(st.sampled_from([None, "first", "last", 1, 2]))
    body: dict[str, Any] = {
        "steps": [
            _asked(number) | ({"optional": True} if may_be_left_out else {})
            for number, may_be_left_out in enumerate(optional)
        ],
        "window_s": draw(st.sampled_from([1, 3_600, 86_400, 3 * 86_400])),
        "order": order,
        "exclusions": exclusions,
        "once": draw(st.booleans()),
        "hold_constant": draw(st.sampled_from([[], [], ["plan"]])),
        "entries": draw(st.booleans()),
        "timezone": draw(st.sampled_from(ZONES)),
    }
    if attribution is not None:
        body["breakdown"] = {"property": "plan", "attribution": attribution}
    span = draw(st.sampled_from([10, 4_000, 5 * DAY_MS]))
    least = 0 if order == "strict" else 1
    times = _times(body["timezone"], draw(_BEGINS), span)
    return Case(body, draw(_events(steps + len(exclusions), times, least)), LATENESS_MS)


def _times(timezone: str, begin: int, span_ms: int) -> st.SearchStrategy[int]:
    """Instants of some days, many of them around a midnight of the time zone."""
    spread = st.integers(begin, begin + span_ms)
    if span_ms < DAY_MS:
        return spread
    first = datetime.datetime.fromtimestamp(begin // 1_000, zoneinfo.ZoneInfo(timezone))
    midnights = [
        1_000 * int((first.replace(hour=0, minute=0) + datetime.timedelta(days=day)).timestamp())
        for day in range(1, span_ms // DAY_MS + 1)
    ]
    around = st.builds(
        operator.add, st.sampled_from(midnights), st.sampled_from([-1, 0, 0, 1, HOUR_MS])
    )
    return spread | around


def _events(
    asked: int, times: st.SearchStrategy[int], least: int
) -> st.SearchStrategy[list[Event]]:
    singly = st.integers(0, asked - 1).map(lambda number: 1 << number)
    event = st.builds(
        _event,
        st.sampled_from(PERSONS[:2]),
        times,
        st.one_of(singly, singly, st.integers(least, 2**asked - 1)),
        st.sampled_from([None, None, *VALUES]),
    )
    return st.lists(event, min_size=1, max_size=30)


def _event(person: str, at: int, mask: int, plan: Any) -> Event:
    properties = {f"s{number}": True for number in range(mask.bit_length()) if mask >> number & 1}
    return Event(person, "e", at, properties | ({} if plan is None else {"plan": plan}))


ENTRY = Entry(
    {"steps": [{"event": "home"}, {"event": "cart"}], "window_s": 1},
    {"steps": [{"event": "cart"}, {"event": "home"}], "window_s": 60},
    {"plain": plain(), "with options": with_options()},
    _counted,
    _read,
    _in_store,
    changes=_steps,
    oracle_of_changes=_steps_counted,
)
