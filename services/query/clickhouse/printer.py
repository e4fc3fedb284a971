"""Prints trees of queries as ClickHouse statements.

This is the one place that adds the project, the ranges of time, the filters and the person to a
query. All names and values of a request are bound parameters of the statement, never its text.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from schemas.event_filter import EventFilter
from schemas.operators.segment import SegmentDefinition
from schemas.queries.filters import QueryFilter
from services.query.clickhouse.conditions import Binder, condition_sql, property_sql
from services.query.clickhouse.events import (
    EventSource,
    Prefix,
    Selected,
    Statement,
    events,
    holds,
    number_sql,
    token_number_sql,
    token_sql,
)
from services.query.clickhouse.person import PERSON_SQL
from services.query.clickhouse.person_history import PersonHistory
from services.query.clickhouse.person_now import has_now_sql, values_now_sql
from services.query.clickhouse.persons import persons_sql
from services.query.clickhouse.tree import (
    Events,
    Expression,
    FirstTouch,
    Label,
    Matches,
    Member,
    Number,
    Person,
    PersonNow,
    Persons,
    PersonToken,
    PersonValues,
    Raw,
    Select,
    Sql,
    Token,
    TokenNumber,
    Value,
)

# The column that joins add for the label of an event.
LABEL: Final = "label_token"

# The query of the members of a segment as of a time (ms): see `services.query.operators.segment`.
MembersSql = Callable[[EventSource, SegmentDefinition, int, Binder], str]


class QueryScope(NamedTuple):
    """What a query may see: one project, as of a time.

    `segments` are those that the query refers to, by id; `members_sql` returns who is in one as of
    `clock`, the project's time (ms).
    """

    project_id: str
    segments: Mapping[str, SegmentDefinition]
    clock: int
    members_sql: MembersSql


def print_query(source: EventSource, scope: QueryScope, select: Select) -> Statement:
    """Return the statement of a tree."""
    printer = _Printer(source, scope)
    return Statement(printer.select(select), printer.bind.parameters)


def filtered(
    source: Prefix,
    scope: QueryScope,
    where: Sequence[QueryFilter],
    span: tuple[int, int] | None = None,
    label: Label | None = None,
) -> Prefix:
    """Return the events of a source that pass all filters; who is a member is asked of all.

    With `span` they have the times (ms) from its first to its second, which is not part of it. With
    `label` they have what the expression of `token_of` needs.
    """

    def selecting(bind: Binder) -> Selected:
        return _Printer(source, scope, bind).selected(where, span, label)

    plain = not where and span is None and label is None
    return source if plain else source._replace(select=selecting)


class TokenSql(NamedTuple):
    """Makes expressions for the label of an event that is `filtered` with it.

    Without a label, the token is empty text.
    """

    source: Prefix
    scope: QueryScope
    label: Label | None

    def __call__(self, bind: Binder) -> str:
        """Return an expression for the label's token."""
        match self.label:
            case None:
                return "''"
            case Token() | Member() as label:
                return _Printer(self.source, self.scope, bind).label(label)
        return LABEL

    def number(self, shown: Sequence[str], bind: Binder) -> str:
        """Return an expression for the label's place (Int64, from 1) among some tokens; else 0."""
        if not shown:
            return "toInt64(0)"
        if isinstance(self.label, Token):
            return token_number_sql(self.label.property, shown, bind)
        return f"toInt64(indexOf({bind(list(shown), 'Array(String)')}, {self(bind)}))"


class _Printer:
    def __init__(self, source: EventSource, scope: QueryScope, bind: Binder | None = None) -> None:
        self._from = source
        self._scope = scope
        self.bind = bind or Binder()
        # Printed once each, because ClickHouse builds the set of equal texts once.
        self._members: dict[str, str] = {}
        self._history = self._new_history()

    def select(self, select: Select) -> str:
        outer, self._history = self._history, self._new_history()
        text = self._select(select)
        self._history = outer
        return text

    def _select(self, select: Select) -> str:
        columns = ", ".join(
            f"{self.expression(one)} AS {name}" for name, one in select.columns.items()
        )
        where = self._all(select.where)
        clauses = [f"SELECT {columns}", f"FROM {self._source(select)}"]
        if where:
            # Those of a source of events follow its own conditions.
            keyword = "AND" if isinstance(select.source, Events) else "WHERE"
            clauses.append(f"{keyword} {where}")
        if select.grouping_sets:
            sets = ", ".join(f"({', '.join(names)})" for names in select.grouping_sets)
            clauses.append(f"GROUP BY GROUPING SETS ({sets})")
        elif select.group_by:
            rollup = " WITH ROLLUP" if select.rollup else ""
            clauses.append(f"GROUP BY {', '.join(select.group_by)}{rollup}")
        if select.having:
            clauses.append(f"HAVING {self._all(select.having)}")
        if select.order_by:
            order = ", ".join(self.expression(one) for one in select.order_by)
            clauses.append(f"ORDER BY {order}")
        if select.limit is not None:
            clauses.append(f"LIMIT {self.bind(select.limit, 'UInt32')}")
        return "\n".join(clauses)

    def selected(
        self,
        where: Sequence[QueryFilter],
        span: tuple[int, int] | None,
        label: Label | None,
    ) -> Selected:
        passed = [f"({self._within(*span)})"] if span else []
        passed += map(self._filter, where)
        joined = self._label_join(label)
        return Selected(" AND ".join(passed) or "1", f"{self._history.joins()}{joined}")

    def _new_history(self) -> PersonHistory:
        return PersonHistory(self._from, self._scope.project_id, self.bind)

    def _source(self, select: Select) -> str:
        if isinstance(select.source, Events):
            return self._events(select.source)
        if isinstance(select.source, Persons):
            return f"({self._persons()})"
        source = f"({self.select(select.source)})"
        if select.joined is None:
            return source
        persons = self._person_values(select.joined)
        return f"{source} AS found LEFT JOIN ({persons}) AS persons USING (person)"

    def _all(self, conditions: Sequence[Expression]) -> str:
        return " AND ".join(f"({self.expression(one)})" for one in conditions)

    def expression(self, one: Expression) -> str:
        match one:
            case Value(value, kind):
                return self.bind(value, kind)
            case Person():
                return PERSON_SQL
            case Matches(event, where):
                return f"({self._matches(event, where)})"
            case Number(name, of_text):
                return number_sql(name, self.bind, of_text=of_text)
            case Token(name):
                return token_sql(name, self.bind)
            case TokenNumber(name, shown):
                return token_number_sql(name, shown, self.bind)
            case PersonToken(name):
                return self._history.token(name)
            case Raw(name):
                return property_sql(name, self.bind)
            case Member(segment):
                return f"({self._member(self._scope.segments[segment])})"
            case Select():
                return f"({self.select(one)})"
            case Sql(text, parts):
                return text.format_map({name: self.expression(of) for name, of in parts.items()})

    # ── events ───────────────────────────────────────────────────────────────────────────────────

    def _events(self, of: Events) -> str:
        passed = [f"AND {self._filter(one)}" for one in of.where]
        joins = self._history.joins()
        source = events(self._from, self._scope.project_id, self.bind, joins=joins)
        spans = " OR ".join(self._within(first, last) for first, last in of.ranges)
        return "\n    ".join([source, f"AND ({spans})", *passed])

    def _within(self, first: int, last: int) -> str:
        return (
            f"timestamp >= fromUnixTimestamp64Milli({self.bind(first, 'Int64')}) "
            f"AND timestamp < fromUnixTimestamp64Milli({self.bind(last, 'Int64')})"
        )

    def _matches(self, event: str | None, where: Sequence[QueryFilter]) -> str:
        named = holds(EventFilter(event), self.bind)
        return " AND ".join([named, *map(self._filter, where)])

    def _filter(self, one: QueryFilter) -> str:
        if one.and_:
            return f"({' AND '.join(map(self._filter, one.and_))})"
        if one.or_:
            return f"({' OR '.join(map(self._filter, one.or_))})"
        if one.not_ is not None:
            return f"(NOT {self._filter(one.not_)})"
        if one.segment is not None:
            return f"({self._member(self._scope.segments[one.segment])})"
        if one.person is not None:
            if one.at == "event":
                return self._history.condition(one.person)
            return has_now_sql(self._from, self._scope.project_id, one.person, self.bind)
        return condition_sql(one.condition(), self.bind)

    def _persons(self) -> str:
        assert isinstance(self._from, Prefix), "the query has positions"
        return persons_sql(self._from, self._scope.project_id, self.bind)

    # ── persons ──────────────────────────────────────────────────────────────────────────────────

    def _member(self, definition: SegmentDefinition) -> str:
        key = f"{definition.id}/{definition.version}"
        if key not in self._members:
            self._members[key] = self._is_in(definition)
        return self._members[key]

    def _is_in(self, definition: SegmentDefinition) -> str:
        scope = self._scope
        members = scope.members_sql(self._from, definition, scope.clock, self.bind)
        return f"{PERSON_SQL} IN ({members})"

    def label(self, label: Token | Member) -> str:
        found = self.expression(label)
        return f"if({found}, 't', 'f')" if isinstance(label, Member) else found

    def _label_join(self, label: Label | None) -> str:
        """Return the JOIN clause that adds the column `LABEL`; empty if the label needs none."""
        match label:
            case PersonToken(name):
                self._history.token(name, LABEL)
            case PersonNow(name):
                values = self._person_values(PersonValues({LABEL: name}))
                return self._joined(values)
            case FirstTouch(name):
                source = events(self._from, self._scope.project_id, self.bind)
                token = token_sql(name, self.bind)
                return self._joined(
                    f"SELECT {PERSON_SQL} AS person, argMin({token}, (timestamp, _offset)) "  # noqa: S608 (of placeholders)
                    f"AS {LABEL} FROM {source} AND {token} != '' GROUP BY person"
                )
        return ""

    def _joined(self, persons: str) -> str:
        return f" LEFT JOIN ({persons}) AS labels ON {PERSON_SQL} = labels.person"

    def _person_values(self, values: PersonValues) -> str:
        return values_now_sql(self._from, self._scope.project_id, values.properties, self.bind)
