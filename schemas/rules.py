"""Rules on persons: trees of `and`, `or` and `not` over conditions, with references to segments.

Whether a rule holds for a person depends on the person's events so far and on the time, but not on
the order in which events arrived.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.conditions import (
    MAX_CONDITIONS,
    Condition,
    check_conditions,
    comparisons,
    hold_without_properties,
)
from schemas.definitions import MAX_WINDOW_S, EventName, Id
from schemas.errors import InvalidRequest
from schemas.event_filter import EventFilter
from schemas.time.rfc3339 import TIME_FORMATS, read_time

# The properties of events that set properties of the person.
SET: Final = "$set"
SET_ONCE: Final = "$set_once"

MAX_DEPTH: Final = 8
MAX_LEAVES: Final = 32
MAX_TIMES: Final = 100
MAX_TIMES_PER_RULE: Final = 256  # kept for each person, 8 bytes each
MAX_STEPS: Final = 8
# Different event filters of a rule, including those of the segments it refers to. Two more bits are
# used: for properties of the person, and for persons without any of these events.
MAX_FILTERS: Final = 30
MAX_AGO_S: Final = 3_660 * 86_400

Where = Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)]
Times = Annotated[int, Meta(ge=0, le=MAX_TIMES)]
Seconds = Annotated[int, Meta(ge=1, le=MAX_AGO_S)]


class Performed(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """How often the person performed an event: `at_least`, `at_most` or `exactly`; once by default.

    Events have the name `event`, any name without it, and satisfy all conditions in `where`. With
    `within_s`, only events that are at most this old count.
    """

    event: EventName | None = None
    where: Where = ()
    at_least: Annotated[int, Meta(ge=1, le=MAX_TIMES)] | None = None
    at_most: Times | None = None
    exactly: Times | None = None
    within_s: Seconds | None = None


class Seen(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """When the person performed an event for the first or the last time; it never holds for never.

    The time is `before` or `after` another (not equal to it), written as in conditions; or it is at
    most `within_s` seconds ago, to the millisecond, or more than `not_within_s` seconds.
    """

    event: EventName | None = None
    where: Where = ()
    before: str | None = None
    after: str | None = None
    within_s: Seconds | None = None
    not_within_s: Seconds | None = None


class EventSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The person has at some time performed all steps in this order, within `window_s` seconds.

    As in a funnel, the window is inclusive, one event may be several steps, and steps may have the
    same time. The condition then holds forever.
    """

    steps: Annotated[tuple[EventFilter, ...], Meta(min_length=2, max_length=MAX_STEPS)]
    window_s: Annotated[int, Meta(ge=1, le=MAX_WINDOW_S)] = 7 * 86_400


class Predicted(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """The newest score of a prediction for the person is `at_least` a number, `below` one, or both.

    It never holds without a score, nor of one that was withheld when it was given. Only scores that
    were given since the segment was defined count.
    """

    prediction: Id
    at_least: float | None = None
    below: float | None = None


class Rule(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    rename={"and_": "and", "or_": "or", "not_": "not"},
):
    """A rule on a person, in one of ten forms.

    - `{"and": […]}`, `{"or": […]}`, `{"not": …}`: rules, up to 8 levels deep, with up to 32
      conditions on the person in all, those of referenced segments included.
    - `person`: conditions on properties of the person, all of which must hold. The value of a
      property is the one that the event with the latest time gives in `$set`; without any, the one
      that the event with the earliest time gives in `$set_once`. Of equal times the last arrival
      counts for `$set`, and the first for `$set_once`. Null and objects are ignored. (Traits of
      `identify` calls are `$set`.)
    - `performed`: how often the person performed an event, once or n times.
    - `first_seen`, `last_seen`: when the person first, or last, performed an event.
    - `sequence`: the person performed several events in order.
    - `predicted`: the person's newest score of a prediction is in a range.
    - `segment`: the person is in the segment with this id.

    Everybody with at least one event in the project is a person.
    """

    and_: Annotated[tuple["Rule", ...], Meta(min_length=1, max_length=MAX_LEAVES)] = ()
    or_: Annotated[tuple["Rule", ...], Meta(min_length=1, max_length=MAX_LEAVES)] = ()
    not_: "Rule | None" = None
    person: Annotated[tuple[Condition, ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    performed: Performed | None = None
    first_seen: Seen | None = None
    last_seen: Seen | None = None
    sequence: EventSequence | None = None
    predicted: Predicted | None = None
    segment: Id | None = None


def holds_without_events(rule: Rule) -> bool:
    """Return whether a rule holds for a person without any event that it selects."""
    if rule.and_:
        return all(map(holds_without_events, rule.and_))
    if rule.or_:
        return any(map(holds_without_events, rule.or_))
    if rule.not_ is not None:
        return not holds_without_events(rule.not_)
    if rule.performed is not None:
        return rule.performed.at_most is not None or rule.performed.exactly == 0
    return bool(rule.person) and hold_without_properties(rule.person)


def references(rule: Rule, path: str) -> list[tuple[str, str]]:
    """Return the ids of the segments that a checked rule refers to, with their paths."""
    leaves = _walk(rule, path, 1)
    return [(leaf.segment, f"{place}.segment") for leaf, place in leaves if leaf.segment]


def predictions(rule: Rule, path: str) -> list[tuple[str, str]]:
    """Return the ids of the predictions whose scores a checked rule asks for, with their paths."""
    return [
        (leaf.predicted.prediction, f"{place}.predicted.prediction")
        for leaf, place in _walk(rule, path, 1)
        if leaf.predicted is not None
    ]


def forms(rule: Rule, path: str) -> list[tuple[str, str]]:
    """Return the names of the conditions on a person in a checked rule, with their paths."""
    return [
        (name, f"{place}.{name}")
        for leaf, place in _walk(rule, path, 1)
        for name in leaf.__struct_fields__
        if getattr(leaf, name) not in ((), None)
    ]


def resolve(rule: Rule, rule_of: Callable[[str], Rule]) -> Rule:
    """Return the rule with each reference replaced by `rule_of` it, which has none itself."""
    if rule.segment is not None:
        return rule_of(rule.segment)
    return msgspec.structs.replace(
        rule,
        and_=tuple(resolve(inner, rule_of) for inner in rule.and_),
        or_=tuple(resolve(inner, rule_of) for inner in rule.or_),
        not_=None if rule.not_ is None else resolve(rule.not_, rule_of),
    )


def parts(rule: Rule) -> tuple[Rule, ...]:
    """Return the rules that a rule combines; none if it is a condition."""
    return rule.and_ + rule.or_ + (() if rule.not_ is None else (rule.not_,))


def event_filters(rule: Rule) -> Iterator[EventFilter]:
    """Yield the event filters of all conditions, in order; some may be equal."""
    for inner in parts(rule):
        yield from event_filters(inner)
    for asked in (rule.performed, rule.first_seen, rule.last_seen):
        if asked is not None:
            yield EventFilter(asked.event, asked.where)
    if rule.sequence is not None:
        yield from rule.sequence.steps


def check_rule(rule: Rule, path: str) -> None:
    """Refuse a rule that means nothing or is too large.

    Raises:
        InvalidRequest: names the field, below `path`, and what is accepted.
    """
    leaves = times = 0
    for leaf, place in _walk(rule, path, 1):
        leaves += _check_leaf(leaf, place)
        times += 0 if leaf.performed is None else _times_kept(leaf.performed)
        if leaves > MAX_LEAVES:
            raise InvalidRequest(f"must have at most {MAX_LEAVES} conditions on a person", path)
    if times > MAX_TIMES_PER_RULE:
        raise InvalidRequest(
            f"must count up to at most {MAX_TIMES_PER_RULE} times in all conditions with "
            "`within_s` together",
            path,
        )
    if len(set(map(msgspec.json.encode, event_filters(rule)))) > MAX_FILTERS:
        raise InvalidRequest(f"must select at most {MAX_FILTERS} different events", path)


def conditions(rule: Rule, path: str) -> Iterator[tuple[tuple[Condition, ...], str]]:
    """Yield all lists of conditions of a checked rule, with their paths."""
    for leaf, place in _walk(rule, path, 1):
        if leaf.person:
            yield leaf.person, f"{place}.person"
        for name in ("performed", "first_seen", "last_seen"):
            if (asked := getattr(leaf, name)) is not None:
                yield asked.where, f"{place}.{name}.where"
        if leaf.sequence is not None:
            for number, step in enumerate(leaf.sequence.steps):
                yield step.where, f"{place}.sequence.steps[{number}].where"


def _walk(rule: Rule, path: str, depth: int) -> Iterator[tuple[Rule, str]]:
    """Yield the conditions of a rule with their paths."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"must be nested at most {MAX_DEPTH} levels deep", path)
    forms = [name for name in rule.__struct_fields__ if getattr(rule, name) not in ((), None)]
    if len(forms) != 1:
        raise InvalidRequest(f"must have exactly one of {_FORMS}", path)
    if not parts(rule):
        yield rule, path
    for name, inner in (("and", rule.and_), ("or", rule.or_)):
        for number, one in enumerate(inner):
            yield from _walk(one, f"{path}.{name}[{number}]", depth + 1)
    if rule.not_ is not None:
        yield from _walk(rule.not_, f"{path}.not", depth + 1)


def _check_leaf(leaf: Rule, path: str) -> int:
    """Check a condition; return for how many it counts."""
    for where, place in conditions(leaf, path):
        check_conditions(where, place)
    if leaf.person:
        return sum(1 for _ in comparisons(leaf.person, path))
    if leaf.performed is not None:
        counts = (leaf.performed.at_least, leaf.performed.at_most, leaf.performed.exactly)
        if sum(count is not None for count in counts) > 1:
            raise InvalidRequest(
                "must have at most one of `at_least`, `at_most` and `exactly`", f"{path}.performed"
            )
    for name in ("first_seen", "last_seen"):
        if (seen := getattr(leaf, name)) is not None:
            _check_seen(seen, f"{path}.{name}")
    if leaf.predicted is not None:
        _check_predicted(leaf.predicted, f"{path}.predicted")
    return 1


def _times_kept(performed: Performed) -> int:
    """Return how many times of events have to be kept to count those within `within_s`."""
    if performed.within_s is None:
        return 0
    return max(performed.at_least or 1, (performed.at_most or 0) + 1, (performed.exactly or 0) + 1)


def _check_seen(seen: Seen, path: str) -> None:
    bounds = (seen.before, seen.after, seen.within_s, seen.not_within_s)
    if sum(bound is not None for bound in bounds) != 1:
        raise InvalidRequest(
            "must have exactly one of `before`, `after`, `within_s` and `not_within_s`", path
        )
    for name in ("before", "after"):
        text = getattr(seen, name)
        if text is not None and read_time(text) is None:
            raise InvalidRequest(f"must be a time: {TIME_FORMATS}", f"{path}.{name}")


def _check_predicted(predicted: Predicted, path: str) -> None:
    least, below = predicted.at_least, predicted.below
    if least is None and below is None:
        raise InvalidRequest("must have `at_least` or `below`", path)
    if least is not None and below is not None and least >= below:
        raise InvalidRequest("must be greater than `at_least`", f"{path}.below")


_FORMS: Final = (
    "`and`, `or`, `not`, `person`, `performed`, `first_seen`, `last_seen`, `sequence`, `predicted` "
    "and `segment`"
)
