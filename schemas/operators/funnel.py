"""Funnels: how far persons get through steps within a window of time."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from schemas.conditions import MAX_CONDITIONS, Condition, PropertyName, check_conditions
from schemas.definition_codec import DefinitionCodec
from schemas.definitions import (
    MAX_WINDOW_S,
    Definition,
    EventName,
    Text,
    counts_alike,
)
from schemas.errors import InvalidRequest
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.time.calendar import WeekStart, find_zone
from schemas.time.since import Since, since_ms
from schemas.topic import DAY_MS

MAX_STEPS: Final = 32
MAX_EXCLUSIONS: Final = 8
MAX_HELD: Final = 4
MAX_FUNNELS_PER_PROJECT: Final = 200

Order = Literal["ordered", "strict", "any"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a funnel: an event by name, for which all conditions hold.

    An `optional` step may be skipped: the steps after it can be taken without it, and afterwards it
    cannot. The first step, and steps of a funnel with order `any`, cannot be optional.
    """

    event: EventName
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()
    optional: bool = False


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event that ends a chain which has reached step `after`, but not yet step `before`.

    Steps are numbered from 1; `before` is the last step if it is left out. A chain that has ended
    keeps the steps it has reached, and the person may begin a new one. An event that the chain
    takes as a step does not end it, nor does one with other values of `hold_constant`.
    """

    event: EventName
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()
    after: Annotated[int, Meta(ge=1, le=MAX_STEPS)] = 1
    before: Annotated[int, Meta(ge=1, le=MAX_STEPS)] | None = None


class Breakdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Figures by the value of a property, of which each chain has one.

    `attribution` says which event it is taken from: the chain's `first`, its `last` so far, or the
    one that was step n. A chain that has not reached step n counts as if the property were not set
    (null). A person counts once for each value that their chains have.

    The 25 values with which the most persons entered in total are shown, all others together as
    `other`. On the stream each partition tracks 1,000 values (of 200 kB in all), and its figures
    equal ClickHouse's as long as no partition has more. Then the most frequent ones are tracked,
    `approximate` is true, and `error` says how many persons a value may lack at most.

    Values are compared as a whole: text to its end, and numbers exactly (1 and 1.0 are one value),
    but whole numbers beyond 64 bits as 64-bit floats. A text of more than 200 characters is shown
    as its first 200, `…`, and 16 hexadecimal digits of its MD5 digest. Lists and objects count as
    not set.
    """

    property: PropertyName
    attribution: Literal["first", "last"] | Annotated[int, Meta(ge=1, le=MAX_STEPS)] = "first"


class Funnel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A funnel: how far persons get through `steps` within `window_s` (inclusive) of the first.

    Persons are counted by the day of the first step, once a day, and once in total. Each event of
    the first step begins a chain. A person has reached a step on a day if one of the chains begun
    on that day has; the time to a step is that of the first chain to reach it.

    Days are those of `timezone`: they last from one local midnight to the next, so one on which
    clocks change has 23 or 25 hours. Weeks, by which days may be shown, begin on `week_start`. A
    funnel that names neither when it is created or replaced has those of its project.

    - `ordered`: a chain takes the steps one after the other, whatever other events lie between.
      This equals ClickHouse's `windowFunnel`: events in order of time, those of equal times in
      order of the steps; one event may satisfy several steps.
    - `strict`: each step is the person's very next event after the step before; any other event
      ends the chain. Such a funnel reads all events of the project. (`windowFunnel` with
      `strict_order` ends its whole search there; here the person's next chain continues.)
    - `any`: the steps may come in any order. An event of any step begins a chain, and a person
      reaches step n with the n-th different step that the chain takes.

    With `once`, an event is at most one step of a chain. All events of a chain have the same values
    of the properties in `hold_constant`, which are compared as a whole: numbers exactly, text to
    its end, lists by what they contain; not to be set is a value like others, and an object counts
    as not set. With `entries`, all chains are counted as well as persons.

    With any of these (`strict`, `any`, optional steps or an option) a chain takes its steps one by
    one, moment by moment; the events of one moment have no order, and the chain takes the lowest
    step that may come next of all that they satisfy, as long as there is one. An exclusion counts
    before the steps of its moment; an event that a `strict` chain does not take ends it after them.
    On the stream such a funnel keeps a person's events for the window, the allowed lateness and a
    day, at most 4,096 of them; a person's further events are left out and counted in
    `late_dropped`.

    With `since`, events before that time do not count, and a new definition reads the event store
    from that time on instead of from its beginning.
    """

    steps: Annotated[tuple[Step, ...], Meta(min_length=2, max_length=MAX_STEPS)]
    window_s: Annotated[int, Meta(ge=1, le=MAX_WINDOW_S)] = 7 * 86_400
    name: Text = ""
    description: Text = ""
    order: Order = "ordered"
    exclusions: Annotated[tuple[Exclusion, ...], Meta(max_length=MAX_EXCLUSIONS)] = ()
    once: bool = False
    hold_constant: Annotated[tuple[PropertyName, ...], Meta(max_length=MAX_HELD)] = ()
    entries: bool = False
    breakdown: Breakdown | None = None
    since: Since | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    week_start: WeekStart = "monday"

    @property
    def plain(self) -> bool:
        """Whether the funnel is `ordered` and uses no option."""
        options = (self.exclusions, self.once, self.hold_constant, self.entries, self.breakdown)
        return (
            self.order == "ordered"
            and not any(options)
            and not any(step.optional for step in self.steps)
        )


class FunnelDefinition(Definition, frozen=True, kw_only=True):
    """A funnel on the definitions topic."""

    KIND = "funnel"

    funnel: Funnel

    @property
    def since_ms(self) -> int:
        """The first moment whose events count (ms since 1970)."""
        return since_ms(self.funnel.since)


def next_steps(funnel: Funnel, step: int) -> int:
    """Return the steps that may follow `step` (from 0) as a bit mask: up to one not optional."""
    mask = 0
    for number in range(step + 1, len(funnel.steps)):
        mask |= 1 << number
        if not funnel.steps[number].optional:
            break
    return mask


def exclusion_spans(funnel: Funnel) -> list[tuple[int, int, int]]:
    """Return each exclusion's selector number (after those of the steps), `after` and `before`."""
    steps = len(funnel.steps)
    return [
        (steps + number, one.after, one.before or steps)
        for number, one in enumerate(funnel.exclusions)
    ]


def decode_funnel(body: bytes) -> Funnel:
    """Decode a funnel from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: FunnelDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> FunnelDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a funnel.
    """
    return _CODEC.decode(value)


def _check(funnel: Funnel) -> None:
    since_ms(funnel.since)
    find_zone(funnel.timezone)
    for number, step in enumerate(funnel.steps):
        check_conditions(step.where, f"steps[{number}].where")
        if step.optional and (number == 0 or funnel.order == "any"):
            raise InvalidRequest(
                "must not be true for the first step, or with order `any`",
                f"steps[{number}].optional",
            )
    for number, exclusion in enumerate(funnel.exclusions):
        check_conditions(exclusion.where, f"exclusions[{number}].where")
        before = exclusion.before or len(funnel.steps)
        if not exclusion.after < before <= len(funnel.steps):
            raise InvalidRequest(
                f"must be less than `before` ({before}), which is at most {len(funnel.steps)}",
                f"exclusions[{number}].after",
            )
    most = MAX_STEPS - (funnel.order == "strict")  # a strict funnel also selects any event
    if len(funnel.steps) + len(funnel.exclusions) > most:
        raise InvalidRequest(f"must be at most {most} together with the steps", "exclusions")
    attribution = funnel.breakdown.attribution if funnel.breakdown else 1
    if isinstance(attribution, int) and attribution > len(funnel.steps):
        raise InvalidRequest(
            f"must be `first`, `last`, or 1 to {len(funnel.steps)}", "breakdown.attribution"
        )
    if len(set(funnel.hold_constant)) < len(funnel.hold_constant):
        raise InvalidRequest("must not name a property twice", "hold_constant")


def _counts_alike(before: FunnelDefinition, after: FunnelDefinition) -> bool:
    # Weeks are added up when they are shown: what is counted are days.
    return counts_alike(*(replace(one.funnel, week_start="monday") for one in (before, after)))


_CODEC: Final = DefinitionCodec(
    Funnel,
    FunnelDefinition,
    check=_check,
    check_stored=lambda definition: _check(definition.funnel),
)


FUNNEL: Final = OperatorSpec(
    name=FunnelDefinition.KIND,
    plural="funnels",
    decode=decode,
    encode=encode,
    counts_alike=_counts_alike,
    max_per_project=MAX_FUNNELS_PER_PROJECT,
    aggregates=ResultTopic("funnels", "funnel-result"),
    changes=(ResultTopic("funnel-steps", "funnel-step", "delete", 30 * DAY_MS),),
)
