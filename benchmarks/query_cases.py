"""The questions of `benchmarks.query`: each as a query, and as SQL that gives the same figures.

The SQL is written for these questions alone, as somebody who knows ClickHouse well would write it.
`{events}` is the table, `{of}` the condition for the events of the project, and `{within}` that for
those of the range as well.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

# The range of all questions, without the last day. Events lie in the 60 days before that day.
FROM: Final = "2026-10-01"
TO: Final = "2026-10-30"
AFTER: Final = "2026-10-31"
FIRST_DAY: Final = "2026-09-01"
DAYS: Final = 60

Rows = Sequence[Sequence[Any]]


class Case(NamedTuple):
    """A question; `figure` and `figure_of_sql` read the same figure from the two answers."""

    name: str
    kind: str
    body: Mapping[str, Any]
    sql: str
    figure: Callable[[Any], object]
    figure_of_sql: Callable[[Rows], object]


def _total(place: int = 0) -> Callable[[Any], object]:
    """The figure of the whole range, of the trend at a place."""
    return lambda answer: round(answer["trends"][place]["total"])


def _sum(column: int) -> Callable[[Rows], object]:
    return lambda rows: round(sum(row[column] for row in rows))


def _of_total(column: int) -> Callable[[Rows], object]:
    """A figure of the row of the whole range, which the first column marks."""
    return lambda rows: round(next(row[column] for row in rows if row[0]))


_BUY: Final[dict[str, Any]] = {"event": "purchase"}
_BUYERS: Final[dict[str, Any]] = {"event": "purchase", "measure": "persons"}
_STEPS: Final[list[dict[str, Any]]] = [
    {"event": name} for name in ("home", "product", "cart", "purchase")
]
# A rollup merges the aggregates of the days; grouping sets would add each row to both.
_DAY_AND_TOTAL: Final = "GROUP BY day WITH ROLLUP"
_TIER_NOW: Final = """person_id IN (
    SELECT person_id FROM {events}
    WHERE {of} AND properties.`$set.tier`.:String IS NOT NULL
    GROUP BY person_id
    HAVING argMax(properties.`$set.tier`.:String, (timestamp, _offset)) = 'a'
)"""
_TIER_THEN: Final = """ASOF LEFT JOIN (
    SELECT person_id AS who, timestamp AS moment,
        argMax(properties.`$set.tier`.:String, _offset) AS tier
    FROM {events} WHERE {of} AND properties.`$set.tier`.:String IS NOT NULL
    GROUP BY who, moment
) AS known ON person_id = who AND timestamp >= moment"""

_LIFECYCLE: Final = f"""
SELECT found.1 AS day, found.2 AS state, count()
FROM (
    SELECT arrayJoin(arrayConcat(
        arrayMap(day -> (day, multiIf(
            day = first, 'new', has(days, day - 1), 'returning', 'resurrecting'
        )), arrayFilter(day -> day >= '{FROM}'::Date, days)),
        arrayMap(day -> (day + 1, 'dormant'), arrayFilter(
            day -> day < '{TO}'::Date AND NOT has(days, day + 1), days
        ))
    )) AS found
    FROM (
        SELECT
            groupUniqArrayIf(toDate(timestamp), timestamp >= '{FROM}'::Date - 1) AS days,
            toDate(min(timestamp)) AS first
        FROM {{events}} WHERE {{of}} AND timestamp < '{AFTER}'
        GROUP BY person_id
    )
)
GROUP BY day, state
"""
_SESSIONS: Final = f"""
SELECT grouping(day, entry, exit) = 7, toDate(fromUnixTimestamp64Milli(began)) AS day, entry, exit,
    count(), uniqExact(person_id), sum(acts), countIf(acts = 1), avg(length),
    quantileExactLow(0.5)(length)
FROM (
    SELECT person_id, found.1 AS began, found.2 AS length, found.3 AS acts, found.4 AS entry,
        found.5 AS exit
    FROM (SELECT person_id, arrayJoin(arrayMap(
        session -> (session[1].1, session[-1].1 - session[1].1, length(session), session[1].2,
            session[-1].2),
        arraySplit((act, passed) -> passed > 1800000, acts,
            arrayDifference(arrayMap(act -> act.1, acts)))
    )) AS found FROM (
        SELECT person_id, arraySort(act -> act.1, groupArray(
            (toUnixTimestamp64Milli(timestamp), toString(event))
        )) AS acts
        FROM {{events}}
        WHERE {{of}} AND timestamp >= '{FROM}'::DateTime - 1800
            AND timestamp < '{AFTER}'::DateTime + 86400
        GROUP BY person_id
    ))
    WHERE began >= toUnixTimestamp('{FROM} 00:00:00') * 1000
        AND began < toUnixTimestamp('{AFTER} 00:00:00') * 1000
)
GROUP BY GROUPING SETS ((day), (), (entry), (exit))
"""
_PATHS: Final = """
SELECT step, source, target, count() AS persons, countIf(target = '') AS ended
FROM (
    SELECT arrayJoin(arrayMap(
        (step, source, target) -> (step, source, target),
        arrayEnumerate(path), path, arrayPushBack(arrayPopFront(path), '')
    )) AS edge, edge.1 AS step, edge.2 AS source, edge.3 AS target
    FROM (
        SELECT arrayMap(act -> act.2, arraySlice(arraySplit(
            (act, gap) -> gap > 1800000, acts, arrayDifference(arrayMap(act -> act.1, acts))
        )[1], 1, 4)) AS path
        FROM (
            SELECT arraySort(groupArray((toUnixTimestamp64Milli(timestamp), event))) AS all_acts,
                arraySlice(all_acts, arrayFirstIndex(act -> act.2 = 'home', all_acts) AS place)
                    AS acts
            FROM {events} WHERE {within}
            GROUP BY person_id HAVING place > 0
        )
    )
)
GROUP BY step, source, target ORDER BY step, persons DESC
"""
# `windowFunnel` has neither entry days nor times: this has a row for each chain.
_FUNNEL: Final = f"""
SELECT
    day{{label}}, count() AS entered, countIf(time_1 < never), countIf(time_2 < never),
    countIf(time_3 < never),
    countIf(time_1 = never AND NOT still), countIf(time_2 = never AND time_1 < never AND NOT still),
    countIf(time_3 = never AND time_2 < never AND NOT still),
    quantilesExactLowIf(0.5, 0.9)(time_1, time_1 < never),
    quantilesExactLowIf(0.5, 0.9)(time_2, time_2 < never),
    quantilesExactLowIf(0.5, 0.9)(time_3, time_3 < never)
FROM (
    WITH 9000000000000000 AS never, 604800000 AS window
    SELECT person_id, arrayJoin([0, intDiv(begin, 86400000)]) AS day{{label}},
        min(if(at_1 > 0, at_1 - begin, never)) AS time_1,
        min(if(at_2 > 0, at_2 - begin, never)) AS time_2,
        min(if(at_3 > 0, at_3 - begin, never)) AS time_3,
        max(begin + window >= 1795000000000) AS still, never
    FROM (
        SELECT person_id, {{entry}}
            arrayFirst(at -> at >= begin AND at <= begin + window, products) AS at_1,
            if(at_1 = 0, 0, arrayFirst(at -> at >= at_1 AND at <= begin + window, carts)) AS at_2,
            if(at_2 = 0, 0, arrayFirst(at -> at >= at_2 AND at <= begin + window, buys)) AS at_3
        FROM (
            SELECT person_id, groupArrayIf({{of_entry}},
                    event = 'home' AND timestamp < '{AFTER}') AS entries,
                arraySort(groupArrayIf(at, event = 'product')) AS products,
                arraySort(groupArrayIf(at, event = 'cart')) AS carts,
                arraySort(groupArrayIf(at, event = 'purchase')) AS buys
            FROM (
                SELECT person_id, event, timestamp, toUnixTimestamp64Milli(timestamp) AS at
                    {{read}}
                FROM {{{{events}}}}
                WHERE {{{{of}}}} AND event IN ('home', 'product', 'cart', 'purchase')
                    AND timestamp >= '{FROM}' AND timestamp < '{AFTER}'::DateTime + 604800
            )
            GROUP BY person_id
        )
        ARRAY JOIN entries AS entry
    )
    GROUP BY person_id, day{{label}}
)
GROUP BY day{{label}} ORDER BY day
"""
_COHORT: Final = f"""
SELECT began, count(), sumForEach(arrayMap(week -> has(weeks, began + 7 * week), range(8))),
    sumForEach(arrayMap(week -> last >= began + 7 * week, range(8)))
FROM (
    SELECT toMonday(minIf(timestamp, event = 'home')) AS began,
        groupUniqArrayIf(toMonday(timestamp), event = 'purchase') AS weeks,
        arrayMax(arrayPushBack(weeks, '1970-01-01'::Date)) AS last
    FROM {{events}} WHERE {{of}} AND event IN ('home', 'purchase')
    GROUP BY person_id
    HAVING countIf(event = 'home') > 0 AND began >= toMonday('{FROM}'::Date) AND began <= '{TO}'
)
GROUP BY began ORDER BY began
"""

CASES: Final = (
    Case(
        "events a day",
        "trends",
        {"series": [_BUY]},
        "SELECT toDate(timestamp) AS day, count() FROM {events}"
        " WHERE {within} AND event = 'purchase' GROUP BY day",
        _total(),
        _sum(1),
    ),
    Case(
        "persons a day, and in all",
        "trends",
        {"series": [_BUYERS]},
        "SELECT grouping(day), toDate(timestamp) AS day, uniqExact(person_id) FROM {events}"
        f" WHERE {{within}} AND event = 'purchase' {_DAY_AND_TOTAL}",
        _total(),
        _of_total(2),
    ),
    Case(
        "the ratio of two series",
        "trends",
        {
            "series": [_BUYERS, {"event": "home", "measure": "persons"}],
            "formulas": [{"formula": "A / B"}],
        },
        "SELECT grouping(day), toDate(timestamp) AS day,"
        " uniqExactIf(person_id, event = 'purchase'), uniqExactIf(person_id, event = 'home')"
        f" FROM {{events}} WHERE {{within}} AND event IN ('purchase', 'home') {_DAY_AND_TOTAL}",
        _total(1),
        _of_total(3),
    ),
    Case(
        "events by a property, with the rest",
        "trends",
        {"series": [{}], "breakdown": [{"property": "plan"}], "top": 2},
        "SELECT if(properties.plan.:String IN (SELECT properties.plan.:String AS plan"
        " FROM {events} WHERE {within} GROUP BY plan ORDER BY count() DESC, plan LIMIT 2),"
        " properties.plan.:String, 'other') AS shown, toDate(timestamp) AS day, count()"
        " FROM {events} WHERE {within} GROUP BY shown, day",
        lambda answer: sum(one["total"] for one in answer["trends"]),
        _sum(2),
    ),
    Case(
        "revenue a week",
        "trends",
        {"series": [{**_BUY, "measure": "sum", "property": "price"}], "interval": "week"},
        "SELECT toMonday(timestamp) AS week, sum(properties.price.:Float64) FROM {events}"
        " WHERE {within} AND event = 'purchase' GROUP BY week",
        _total(),
        _sum(1),
    ),
    Case(
        "90th percentile of a property",
        "trends",
        {"series": [{"measure": "percentile", "property": "price", "percentile": 90}]},
        "SELECT grouping(day), toDate(timestamp) AS day,"
        " quantileExactLow(0.9)(properties.price.:Float64) FROM {events}"
        f" WHERE {{within}} {_DAY_AND_TOTAL}",
        _total(),
        _of_total(2),
    ),
    Case(
        "persons with a property now",
        "trends",
        {"series": [_BUYERS], "where": [{"person": {"property": "tier", "value": "a"}}]},
        "SELECT grouping(day), toDate(timestamp) AS day, uniqExact(person_id) FROM {events}"
        f" WHERE {{within}} AND event = 'purchase' AND {_TIER_NOW} {_DAY_AND_TOTAL}",
        _total(),
        _of_total(2),
    ),
    Case(
        "persons with a property then",
        "trends",
        {
            "series": [_BUYERS],
            "where": [{"person": {"property": "tier", "value": "a"}, "at": "event"}],
        },
        f"SELECT grouping(day), toDate(timestamp) AS day, uniqExact(person_id) FROM {{events}}"
        f" {_TIER_THEN} WHERE {{within}} AND event = 'purchase' AND tier = 'a' {_DAY_AND_TOTAL}",
        _total(),
        _of_total(2),
    ),
    Case(
        "stickiness",
        "stickiness",
        {},
        "SELECT days, count() FROM (SELECT uniqExact(toDate(timestamp)) AS days FROM {events}"
        " WHERE {within} GROUP BY person_id) GROUP BY days",
        lambda answer: answer["at_least"][0],
        _sum(1),
    ),
    Case(
        "lifecycle",
        "lifecycle",
        {},
        _LIFECYCLE,
        lambda answer: sum(answer["returning"]),
        lambda rows: sum(row[2] for row in rows if row[1] == "returning"),
    ),
    Case(
        "sessions",
        "sessions",
        {},
        _SESSIONS,
        lambda answer: answer["total"]["sessions"],
        _of_total(4),
    ),
    Case(
        "paths from an event",
        "paths",
        {"start": "home", "steps": 3},
        _PATHS,
        lambda answer: answer["paths"],
        lambda rows: sum(row[3] for row in rows if row[0] == 1),
    ),
    Case(
        "a funnel, its days and times",
        "funnel",
        {"funnel": {"steps": _STEPS}},
        _FUNNEL.format(label="", entry="entry AS begin,", of_entry="at", read=""),
        lambda answer: answer["reached"][3],
        lambda rows: rows[0][4],
    ),
    Case(
        "a funnel by a property",
        "funnel",
        {"funnel": {"steps": _STEPS}, "breakdown": {"property": "plan"}},
        _FUNNEL.format(
            label=", plan",
            entry="entry.1 AS begin, arrayJoin(['', entry.2]) AS plan,",
            of_entry="(at, plan)",
            read=", properties.plan.:String AS plan",
        ),
        lambda answer: answer["reached"][3],
        lambda rows: next(row[5] for row in rows if row[:2] == (0, "")),
    ),
    Case(
        "retention by weeks",
        "cohort",
        {
            "cohort": {
                "start": {"event": "home"},
                "return": {"event": "purchase"},
                "period": "week",
                "periods": 8,
            }
        },
        _COHORT,
        lambda answer: sum(row["persons"] for row in answer["rows"]),
        _sum(1),
    ),
)
