"""A dry run of a tracking plan over events of the past: how many would not satisfy it, and why."""

import asyncio
import datetime
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import EventName, read_request
from schemas.plans import Checker
from services.query.clickhouse.queries import EventStore
from services.query.clickhouse.tree import Events, Matches, Select, sql
from services.query.http.leaving import unless_left
from services.query.http.params import encode_response, instant, now_ms, project_of, read_fields
from services.query.operators.context import Context
from services.query.queries.contract import QueryContext
from services.query.queries.ranges import TimeRange
from services.query.queries.stored_json import read_stored

MAX_DAYS: Final = 366
MAX_CHECKED: Final = 20_000
_MAX_FAULTS: Final = 20
_MAX_TRAITS: Final = 3
_MAX_VALUE_CHARS: Final = 200
_MOST: Final = 0.9
_DAY_MS: Final = 86_400_000

Trait = tuple[str, str]


class PlanCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plan to check events of the last `days` against, which need not be one of the project's."""

    event: EventName
    schema: dict[str, Any]
    days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] = 7


class PlanFault(msgspec.Struct, frozen=True):
    """A rule that events do not satisfy, by the field and the message, and how many do not."""

    field: str
    message: str
    events: int


class PlanTrait(msgspec.Struct, frozen=True):
    """A value that nearly all violating events have in common, and that others have less often.

    `share` is the share of the violating events that have it, and `others` that of the others.
    """

    property: str
    value: Any
    share: float
    others: float


class PlanCheckResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan would say of past events.

    `events` is how many there are in the range; of these the newest `checked` were checked, at most
    20,000. Of events that an enforced plan would drop, `faults` says why, the most frequent first;
    an event counts for the first rule that it does not satisfy.
    """

    event: str
    since: datetime.datetime
    events: int
    checked: int
    violating: int
    share: float | None
    faults: list[PlanFault]
    traits: list[PlanTrait]


_check = msgspec.json.Decoder(PlanCheck)


class PlanChecks:
    """The endpoint `/api/projects/{project}/plan-check`; `clock` returns ms since 1970."""

    def __init__(self, context: Context, clock: Callable[[], int] = now_ms) -> None:
        self._context = context
        self._clock = clock

    async def check(self, request: Request) -> Response:
        """Check past events against a plan; a client that leaves ends it."""
        project = project_of(request)
        asked = read_request(_check, msgspec.json.encode(await read_fields(request)))
        checker = Checker(asked.schema)
        events = self._context.events

        async def run() -> PlanCheckResponse:
            positions = await events.positions(project)
            return await check_events(events, project, positions, asked, checker, self._clock())

        return encode_response(await unless_left(request, run()))


async def check_events(
    events: EventStore,
    project: str,
    positions: Mapping[int, int],
    asked: PlanCheck,
    checker: Checker,
    now: int,
) -> PlanCheckResponse:
    """Check the events below some positions, at a time of day (ms), against a plan.

    Raises:
        Unavailable: the store does not answer.
    """
    since = now - asked.days * _DAY_MS
    context = QueryContext(
        events=events,
        project_id=project,
        positions=positions,
        now=now,
        clock=now,
        complete_until=None,
        segments={},
    )
    # An event may be dated ahead of its receipt, by a day at most.
    source = Events([TimeRange(since, now + _DAY_MS)])
    where = [Matches(asked.event)]
    counted = await context.run(Select({"n": sql("count()")}, source, where=where))
    newest = Select(
        {"stored": sql("if(_properties = '', toJSONString(properties), _properties)")},
        source,
        where=where,
        order_by=(sql("timestamp DESC"), sql("_partition DESC"), sql("_offset DESC")),
        limit=MAX_CHECKED,
    )
    result = await context.run(newest)
    texts: list[str] = list(result.columns[0]) if result.columns else []
    violating, faults, traits = await asyncio.to_thread(judge, checker, texts)
    return PlanCheckResponse(
        event=asked.event,
        since=instant(since),
        events=int(counted.only[0]),
        checked=len(texts),
        violating=violating,
        share=violating / len(texts) if texts else None,
        faults=faults,
        traits=traits,
    )


def judge(checker: Checker, texts: Sequence[str]) -> tuple[int, list[PlanFault], list[PlanTrait]]:
    """Return how many properties violate a plan, why, and what these have in common."""
    faults: Counter[tuple[str, str]] = Counter()
    of_violating: Counter[Trait] = Counter()
    of_others: Counter[Trait] = Counter()
    for text in texts:
        properties = read_stored(text)
        fault = checker.fault(properties)
        if fault is not None:
            faults[fault.field, fault.reason] += 1
        (of_others if fault is None else of_violating).update(_traits_of(properties))
    violating = sum(faults.values())
    shown = [PlanFault(*place, count) for place, count in faults.most_common(_MAX_FAULTS)]
    others = len(texts) - violating
    return violating, shown, _common(of_violating, violating, of_others, others)


def _common(
    of_violating: Counter[Trait], violating: int, of_others: Counter[Trait], others: int
) -> list[PlanTrait]:
    """Return the values that tell violating events from others, the clearest first."""
    if violating < 2 or not others:
        return []
    traits = [
        PlanTrait(name, json.loads(value), count / violating, of_others[name, value] / others)
        for (name, value), count in of_violating.items()
        if count >= _MOST * violating and 2 * of_others[name, value] < others
    ]
    return sorted(traits, key=lambda one: (one.others - one.share, one.property))[:_MAX_TRAITS]


def _traits_of(properties: Any) -> list[Trait]:
    """Return the scalar values of an event, as JSON, with the paths of their properties."""
    if not isinstance(properties, dict):
        return []
    found = []
    for name, value in properties.items():
        inner = value.items() if isinstance(value, dict) else ((None, value),)
        for part, one in inner:
            if isinstance(one, str | int | float | bool) and len(str(one)) <= _MAX_VALUE_CHARS:
                path = name if part is None else f"{name}.{part}"
                found.append((path, msgspec.json.encode(one).decode()))
    return found
