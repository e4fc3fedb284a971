"""`GET …/{id}/history`: what the results of a definition were, over time, for every operator.

The sink keeps the last record of each minute, for each partition and period. An answer adds up the
newest record that each partition had at the end of each interval.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from services.query.clickhouse.conditions import Binder, Identifier
from services.query.clickhouse.events import Statement
from services.query.http.describe import (
    TIME,
    Json,
    choice,
    json_response,
    number,
    operation,
    parameter,
)
from services.query.http.params import (
    encode_response,
    instant,
    now_ms,
    read_choice,
    read_moment,
    read_number,
)
from services.query.operators.resource import DefinitionResource

INTERVALS: Final = {"hour": 3_600_000, "minute": 60_000, "day": 86_400_000}
MAX_POINTS: Final = 2_000
_DEFAULT_POINTS: Final = 168
_TOTAL: Final = "total"
_MAX_PERIOD_CHARS: Final = 40
# Figures that do not add up over partitions.
_MERGED: Final = {"minimum": min, "maximum": max}


class HistoryPointResponse(msgspec.Struct, frozen=True):
    """The figures at a moment, which have exactly the events below `positions`."""

    at: datetime.datetime
    figures: dict[str, float]
    positions: dict[int, int]


class HistoryResponse(msgspec.Struct, frozen=True):
    """What the results of one version of a definition were, at the end of each interval.

    Intervals before the first figures are left out. `figures` are those of the result topic's
    records, numbered from 1 where a record has a list (`reached.2`).
    """

    id: str
    version: int
    period: str
    interval: str
    points: list[HistoryPointResponse]


class HistoryRange(NamedTuple):
    """Intervals of `step` ms, from the one that has `begin` to the one before `end` (ms)."""

    begin: int
    end: int
    step: int

    @property
    def first(self) -> int:
        """The number of the first interval since 1970."""
        return self.begin // self.step

    @property
    def last(self) -> int:
        """The number of the last one."""
        return (self.end - 1) // self.step


class PartitionFigures(NamedTuple):
    """The figures of a partition at the end of an interval (its number since 1970)."""

    interval: int
    partition: int
    figures: Mapping[str, float]
    position: int


def history_statement(
    database: str, key: tuple[str, str, str], version: int, period: str, range_: HistoryRange
) -> Statement:
    """Return the statement for each partition's newest record in each interval.

    `key` is the project, the kind and the id. What came before the range is its interval before the
    first.
    """
    bind = Binder()
    table = f"{bind(Identifier(database), 'Identifier')}.result_history"
    step = bind(range_.step // 1_000, "UInt32")
    interval = (
        f"greatest(intDiv(toInt64(toUnixTimestamp(minute)), {step}), "
        f"{bind(range_.first - 1, 'Int64')})"
    )
    order = "(minute, _offset)"
    project, kind, id_ = (bind(one, "String") for one in key)
    return Statement(
        f"SELECT {interval} AS number, _partition, argMax(figures, {order}), "  # noqa: S608 (placeholders)
        f"argMax(position, {order}) FROM {table} "
        f"WHERE project_id = {project} AND kind = {kind} AND id = {id_} "
        f"AND version = {bind(version, 'Int32')} AND period = {bind(period, 'String')} "
        f"AND minute < fromUnixTimestamp({bind(-(-range_.end // 1_000), 'Int64')}) "
        "GROUP BY number, _partition ORDER BY number",
        bind.parameters,
    )


def points(
    rows: list[PartitionFigures], range_: HistoryRange, now: int
) -> list[HistoryPointResponse]:
    """Return the figures at the end of each interval; rows are in the order of intervals."""
    newest: dict[int, PartitionFigures] = {}
    found = []
    waiting = iter(rows)
    row = next(waiting, None)
    for interval in range(range_.first - 1, range_.last + 1):
        while row is not None and row.interval <= interval:
            newest[row.partition] = row
            row = next(waiting, None)
        if newest and interval >= range_.first:
            at = min((interval + 1) * range_.step, now)
            positions = {one.partition: one.position for one in newest.values()}
            figures = _added(newest)
            found.append(
                HistoryPointResponse(instant(at), figures, dict(sorted(positions.items())))
            )
    return found


def _added(newest: Mapping[int, PartitionFigures]) -> dict[str, float]:
    total: dict[str, float] = {}
    for one in newest.values():
        for name, value in one.figures.items():
            merge = _MERGED.get(name)
            if name not in total:
                total[name] = value
            else:
                total[name] = merge(total[name], value) if merge else total[name] + value
    return dict(sorted(total.items()))


# Of any operator.
async def read_history(resource: DefinitionResource[Any, Any, Any], request: Request) -> Response:
    """Answer with the history of a definition."""
    definition = resource.find(request)
    version = read_number(request, "version", 1, definition.version, definition.version)
    period = request.query_params.get("period", _TOTAL)
    if len(period) > _MAX_PERIOD_CHARS:
        raise InvalidRequest(f"accepted are up to {_MAX_PERIOD_CHARS} characters", "period")
    interval = read_choice(request, "interval", tuple(INTERVALS))
    now = now_ms()
    range_ = _read_range(request, INTERVALS[interval], now)
    key = (definition.project_id, resource.name, definition.id)
    columns = await resource.context.events.rows(
        definition.project_id,
        lambda database: history_statement(database, key, version, period, range_),
    )
    rows = [
        PartitionFigures(int(at), int(partition), figures, int(position))
        for at, partition, figures, position in zip(*columns, strict=True)
    ]
    return encode_response(
        HistoryResponse(definition.id, version, period, interval, points(rows, range_, now))
    )


def _read_range(request: Request, step: int, now: int) -> HistoryRange:
    end = read_moment(request, "to")
    end = now if end is None else min(end, now)
    begin = read_moment(request, "from")
    if begin is None:
        begin = max(0, end - _DEFAULT_POINTS * step)
    range_ = HistoryRange(begin, end, step)
    if begin >= end:
        raise InvalidRequest("must be before `to`, and before now", "from")
    if range_.last - range_.first >= MAX_POINTS:
        raise InvalidRequest(
            f"the range has more than {MAX_POINTS} intervals: narrow it, or take longer ones",
            "from",
        )
    return range_


def describe_history(title: str, kind: str) -> Json:
    """Describe the endpoint of an operator."""
    return operation(
        f"read{title}History",
        f"What the results of a {kind} were, over time",
        {"200": json_response(HistoryResponse)},
        404,
        parameters=(
            choice("interval", tuple(INTERVALS), "How far the points are apart, in UTC."),
            parameter("from", TIME, f"The first; by default {_DEFAULT_POINTS} intervals before."),
            parameter("to", TIME, "The end, which is not part of the range; by default now."),
            parameter(
                "period",
                {"type": "string", "maxLength": _MAX_PERIOD_CHARS, "default": _TOTAL},
                "The day, period or bucket, as in the keys of the result topic.",
            ),
            number("version", "By default that of the definition.", 1),
        ),
    )
