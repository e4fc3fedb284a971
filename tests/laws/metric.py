"""Metrics for the laws: of events, numbers, values and persons."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasketches import (
    frequent_items_error_type,
    frequent_strings_sketch,
    kll_doubles_sketch,
)
from hypothesis import strategies as st

from schemas.definitions import Definition
from schemas.operators.metric import MAX_LATE_BUCKETS, MetricDefinition
from schemas.time.buckets import Buckets
from services.query.clickhouse.queries import QueryResult
from services.query.operators.metric.aggregates import MetricQuery, WindowValues, active_in
from services.query.operators.metric.sql import (
    metric_statement,
    read_seen,
    read_windows,
    seen_statement,
)
from services.query.operators.metric.sql_by_value import read_values, values_statement
from tests.laws.driver import Published
from tests.laws.entry import DAY_MS, NOON, PERSONS, VALUES, WEEK_STARTS, Case, Entry
from tests.oracles import metric as oracle
from tests.oracles.events import Event, Json
from tests.oracles.metric import ACTIVE_S, PERMILLES, Figure, Figures
from tests.oracles.values import name_of_shown
from tests.warehouse import Warehouse

ZONES = ["UTC", "Europe/Lisbon", "Asia/Kathmandu", "Pacific/Apia"]
MONTHS_MS = 100 * DAY_MS  # an insert makes a part a month
BY_VALUE = {"property": "q"}


def _buckets(body: Json) -> Buckets:
    week_start = body.get("week_start", "monday")
    return Buckets(body.get("interval", body.get("bucket_s")), body["timezone"], week_start)


def _read(body: Json, published: Published, now: int) -> Figures:
    buckets = _buckets(body)
    figures: dict[int, Figure] = {}
    seen: dict[int, int] = {}
    for record in published.aggregates:
        if record["bucket"] is not None:
            begin = round(record["bucket"].timestamp() * 1_000)
            figures[buckets.number(begin)] = _figure(body, record)
        elif record["seen"]:
            last = record["seen_until"] + 1
            seconds = range(last - len(record["seen"]), last)
            seen = dict(zip(seconds, record["seen"], strict=True))
    return Figures(figures, _active(body, seen, now))


def _active(body: Json, seen: Mapping[int, int], now: int) -> tuple[int, ...]:
    """Who was active within the last n seconds is the sum over those seconds."""
    if body["measure"] != "persons":
        return ()
    since = [now // 1_000 - seconds for seconds in ACTIVE_S]
    return tuple(sum(n for second, n in seen.items() if second > begin) for begin in since)


def _figure(body: Json, record: Mapping[str, Any]) -> Figure:
    figure = Figure(
        record["events"],
        record["unmeasured"],
        record["sum"],
        record["minimum"],
        record["maximum"],
        persons=tuple(record["persons"]),
        by_value={
            name_of_shown(one["value"]): Figure(
                one["events"],
                one["unmeasured"],
                one["sum"],
                one["minimum"],
                one["maximum"],
                persons=tuple(one["persons"]),
            )
            for one in record["breakdown"]
        },
    )
    sketch = record["sketch"]
    if sketch is None:
        return figure
    if body["measure"] == "percentiles":
        numbers = kll_doubles_sketch.deserialize(sketch)
        permilles = [permille / 1_000 for permille in PERMILLES] if numbers.n else []
        return figure._replace(percentiles=tuple(numbers.get_quantiles(permilles, True)))
    counts = frequent_strings_sketch.deserialize(sketch).get_frequent_items(
        frequent_items_error_type.NO_FALSE_NEGATIVES, 0
    )
    name = (lambda key: key[1:]) if body["measure"] == "events" else _typed
    return figure._replace(top=frozenset((name(key), least) for key, _, least, _ in counts))


def _typed(key: str) -> tuple[str, Any]:
    """The value that a sketch names `s` and a text, `n` and a number, `b` and 0 or 1."""
    match key[0]:
        case "b":
            return "bool", key[1:] == "1"
        case "s":
            return "str", key[1:]
    return "number", int(key[1:]) if key[1:].lstrip("-").isdigit() else float(key[1:])


def _in_store(warehouse: Warehouse, definition: Definition, now: int) -> Figures:
    assert isinstance(definition, MetricDefinition)
    metric, database = definition.metric, warehouse.settings.clickhouse_database
    query = MetricQuery(as_of=NOON + 800 * DAY_MS, limit=10_000)
    result = QueryResult(warehouse.ask(metric_statement(database, definition, query)), {})
    windows = read_windows(definition, result)
    found = {
        number: _shown(one)._replace(
            top=frozenset(
                (value if metric.by_event else _with_type(value), count)
                for value, count in one.top or ()
            )
        )
        for number, one in windows.items()
    }
    if metric.breakdown is not None:
        statement = values_statement(database, definition, query, windows)
        values = read_values(definition, QueryResult(warehouse.ask(statement), {}))
        found = {
            number: figure._replace(
                by_value={
                    name_of_shown(value): _shown(of[number])
                    for value, of in values.items()
                    if value is not None and number in of
                }
            )
            for number, figure in found.items()
        }
    if metric.measure != "persons":
        return Figures(found)
    result = QueryResult(warehouse.ask(seen_statement(database, definition, now)), {})
    return Figures(found, tuple(one.persons for one in active_in(read_seen(result), now)))


def _shown(one: WindowValues) -> Figure:
    return Figure(
        one.events,
        one.unmeasured,
        one.sum or 0.0,
        one.minimum,
        one.maximum,
        tuple(one.percentiles or ()),
        persons=tuple(one.persons or ()),
    )


def _with_type(value: Any) -> tuple[str, Any]:
    names = {bool: "bool", str: "str", int: "number", float: "number"}
    return names[type(value)], value


# ── cases ────────────────────────────────────────────────────────────────────────────────────────

# Numbers whose sums are exact in any order.
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([1.0, 0.5, -2.5, 2**40]),
    st.sampled_from(["", "pro", "1", "true", "x" * 300, "naïve"]),
    st.lists(st.integers(0, 1), max_size=1),
)
_ANY_NUMBERS = st.sampled_from([2**53, -(2**63), 2**64 - 1, 2**64, 0.1, 1e300])


_LENGTHS_S: dict[str, int] = {"week": 7 * 86_400, "month": 31 * 86_400}


@st.composite
def cases(draw: st.DrawFn, /, measure: str, values: st.SearchStrategy[Any], **more: Any) -> Case:
    """Events in up to some months: an insert makes a part a month."""
    body = {"measure": measure, "timezone": draw(st.sampled_from(ZONES)), **more}
    length = draw(_lengths([1, 10, 60, 600, 3_600, 86_400], body))
    span = min(1_000 * length * draw(st.sampled_from([2, 20, 2 * oracle.KEPT])), MONTHS_MS)
    return Case(body, draw(_events(span, values, VALUES if "breakdown" in more else [None])))


@st.composite
def cases_of_persons(draw: st.DrawFn, /, **more: Any) -> Case:
    """Events within the lateness of each other."""
    body = {"measure": "persons", "timezone": draw(st.sampled_from(ZONES)), **more}
    length = draw(_lengths([60, 3_600, 86_400], body))
    lateness = 1_000 * length * draw(st.sampled_from([3, 40, MAX_LATE_BUCKETS]))
    span = min(lateness, 2 * MONTHS_MS)
    values = [None, "a", "b"] if "breakdown" in more else [None]
    return Case(body, draw(_events(span, st.none(), values)), lateness)


@st.composite
def _lengths(draw: st.DrawFn, lengths: list[int], body: dict[str, Any]) -> int:
    """Give a metric its buckets; returns how many seconds one has, at most."""
    either: list[int | str] = [*lengths, *_LENGTHS_S]
    length = draw(st.sampled_from(either))
    if isinstance(length, int):
        body["bucket_s"] = length
        return length
    body["interval"], body["week_start"] = length, draw(st.sampled_from(WEEK_STARTS))
    return _LENGTHS_S[length]


def _events(
    span_ms: int, values: st.SearchStrategy[Any], by: Sequence[Any]
) -> st.SearchStrategy[list[Event]]:
    make: Callable[..., Event] = lambda person, name, at, value, by: Event(  # noqa: E731
        person,
        name,
        at,
        {name: one for name, one in (("p", value), ("q", by)) if one is not None},
    )
    event = st.builds(
        make,
        st.sampled_from(PERSONS),
        st.sampled_from(["a", "b", "c"]),
        st.integers(max(0, NOON - span_ms), NOON),
        values,
        st.sampled_from(by),
    )
    return st.lists(event, min_size=1, max_size=25)


def _oracle(body: Json, events: Sequence[Event], now: int) -> Figures:
    return oracle.figures(body, events, now)


ENTRY = Entry(
    {"measure": "persons", "bucket_s": 60},
    {"measure": "events", "bucket_s": 3_600},
    {
        "events": cases("events", st.none(), by_event=True, limit=100),
        "sum": cases("sum", _VALUES, property="p"),
        "percentiles": cases("percentiles", _VALUES, property="p"),
        "top": cases("top", _VALUES | _ANY_NUMBERS, property="p", limit=100),
        "persons": cases_of_persons(),
        "events by value": cases("events", st.none(), breakdown=BY_VALUE),
        "numbers by value": cases("sum", _VALUES, property="p", breakdown=BY_VALUE),
        "persons by value": cases_of_persons(breakdown=BY_VALUE),
    },
    _oracle,
    _read,
    _in_store,
    wait_ms=(45_000, 1_155_000, 800_000),
)
