"""What all ClickHouse queries of events have in common.

Names and values of a definition are bound parameters of a statement, never its text.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from schemas.event_filter import EventSelector
from schemas.time.calendar import Period, WeekStart
from schemas.time.days import day_runs
from schemas.time.since import ALL_TIME
from schemas.topic import DAY_MS
from schemas.value_tokens import DIGEST_BYTES, MAX_CHARS
from services.query.clickhouse.conditions import Binder, Identifier, condition_sql, property_sql


class Statement(NamedTuple):
    """SQL with placeholders, and their values."""

    text: str
    parameters: dict[str, object]


class Selected(NamedTuple):
    """Which events of a source are read: those for which `where` is 1.

    `joins` are the JOIN clauses that `where` needs; they keep the number of rows.
    """

    where: str
    joins: str = ""


class Prefix(NamedTuple):
    """The events of a database below some offsets of the event store, by partition.

    A partition without an offset has none. If `positions` is None, the prefix has all events of the
    database. With `select`, it has only those that it selects.
    """

    database: str
    positions: Mapping[int, int] | None
    select: Callable[[Binder], Selected] | None = None


# Where a statement reads events: in a database, all of them or a prefix of the log.
EventSource: TypeAlias = str | Prefix


def events(
    source: EventSource,
    project_id: str,
    bind: Binder,
    since_ms: int = ALL_TIME,
    joins: str = "",
) -> str:
    """Return the FROM clause for the events of one project, from `since_ms` on.

    All statements read events this way, so none reads those of another project, and each can be
    asked over exactly the events of a prefix. `joins` are JOIN clauses that add columns.
    """
    database = source.database if isinstance(source, Prefix) else source
    table = f"{bind(Identifier(database), 'Identifier')}.events"
    own = f"project_id = {bind(project_id, 'String')}"
    if isinstance(source, Prefix):
        if source.positions is not None:
            own = f"{own} AND {below_sql(source.positions, bind)}"
        if source.select is not None:
            selected = source.select(bind)
            own, joins = f"{own} AND {selected.where}", f"{selected.joins}{joins}"
    own = f"{table}{joins} WHERE {own}"
    if since_ms == ALL_TIME:
        return own
    return f"{own} AND timestamp >= fromUnixTimestamp64Milli({bind(since_ms, 'Int64')})"


def below_sql(positions: Mapping[int, int], bind: Binder) -> str:
    """Return an expression that is 1 for events below the offsets of their partitions.

    Most events are below the lowest offset of all, which is faster to compare than to look up that
    of their partition.
    """
    if not positions:
        return "0"
    looked_up = f"_offset < {end_sql(positions, bind)}"
    if positions.keys() != set(range(len(positions))):
        return looked_up
    lowest, count = bind(min(positions.values()), "UInt64"), bind(len(positions), "UInt32")
    return f"(_offset < {lowest} AND _partition < {count} OR {looked_up})"


def end_sql(positions: Mapping[int, int], bind: Binder) -> str:
    """Return an expression for the position of an event's partition; 0 if it has none."""
    if not positions:
        return "toUInt64(0)"
    partitions, offsets = bind([*positions], "Array(UInt32)"), bind([*positions.values()], _OFFSETS)
    return f"transform(_partition, {partitions}, {offsets}, toUInt64(0))"


_OFFSETS: Final = "Array(UInt64)"


def limit_sql(limit: int | None, bind: Binder) -> str:
    """Return the clause that ends a result after `limit` rows; nothing without a limit."""
    return "" if limit is None else f" LIMIT {bind(limit, 'UInt32')}"


def holds(selector: EventSelector, bind: Binder) -> str:
    """Return an expression that is 1 for the events that match, and else 0."""
    named = "1" if selector.event is None else f"event = {bind(selector.event, 'String')}"
    return " AND ".join([named, *(condition_sql(condition, bind) for condition in selector.where)])


class Days:
    """The days of a time zone in a statement.

    Equal to `schemas.time.days.DayRuns`, whose rules for the zone they are bound to: those of
    ClickHouse may be older.
    """

    def __init__(self, timezone: str, bind: Binder) -> None:
        runs = day_runs(timezone)
        self._day = bind(DAY_MS, "Int64")
        self._are_utc = runs.are_utc
        if not self._are_utc:
            self._begins, self._first, self._last = (
                bind(column.tolist(), "Array(Int64)") for column in runs
            )

    def number(self, at: str) -> str:
        """Return an expression for the day of a time in ms, in days since 1970 (Int64)."""
        if self._are_utc:
            return f"intDiv({at} - positiveModulo({at}, {self._day}), {self._day})"
        begin = f"roundDown({at}, {self._begins})"
        return f"""least(
        {self._of_run(begin, self._first)} + intDiv({at} - {begin}, {self._day}),
        {self._of_run(begin, self._last)}
    )"""

    def begin(self, day: str) -> str:
        """Return an expression for the time in ms (Int64) at which a day (Int64) begins."""
        if self._are_utc:
            return f"({day} * {self._day})"
        first = f"roundDown({day}, {self._first})"
        begin = f"transform({first}, {self._first}, {self._begins}, toInt64(0))"
        return f"({begin} + ({day} - {first}) * {self._day})"

    def _of_run(self, begin: str, column: str) -> str:
        return f"transform({begin}, {self._begins}, {column}, toInt64(0))"


class Spans(NamedTuple):
    """Spans of equal length that follow each other, the first of which begins at `begin_ms`."""

    begin_ms: int
    length_ms: int


class SpanNumbers:
    """Spans in a statement, numbered from 0 and used in place of days.

    Times before the first span have the number -1; times after the span 1 have the number 2.
    """

    def __init__(self, spans: Spans, bind: Binder) -> None:
        self._begin = bind(spans.begin_ms, "Int64")
        self._length = bind(spans.length_ms, "Int64")

    def number(self, at: str) -> str:
        """Return an expression for the span of a time in ms (Int64)."""
        since = f"({at} - {self._begin})"
        number = f"intDiv({since} - positiveModulo({since}, {self._length}), {self._length})"
        return f"greatest(toInt64(-1), least(toInt64(2), {number}))"

    def begin(self, number: str) -> str:
        """Return an expression for the time in ms (Int64) at which a span begins."""
        return f"({self._begin} + {number} * {self._length})"


def entry_periods(timezone: str, spans: Spans | None, bind: Binder) -> Days | SpanNumbers:
    """Return the periods by which entries are counted: `spans`, or without any, days."""
    return Days(timezone, bind) if spans is None else SpanNumbers(spans, bind)


def day_sql(timezone: str, bind: Binder) -> str:
    """Return an expression for an event's day in a time zone, in days since 1970 (Int64)."""
    return Days(timezone, bind).number("toUnixTimestamp64Milli(timestamp)")


_PERIODS: Final[dict[Period, str]] = {
    "day": "{day}",
    "week": "intDiv({day} + {days_before}, 7)",
    "month": "(toYear(toDate32({day})) - 1970) * 12 + toMonth(toDate32({day})) - 1",
}
# Days of week 0 before 1970.
_DAYS_BEFORE: Final[dict[WeekStart, int]] = {"monday": 3, "sunday": 4}


def period_sql(period: Period, timezone: str, week_start: WeekStart, bind: Binder) -> str:
    """Return an expression for an event's day, week or month, as `schemas.time.calendar` has it."""
    day = f"toInt32({day_sql(timezone, bind)})"
    days_before = bind(_DAYS_BEFORE[week_start], "Int32")
    return f"toInt32({_PERIODS[period].format(day=day, days_before=days_before)})"


def fingerprint_sql(tokens: str) -> str:
    """Return an expression for a number that is the same for equal values, from their tokens.

    Equal to `pipelines.matching.value_hash.fingerprint`.
    """
    digests = f"arrayStringConcat(arrayMap(one -> hex(MD5(one)), {tokens}))"
    return f"reinterpretAsUInt64(substring(MD5({digests}), 1, 8))"


def token_sql(name: str, bind: Binder, within: str = "") -> str:
    """Return an expression for a property's value as text that is the same for equal values.

    The property is one of the event's, or of its property `within`, which is an object. Equal to
    `schemas.value_tokens.token`.
    """
    value = property_sql(name, bind, within)
    text = f"ifNull({typed_sql(value, 'String')}, '')"
    digest = f"lower(hex(substring(MD5({text}), 1, {DIGEST_BYTES})))"
    # Only a text of more bytes can have more characters, which take longer to count.
    return f"""multiIf(
        {typed_sql(value, "String")} IS NULL, ifNull(multiIf({_other_tokens(value)}, ''), ''),
        length({text}) > {MAX_CHARS}, concat('s', if(
            lengthUTF8({text}) > {MAX_CHARS},
            concat(substringUTF8({text}, 1, {MAX_CHARS}), '…', {digest}), {text}
        )),
        concat('s', {text})
    )"""


def token_number_sql(name: str, shown: Sequence[str], bind: Binder) -> str:
    """Return an expression for the place (Int64, from 1) of a property's token among some; else 0.

    Text is compared as it is stored: to make a token of each event's value takes longer.
    """
    places = dict(zip(shown, range(1, len(shown) + 1), strict=True))
    if any(token.startswith("s") and len(token) > 1 + MAX_CHARS for token in shown):
        return f"toInt64(indexOf({bind(list(shown), 'Array(String)')}, {token_sql(name, bind)}))"
    texts = {token[1:]: place for token, place in places.items() if token.startswith("s")}
    value = property_sql(name, bind)
    if len(texts) == len(shown):
        text, others = f"{value}.:String", "toInt64(0)"
    else:
        text = typed_sql(value, "String")
        other = f"ifNull(multiIf({_other_tokens(value)}, ''), '')"
        others = f"toInt64(indexOf({bind(list(shown), 'Array(String)')}, {other}))"
    if not texts:
        return f"if({text} IS NULL, {others}, toInt64(0))"
    known, numbers = bind([*texts], "Array(String)"), bind([*texts.values()], "Array(Int64)")
    place = f"transform(ifNull({text}, ''), {known}, {numbers}, toInt64(0))"
    return f"if({text} IS NULL, {others}, {place})"


def typed_sql(value: str, kind: str) -> str:
    """Return an expression for a property's value if it has a type, and else null.

    The property is read once, however many types are asked for. Each `.:` is read by itself.
    """
    return f"dynamicElement({value}, '{kind}')"


def number_sql(name: str, bind: Binder, *, of_text: bool = False) -> str:
    """Return an expression for a property's value as a 64-bit float, null if it is no number.

    With `of_text`, text that spells a number in JSON's grammar is one, too.
    """
    value = property_sql(name, bind)
    spelled = "NULL"
    if of_text:
        text = typed_sql(value, "String")
        spelled = f"if(match({text}, {bind(_NUMBER, 'String')}), toFloat64OrNull({text}), NULL)"
    double, signed, unsigned = (typed_sql(value, kind) for kind in ("Float64", "Int64", "UInt64"))
    return f"""multiIf(
        {double} IS NOT NULL, {double}, {signed} IS NOT NULL, toFloat64({signed}),
        {unsigned} IS NOT NULL, toFloat64({unsigned}), {spelled}
    )"""


# A number in JSON's grammar.
_NUMBER: Final = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"


def whole_token_sql(name: str, bind: Binder) -> str:
    """Return the same for values that are compared as a whole.

    Equal to `schemas.value_tokens.whole_token`, but for lists, whose texts differ.
    """
    value = property_sql(name, bind)
    text = typed_sql(value, "String")
    return f"""ifNull(multiIf({text} IS NOT NULL, concat('s', {text}), {_other_tokens(value)},
        startsWith(dynamicType({value}), 'Array'), concat('a', toJSONString({value})),
        ''
    ), '')"""


def _other_tokens(value: str) -> str:
    """Return arguments of `multiIf` for all values but text and lists."""
    truth, double, signed, unsigned = (
        typed_sql(value, kind) for kind in ("Bool", "Float64", "Int64", "UInt64")
    )
    return f"""
        {truth} IS NOT NULL, if({truth}, 't', 'f'),
        {double} IS NOT NULL, {_double_token(double)},
        {signed} IS NOT NULL, {_whole_number_token(signed)},
        {unsigned} IS NOT NULL, {_whole_number_token(unsigned)}"""


def _whole_number_token(number: str) -> str:
    is_double = f"toInt128(toFloat64({number})) = toInt128({number})"
    return f"if({is_double}, {_double_token(number)}, concat('i', toString({number})))"


def _double_token(number: str) -> str:
    digits = f"hex(reinterpretAsUInt64(toFloat64({number}) + 0))"
    return f"concat('n', lower(leftPad({digits}, 16, '0')))"


def newest_event_statement(source: EventSource, project_id: str) -> Statement:
    """Return the statement for the time (ms) of a project's newest event, null without events.

    An event that is dated ahead of its receipt counts as of then.
    """
    bind = Binder()
    newest = "toUnixTimestamp64Milli(max(least(timestamp, received_at)))"
    return Statement(
        f"SELECT if(count() = 0, NULL, {newest}) FROM {events(source, project_id, bind)}",  # noqa: S608
        bind.parameters,
    )


def earliest_statement(source: EventSource, project_id: str, known: Mapping[int, int]) -> Statement:
    """Return the statement for the time (ms) of a project's earliest event that is not known yet.

    Known are those below some positions. Null if there are no others.
    """
    bind = Binder()
    earliest = "toUnixTimestamp64Milli(min(timestamp))"
    others = f"{events(source, project_id, bind)} AND NOT {below_sql(known, bind)}"
    return Statement(
        f"SELECT if(count() = 0, NULL, {earliest}) FROM {others}",  # noqa: S608
        bind.parameters,
    )


def positions_statement(database: str, project_id: str) -> Statement:
    """Return the statement for the offsets before which all events of a project are stored."""
    bind = Binder()
    return Statement(
        f"SELECT _partition, max(_offset) + 1 FROM {events(database, project_id, bind)} "  # noqa: S608
        "GROUP BY _partition",
        bind.parameters,
    )


def stored_statement(database: str) -> Statement:
    """Return the statement for the offsets before which the store has events, of all projects."""
    bind = Binder()
    table = f"{bind(Identifier(database), 'Identifier')}.events"
    return Statement(
        f"SELECT _partition, max(_offset) + 1 FROM {table} GROUP BY _partition",  # noqa: S608
        bind.parameters,
    )
