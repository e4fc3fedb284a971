"""Segments: dynamic groups of persons, those for whom a rule holds now.

A rule may refer to other segments. The definition on the topic therefore also has the rule with
their rules in place of the references, so that it can be evaluated without any other definition.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from schemas.definition_codec import DefinitionCodec
from schemas.definitions import Definition, Text, counts_alike
from schemas.errors import InvalidRequest
from schemas.operators.spec import OperatorSpec, ResultTopic
from schemas.renames import RenamedField, member
from schemas.rules import (
    MAX_LEAVES,
    SET,
    SET_ONCE,
    EventSequence,
    Performed,
    Predicted,
    Rule,
    Seen,
    check_rule,
    conditions,
    event_filters,
    forms,
    holds_without_events,
    parts,
    predictions,
    references,
    resolve,
)
from schemas.time.calendar import find_zone

__all__ = [
    "MAX_LEAVES",
    "SEGMENT",
    "SET",
    "SET_ONCE",
    "EventSequence",
    "Performed",
    "Predicted",
    "Rule",
    "Seen",
    "Segment",
    "SegmentDefinition",
    "asking_for",
    "check_rule",
    "conditions",
    "decode",
    "decode_segment",
    "encode",
    "event_filters",
    "forms",
    "holds_without_events",
    "parts",
    "predictions",
    "references",
    "resolve",
]

MAX_SEGMENTS_PER_PROJECT: Final = 200


class Segment(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """A segment (a dynamic group of persons): those for whom `rule` holds now.

    Persons enter and leave with an event, or as time passes. The time is the project's own: that of
    its latest event, which also advances while there are no events; an event dated ahead of it
    counts at once. The order in which events arrive makes no difference to who is in a segment; a
    `sequence` counts those that arrive later than the allowed lateness some seconds later. Of the
    scores that the rule may ask for, the one that came last counts.

    How many enter and leave is counted by days of `timezone`. A segment that names none when it is
    created or replaced has its project's.
    """

    rule: Rule
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    name: Text = ""
    description: Text = ""


class SegmentDefinition(Definition, frozen=True, kw_only=True):
    """A segment on the definitions topic; `rule` is its own with all references resolved."""

    KIND = "segment"

    segment: Segment
    rule: Rule


def asking_for(segments: Iterable[SegmentDefinition], prediction: str) -> list[str]:
    """Return the segments whose own rules ask for the scores of a prediction, by id."""
    return sorted(
        segment.id
        for segment in segments
        if prediction in {name for name, _ in predictions(segment.segment.rule, "rule")}
    )


def decode_segment(body: bytes) -> Segment:
    """Decode a segment from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    return _CODEC.read_request(body)


def encode(definition: SegmentDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return _CODEC.encode(definition)


def decode(value: bytes) -> SegmentDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a segment.
    """
    return _CODEC.decode(value)


def _check_own(segment: Segment) -> None:
    check_rule(segment.rule, "rule")
    find_zone(segment.timezone)


def _check_stored(definition: SegmentDefinition) -> None:
    check_rule(definition.segment.rule, "segment.rule")
    find_zone(definition.segment.timezone)
    check_rule(definition.rule, "rule")
    if references(definition.rule, "rule"):
        raise InvalidRequest("must not refer to another segment", "rule")


def _find_renamed(segment: Any) -> Iterator[RenamedField]:
    """Find the names of earlier versions in the rule, from its root to its leaves."""
    rules = [(member(segment, "rule"), "rule")]
    for rule, path in rules:  # grows while it is walked
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


def _counts_alike(before: SegmentDefinition, after: SegmentDefinition) -> bool:
    same_days = before.segment.timezone == after.segment.timezone
    return same_days and counts_alike(before.rule, after.rule)


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
