"""Segments: persons of whom something holds now, by what they are and by what they did.

A segment is a rule, a tree of `and`, `or` and `not` over conditions on a person. Whether it holds
of somebody is a function of their events so far and of the time; nothing else counts, the order in
which events came least of all.

A rule may refer to another segment. It stands on the definitions topic with the other's rule in the
place of the reference, so that whoever evaluates it knows of no other definition.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from schemas.conditions import (
    MAX_CONDITIONS,
    Condition,
    check_conditions,
    comparisons,
    hold_of_nothing,
)
from schemas.definition_codec import DefinitionCodec
from schemas.definitions import (
    MAX_WINDOW_S,
    Definition,
    EventName,
    Id,
    Text,
    counts_alike,
)
from schemas.errors import InvalidRequest
from schemas.event_filter import EventFilter
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.renames import RenamedField, member
from schemas.time.rfc3339 import read_time

# The properties of events that say what a person is.
SET: Final = "$set"
SET_ONCE: Final = "$set_once"

MAX_SEGMENTS_PER_PROJECT: Final = 200
MAX_DEPTH: Final = 8
MAX_LEAVES: Final = 32
MAX_TIMES: Final = 100
MAX_TIMES_IN_ALL: Final = 256  # that are kept of a person, 8 bytes each
MAX_STEPS: Final = 8
# The occasions that one rule looks for, those of the segments it refers to included; one more place
# each is kept for what persons are, and for those who did nothing that it looks for.
MAX_OCCASIONS: Final = 30
MAX_AGO_S: Final = 3_660 * 86_400

Where = Annotated[tuple[Condition, ...], Meta(max_length=MAX_CONDITIONS)]
Times = Annotated[int, Meta(ge=0, le=MAX_TIMES)]
Seconds = Annotated[int, Meta(ge=1, le=MAX_AGO_S)]


class Performed(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """How often the person did something: one of `at_least`, `at_most` and `exactly`, or once.

    `event` is its name, any event counts without one; all conditions of `where` must hold of its
    properties. With `within_s`, events count that are no older than so many seconds: one that is
    exactly so old still counts.
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
    """When the person did something for the first or the last time; never is no time.

    It was before or after a time (not at it), which is written as in conditions; or it is no longer
    ago than `within_s` seconds (not a millisecond more), or longer than `not_within_s`.
    """

    event: EventName | None = None
    where: Where = ()
    before: str | None = None
    after: str | None = None
    within_s: Seconds | None = None
    not_within_s: Seconds | None = None


class EventSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The person once did all steps in this order, within `window_s` seconds (inclusive).

    As in a funnel, one event may be several steps, and steps may have equal times. Who did it once
    has done it for good.
    """

    steps: Annotated[tuple[EventFilter, ...], Meta(min_length=2, max_length=MAX_STEPS)]
    window_s: Annotated[int, Meta(ge=1, le=MAX_WINDOW_S)] = 7 * 86_400


class Rule(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    rename={"and_": "and", "or_": "or", "not_": "not"},
):
    """What must hold of a person now, in one of nine forms.

    - `{"and": […]}`, `{"or": […]}`, `{"not": …}`: rules, up to 8 levels deep with up to 32
      conditions on the person in all, those of the segments that are referred to included.
    - `person`: conditions on properties of the person, which must all hold. A property is what the
      event of the latest time says of it in `$set`; if none ever said anything there, what the
      event of the earliest time says in `$set_once`. Of equal times, the last that came counts in
      `$set`, and the first in `$set_once`. Null, and an object, say nothing. (Traits of `identify`
      calls are `$set`.)
    - `performed`: how often the person did something.
    - `first_seen`, `last_seen`: when they did it for the first, or the last, time.
    - `sequence`: they did several things in order.
    - `segment`: they are in the segment of that id.

    A person is who has done anything at all in the project.
    """

    and_: Annotated[tuple["Rule", ...], Meta(min_length=1, max_length=MAX_LEAVES)] = ()
    or_: Annotated[tuple["Rule", ...], Meta(min_length=1, max_length=MAX_LEAVES)] = ()
    not_: "Rule | None" = None
    person: Annotated[tuple[Condition, ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    performed: Performed | None = None
    first_seen: Seen | None = None
    last_seen: Seen | None = None
    sequence: EventSequence | None = None
    segment: Id | None = None


class Segment(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """The persons of whom `rule` holds now.

    Persons enter and leave with the event, or the passing of time, that makes it so. Time is the
    project's own, which is that of its newest event and goes on without events; an event that is
    dated ahead of it counts at once. In any order of arrival persons come to be in the same
    segments; only `sequence` leaves out what comes later than the allowed lateness.
    """

    rule: Rule
    name: Text = ""
    description: Text = ""


class SegmentDefinition(Definition, frozen=True, kw_only=True):
    """A segment as it stands on the definitions topic; `rule` is its own without references."""

    KIND = "segment"

    segment: Segment
    rule: Rule


def decode_segment(body: bytes) -> Segment:
    """Read a segment from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: SegmentDefinition) -> bytes:
    """Encode a definition as a record of its topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> SegmentDefinition:
    """Read a definition from its topic; raises `msgspec.DecodeError` if it is not one."""
    return _CODEC.decode(value)


def _check_own(segment: Segment) -> None:
    check_rule(segment.rule, "rule")


def _check_stored(definition: SegmentDefinition) -> None:
    check_rule(definition.segment.rule, "segment.rule")
    check_rule(definition.rule, "rule")
    if references(definition.rule, "rule"):
        raise InvalidRequest("refers to another segment", "rule")


def _find_renamed(segment: Any) -> Iterator[RenamedField]:
    """Find the names of earlier versions in a segment's rule, from its root to its leaves."""
    rules = [(member(segment, "rule"), "rule")]
    for rule, path in rules:  # which grows by what is in each rule
        if not isinstance(rule, dict):
            continue
        if member(rule.get("performed"), "steps") is not None:
            yield RenamedField(rule, path, "performed", "sequence", "with `steps`")
        if "did" in rule:
            yield RenamedField(rule, path, "did", "performed")
        for name in ("first_seen", "last_seen"):
            seen = rule.get(name)
            if isinstance(seen, dict) and "longer_ago_s" in seen:
                yield RenamedField(seen, f"{path}.{name}", "longer_ago_s", "not_within_s")
        for name in ("and", "or"):
            if isinstance(inner := rule.get(name), list):
                rules += [(one, f"{path}.{name}[{number}]") for number, one in enumerate(inner)]
        rules.append((rule.get("not"), f"{path}.not"))


def holds_of_nobody(rule: Rule) -> bool:
    """Whether a rule holds of somebody who did nothing that it looks at."""
    if rule.and_:
        return all(map(holds_of_nobody, rule.and_))
    if rule.or_:
        return any(map(holds_of_nobody, rule.or_))
    if rule.not_ is not None:
        return not holds_of_nobody(rule.not_)
    if rule.performed is not None:
        return rule.performed.at_most is not None or rule.performed.exactly == 0
    return bool(rule.person) and hold_of_nothing(rule.person)


def references(rule: Rule, path: str) -> list[tuple[str, str]]:
    """The ids of the segments that a checked rule refers to, with the paths below its own."""
    leaves = _walk(rule, path, 1)
    return [(leaf.segment, f"{place}.segment") for leaf, place in leaves if leaf.segment]


def resolve(rule: Rule, rule_of: Callable[[str], Rule]) -> Rule:
    """The rule with those of the segments it refers to in their place; they have no references."""
    if rule.segment is not None:
        return rule_of(rule.segment)
    return msgspec.structs.replace(
        rule,
        and_=tuple(resolve(inner, rule_of) for inner in rule.and_),
        or_=tuple(resolve(inner, rule_of) for inner in rule.or_),
        not_=None if rule.not_ is None else resolve(rule.not_, rule_of),
    )


def parts(rule: Rule) -> tuple[Rule, ...]:
    """The rules that a rule is made of; none, if it is a condition."""
    return rule.and_ + rule.or_ + (() if rule.not_ is None else (rule.not_,))


def event_filters(rule: Rule) -> Iterator[EventFilter]:
    """All that a rule looks for in the order of its conditions; some may be equal."""
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
        times += 0 if leaf.performed is None else _times(leaf.performed)
        if leaves > MAX_LEAVES:
            raise InvalidRequest(f"accepted are up to {MAX_LEAVES} conditions on a person", path)
    if times > MAX_TIMES_IN_ALL:
        raise InvalidRequest(
            f"accepted are up to {MAX_TIMES_IN_ALL} times in all conditions with `within_s`", path
        )
    if len(set(map(msgspec.json.encode, event_filters(rule)))) > MAX_OCCASIONS:
        raise InvalidRequest(
            f"accepted are up to {MAX_OCCASIONS} different events that are looked for", path
        )


def conditions(rule: Rule, path: str) -> Iterator[tuple[tuple[Condition, ...], str]]:
    """All conditions of a rule that was checked, list by list, with their paths."""
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
    """The conditions of a rule with their paths."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"accepted are up to {MAX_DEPTH} levels of rules", path)
    forms = [name for name in rule.__struct_fields__ if getattr(rule, name) not in ((), None)]
    if len(forms) != 1:
        raise InvalidRequest(f"accepted is one of {_FORMS}", path)
    if not parts(rule):
        yield rule, path
    for name, inner in (("and", rule.and_), ("or", rule.or_)):
        for number, one in enumerate(inner):
            yield from _walk(one, f"{path}.{name}[{number}]", depth + 1)
    if rule.not_ is not None:
        yield from _walk(rule.not_, f"{path}.not", depth + 1)


def _check_leaf(leaf: Rule, path: str) -> int:
    """Check one condition; returns how many it counts for."""
    for where, place in conditions(leaf, path):
        check_conditions(where, place)
    if leaf.person:
        return sum(1 for _ in comparisons(leaf.person, path))
    if leaf.performed is not None:
        counts = (leaf.performed.at_least, leaf.performed.at_most, leaf.performed.exactly)
        if sum(count is not None for count in counts) > 1:
            raise InvalidRequest(
                "accepted is one of `at_least`, `at_most` and `exactly`", f"{path}.performed"
            )
    for name in ("first_seen", "last_seen"):
        if (seen := getattr(leaf, name)) is not None:
            _check_seen(seen, f"{path}.{name}")
    return 1


def _times(performed: Performed) -> int:
    """How many times have to be remembered to tell how often it was done of late."""
    if performed.within_s is None:
        return 0
    return max(performed.at_least or 1, (performed.at_most or 0) + 1, (performed.exactly or 0) + 1)


def _check_seen(seen: Seen, path: str) -> None:
    bounds = (seen.before, seen.after, seen.within_s, seen.not_within_s)
    if sum(bound is not None for bound in bounds) != 1:
        raise InvalidRequest(
            "accepted is one of `before`, `after`, `within_s` and `not_within_s`", path
        )
    for name in ("before", "after"):
        text = getattr(seen, name)
        if text is not None and read_time(text) is None:
            raise InvalidRequest(
                "accepted are times: 2026-11-22 and 2026-11-22T10:00:00.000Z, or with an offset "
                "such as +01:00 in place of the Z",
                f"{path}.{name}",
            )


_FORMS: Final = (
    "`and`, `or`, `not`, `person`, `performed`, `first_seen`, `last_seen`, `sequence` and `segment`"
)


def _counts_alike(before: SegmentDefinition, after: SegmentDefinition) -> bool:
    return counts_alike(before.rule, after.rule)


_CODEC: Final = DefinitionCodec(
    Segment,
    SegmentDefinition,
    check=_check_own,
    check_stored=_check_stored,
    find_renamed=_find_renamed,
)


SEGMENT: Final = OperatorSpec(
    name=SegmentDefinition.KIND,
    plural="segments",
    decode=decode,
    encode=encode,
    counts_alike=_counts_alike,
    max_per_project=MAX_SEGMENTS_PER_PROJECT,
    aggregates=ResultTopic("segment-sizes", "segment-size"),
    changes=(ResultTopic("segments", "segment-change"),),
)
