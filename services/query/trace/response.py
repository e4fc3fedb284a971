"""What the API answers about a person's way through a funnel."""

import datetime
import json
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from schemas.operators.funnel import FunnelDefinition
from schemas.value_tokens import to_json
from services.query.http.params import instant
from services.query.trace.chains import Chain, Code, Effect, End, value_of
from services.query.trace.sql import Place, Recorded
from services.query.trace.words import duration, effect_text, end_text

MAX_CHAINS: Final = 200
MAX_EFFECTS: Final = 20

TraceCode = Code | Literal["arrived_too_late"]


class TraceEffect(msgspec.Struct, frozen=True):
    """What an event did to a chain: `code` says it to programs, `text` to people.

    - `began`: the event is the first step of a new chain; `restarted`: so, while another is open.
    - `step_reached`: the chain has taken it as `step`.
    - `already_reached`: the chain has that step, or one after it.
    - `too_early`: a step before it is missing.
    - `condition_not_met`: it has the name of the next step, but not its properties.
    - `held_property_differs`: a property that is held constant has another value.
    - `excluded`: an exclusion that ends the chain. `interrupted`: it ends a `strict` chain.
    - `window_closed`: it would be the next step, but came after the window.
    - `no_effect`: an exclusion between other steps, or another event.
    - `arrived_too_late`: of no chain: it is older than the newest event of the person that had
      arrived by more than the allowed lateness, so the stream counts it by a recount.
    """

    chain: int | None
    code: TraceCode
    step: int | None
    text: str


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the person, where it is in the log, and up to 20 effects, on the newest chains.

    `steps` are those that it satisfies. `late_by_ms` is by how much a later event of the person had
    arrived before it; 0 if none had.
    """

    at: datetime.datetime
    event: str
    event_id: str
    partition: int
    offset: int
    steps: list[int]
    late_by_ms: int
    effects: list[TraceEffect]


class TraceStep(msgspec.Struct, frozen=True):
    """A step that a chain has reached, and when."""

    step: int
    event: str
    at: datetime.datetime


class TraceChain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain: the steps that it has reached, and how it has ended. `value` is the breakdown's."""

    chain: int
    steps: list[TraceStep]
    value: bool | int | float | str | None
    closes_at: datetime.datetime
    end: End
    text: str


class FunnelTraceResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A person's events in order of time, and what each did in a funnel.

    Each event of the first step (with order `any`: of any step) begins a chain, and a person has
    reached a step if one chain has. `reached` are the steps reached by the chains shown, and `text`
    says how far the best of them came. `chains` are those that concern the events shown, numbered
    in order of time, up to 200. `next` is the next page's `after`, null at the end.

    The events up to a window before a page are taken into account, and those after it, but no more
    than 500 of either: if the person has more, `partial` is true, and chains that began before
    these or end after them are not followed there.
    `positions` and `complete_until` say which events are included, as with the results.
    """

    id: str
    version: int
    person: str
    reached: list[int]
    text: str
    chains: list[TraceChain]
    events: list[TraceEvent]
    next: str | None
    partial: bool
    positions: dict[int, int]
    complete_until: datetime.datetime | None


class Page(msgspec.Struct, frozen=True):
    """The part of a person's events that is shown: from `first` on, up to `limit`."""

    line: Sequence[Recorded]
    first: int
    limit: int
    partial: bool


def trace(
    definition: FunnelDefinition,
    person: str,
    page: Page,
    found: Sequence[Chain],
    lateness_ms: int,
    positions: dict[int, int],
    complete_until: datetime.datetime | None,
) -> FunnelTraceResponse:
    """Return the response for a page of a person's events and the chains among them."""
    line = page.line
    end = min(page.first + page.limit, len(line))
    shown = range(page.first, end)
    effects = _by_place(definition, line, found)
    touched = [
        (number, chain)
        for number, chain in enumerate(found, 1)
        if any(effect.place in shown for effect in chain.effects)
    ]
    best = max((chain for _, chain in touched), key=lambda one: len(one.taken), default=None)
    return FunnelTraceResponse(
        id=definition.id,
        version=definition.version,
        person=person,
        reached=sorted({step for _, chain in touched for step in chain.reached}),
        text=_summary(definition, best),
        chains=[_chain(definition, line, *one) for one in touched[-MAX_CHAINS:]],
        events=[
            _event(line[place], effects.get(place, [])[-MAX_EFFECTS:], lateness_ms)
            for place in shown
        ],
        next=None if end == len(line) else cursor_of(line[end - 1].place),
        partial=page.partial,
        positions=dict(sorted(positions.items())),
        complete_until=complete_until,
    )


def cursor_of(place: Place) -> str:
    """Return the place of an event as the parameter `after` has it."""
    return f"{place.at}:{place.offset}"


def _summary(definition: FunnelDefinition, best: Chain | None) -> str:
    funnel = definition.funnel
    if best is None:
        return f"has not begun: there is no event of step 1 ({funnel.steps[0].event})"
    return f"step {best.taken[-1].number} of {len(funnel.steps)}: " + end_text(
        funnel, best.end, best.taken[-1].number
    )


def _by_place(
    definition: FunnelDefinition, line: Sequence[Recorded], found: Sequence[Chain]
) -> dict[int, list[TraceEffect]]:
    by_place: dict[int, list[TraceEffect]] = {}
    for number, chain in enumerate(found, 1):
        first, *others = chain.effects
        restarted = any(_open_at(line, before, chain.begin) for before in found[: number - 1])
        begun = first._replace(code="restarted" if restarted else "began")
        for effect in (begun, *others):
            by_place.setdefault(effect.place, []).append(
                _effect(definition, line[effect.place], number, effect)
            )
    return by_place


def _open_at(line: Sequence[Recorded], chain: Chain, place: int) -> bool:
    """Whether an earlier chain goes on when the event at a place comes."""
    if chain.closes_at < line[place].place.at:
        return False
    return chain.end in {"open", "window_closed"} or chain.effects[-1].place >= place


def _effect(
    definition: FunnelDefinition, recorded: Recorded, number: int, effect: Effect
) -> TraceEffect:
    text = effect_text(definition.funnel, effect, recorded.happening.event)
    return TraceEffect(number, effect.code, effect.step or None, text)


def _event(recorded: Recorded, effects: list[TraceEffect], lateness_ms: int) -> TraceEvent:
    late: list[TraceEffect] = []
    if recorded.late_by > lateness_ms:
        text = (
            f"arrived too late: an event of {duration(recorded.late_by)} later had arrived before, "
            "so the stream counts it by a recount"
        )
        late = [TraceEffect(None, "arrived_too_late", None, text)]
    return TraceEvent(
        at=instant(recorded.place.at),
        event=recorded.happening.event,
        event_id=recorded.event_id,
        partition=recorded.partition,
        offset=recorded.place.offset,
        steps=sorted(recorded.happening.steps),
        late_by_ms=recorded.late_by,
        effects=[*late, *effects],
    )


def _chain(
    definition: FunnelDefinition, line: Sequence[Recorded], number: int, chain: Chain
) -> TraceChain:
    token = value_of(definition.funnel, [one.happening for one in line], chain)
    return TraceChain(
        chain=number,
        steps=[
            TraceStep(
                one.number, line[one.place].happening.event, instant(line[one.place].place.at)
            )
            for one in chain.taken
        ],
        value=json.loads(to_json(token)) if token else None,
        closes_at=instant(chain.closes_at),
        end=chain.end,
        text=end_text(definition.funnel, chain.end, chain.taken[-1].number),
    )
