"""Funnels: how far persons get through steps within a window."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

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
from schemas.time.since import Since, since_ms
from schemas.topic import DAY_MS

MAX_STEPS: Final = 32
MAX_EXCLUSIONS: Final = 8
MAX_HELD: Final = 4
MAX_FUNNELS_PER_PROJECT: Final = 200

Order = Literal["ordered", "strict", "any"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a funnel: an event by name, all of whose conditions hold.

    An `optional` step may be left out: the steps after it can be taken without it, and not it after
    them. The first step is not optional, nor is any step of a funnel in `any` order.
    """

    event: EventName
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()
    optional: bool = False


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event that ends a chain whose last step is `after` or a later one, and not yet `before`.

    Steps are numbered from 1; a `before` that is left out is the last step. The chain keeps the
    steps it has reached and reaches no other; the person may begin a new one. An event that the
    chain takes as a step does not end it.
    """

    event: EventName
    where: Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)] = ()
    after: Annotated[int, Meta(ge=1, le=MAX_STEPS)] = 1
    before: Annotated[int, Meta(ge=1, le=MAX_STEPS)] | None = None


class Breakdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Figures by the value of a property, of which each chain has one.

    It is that of the chain's first event (`first`), that of the last event it took so far (`last`),
    or that of the event which was step n, if `attribution` is a number n. A chain that has not come
    there has none, and counts as one whose property is not set (null). A person counts once for
    each value that their chains have.

    The 25 values that most persons entered with, in total, are shown by themselves, all others
    together as `other`. On the stream a partition tells the first 100 values apart that it meets,
    and counts later ones as `other` too; so where no partition meets more, the figures are those
    of ClickHouse.
    """

    property: PropertyName
    attribution: Literal["first", "last"] | Annotated[int, Meta(ge=1, le=MAX_STEPS)] = "first"


class Funnel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A funnel: how far persons get through `steps` within `window_s` (inclusive) of the first.

    Entries are counted by day (UTC) of the first step, each person once a day, and in total, each
    person once. Each event of the first step begins a chain of its own, and what the chains of a
    day have reached, the person has reached; the time to a step is that of the chain which came
    there first.

    - `ordered`: a chain takes the steps one after the other, whatever lies between. Equal to
      ClickHouse's `windowFunnel`: events in order of time, of equal times in order of the steps;
      one event may satisfy several steps.
    - `strict`: each step is the person's very next event after the one before; any other event
      ends the chain. Such a funnel looks at all events of the project. (With `strict_order` the
      whole search of `windowFunnel` ends there; here the person's next entry has its own chance.)
    - `any`: the steps may come in any order. An event of any step begins a chain, and a person
      reaches step n with the n-th of the different steps that the chain takes.

    With `once`, one event is one step of a chain only. Of the properties in `hold_constant` all
    events of a chain have the values of its first one; not to be set is a value like others.
    `entries` counts, besides persons, every chain by itself, however many a person begins.

    In funnels that use any of this (`strict`, `any`, optional steps and all options) a chain takes
    its events one by one: by time, those of one moment by the last step they satisfy, and those
    that satisfy none before all others. On the stream they keep a person's events for the window,
    the allowed lateness and a day, 4,096 of them at most; what a person does beyond that is left
    out, and counted in `late_dropped`.

    With `since`, events before that time do not count, and a definition that is new reads the event
    store from there on instead of from its beginning.
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

    @property
    def plain(self) -> bool:
        """Whether it is an ordered funnel that uses no option."""
        options = (self.exclusions, self.once, self.hold_constant, self.entries, self.breakdown)
        return (
            self.order == "ordered"
            and not any(options)
            and not any(step.optional for step in self.steps)
        )


class FunnelDefinition(Definition, frozen=True, kw_only=True):
    """A funnel as it stands on the definitions topic."""

    KIND = "funnel"

    funnel: Funnel

    @property
    def since_ms(self) -> int:
        """From when on events count (ms since 1970)."""
        return since_ms(self.funnel.since)


def next_steps(funnel: Funnel, step: int) -> int:
    """The steps that a chain may take after `step` (from 0), as a mask: up to one not optional."""
    mask = 0
    for number in range(step + 1, len(funnel.steps)):
        mask |= 1 << number
        if not funnel.steps[number].optional:
            break
    return mask


def exclusion_spans(funnel: Funnel) -> list[tuple[int, int, int]]:
    """Of each exclusion: its selector's number (they follow the steps), `after` and `before`."""
    steps = len(funnel.steps)
    return [
        (steps + number, one.after, one.before or steps)
        for number, one in enumerate(funnel.exclusions)
    ]


def decode_funnel(body: bytes) -> Funnel:
    """Read a funnel from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: FunnelDefinition) -> bytes:
    """Encode a definition as a record of its topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> FunnelDefinition:
    """Read a definition from its topic; raises `msgspec.DecodeError` if it is not one."""
    return _CODEC.decode(value)


def _check(funnel: Funnel) -> None:
    since_ms(funnel.since)
    for number, step in enumerate(funnel.steps):
        check_conditions(step.where, f"steps[{number}].where")
        if step.optional and (number == 0 or funnel.order == "any"):
            raise InvalidRequest(
                "accepted is true for steps after the first, and in no funnel of `any` order",
                f"steps[{number}].optional",
            )
    for number, exclusion in enumerate(funnel.exclusions):
        check_conditions(exclusion.where, f"exclusions[{number}].where")
        before = exclusion.before or len(funnel.steps)
        if not exclusion.after < before <= len(funnel.steps):
            raise InvalidRequest(
                f"accepted is a step before {before}, and `before` up to {len(funnel.steps)}",
                f"exclusions[{number}].after",
            )
    most = MAX_STEPS - (funnel.order == "strict")  # which looks for any event, too
    if len(funnel.steps) + len(funnel.exclusions) > most:
        raise InvalidRequest(f"accepted are up to {most} steps and exclusions", "exclusions")
    of = funnel.breakdown.attribution if funnel.breakdown else 1
    if isinstance(of, int) and of > len(funnel.steps):
        raise InvalidRequest(
            f"accepted are `first`, `last`, and 1 to {len(funnel.steps)}", "breakdown.attribution"
        )
    if len(set(funnel.hold_constant)) < len(funnel.hold_constant):
        raise InvalidRequest("accepted are different properties", "hold_constant")


def _counts_alike(before: FunnelDefinition, after: FunnelDefinition) -> bool:
    return counts_alike(before.funnel, after.funnel)


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
