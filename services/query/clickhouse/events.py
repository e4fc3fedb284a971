"""What all questions about events to ClickHouse have in common.

Nothing of a definition becomes text of a statement: names and values are bound.
"""

from typing import NamedTuple

from schemas.event_filter import EventSelector
from schemas.properties import stored_name
from schemas.time.since import ALL_TIME
from services.query.clickhouse.conditions import Binder, Identifier, condition_sql


class Statement(NamedTuple):
    """SQL with placeholders, and what stands for them."""

    text: str
    parameters: dict[str, object]


def events(database: str, project_id: str, bind: Binder, since_ms: int = ALL_TIME) -> str:
    """The one way to the events: nobody's but the project's, and none before `since_ms`."""
    table = f"{bind(Identifier(database), 'Identifier')}.events"
    own = f"{table} WHERE project_id = {bind(project_id, 'String')}"
    if since_ms == ALL_TIME:
        return own
    return f"{own} AND timestamp >= fromUnixTimestamp64Milli({bind(since_ms, 'Int64')})"


def holds(look: EventSelector, bind: Binder) -> str:
    """An expression that is 1 for the events that are looked for, and else 0."""
    named = "1" if look.event is None else f"event = {bind(look.event, 'String')}"
    return " AND ".join([named, *(condition_sql(condition, bind) for condition in look.where)])


def fingerprint_sql(tokens: str) -> str:
    """An expression that is the same number for equal values, of which it is given the tokens.

    The twin of `pipelines.matching.value_hash.fingerprint`.
    """
    digests = f"arrayStringConcat(arrayMap(one -> hex(MD5(one)), {tokens}))"
    return f"reinterpretAsUInt64(substring(MD5({digests}), 1, 8))"


def token_sql(name: str, bind: Binder) -> str:
    """An expression that is a property's value as text which equal values have in common.

    The twin of `pipelines.matching.value_hash.token`.
    """
    value = f"properties.{bind(Identifier(stored_name(name)), 'Identifier')}"
    number = f"toFloat64(coalesce({value}.:Float64, {value}.:Int64, {value}.:UInt64)) + 0"
    return f"""ifNull(multiIf(
        {value}.:Bool IS NOT NULL, if({value}.:Bool, 't', 'f'),
        {value}.:String IS NOT NULL, concat('s', substringUTF8({value}.:String, 1, 200)),
        {value}.:Float64 IS NOT NULL OR {value}.:Int64 IS NOT NULL OR {value}.:UInt64 IS NOT NULL,
        concat('n', lower(leftPad(hex(reinterpretAsUInt64({number})), 16, '0'))),
        ''
    ), '')"""


def positions_statement(database: str, project_id: str) -> Statement:
    """The statement for the offsets before which all events of a project are stored."""
    bind = Binder()
    return Statement(
        f"SELECT _partition, max(_offset) + 1 FROM {events(database, project_id, bind)} "  # noqa: S608
        "GROUP BY _partition",
        bind.parameters,
    )
