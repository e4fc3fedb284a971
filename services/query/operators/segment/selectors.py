"""Which events a segment's rule looks at."""

from collections.abc import Sequence

from schemas.event_filter import EventFilter
from schemas.operators.segment import Rule


def selectors_of(rule: Rule) -> Sequence[EventFilter] | None:
    """Return what selects the events that a rule looks at; None if it looks at all.

    A rule on properties of the person looks at all events, for each may set them.
    """
    if rule.and_ or rule.or_:
        found = [selectors_of(inner) for inner in (*rule.and_, *rule.or_)]
        return None if None in found else [one for some in found for one in some or ()]
    if rule.not_ is not None:
        return selectors_of(rule.not_)
    if rule.performed is not None:
        return [EventFilter(rule.performed.event, rule.performed.where)]
    if rule.sequence is not None:
        return rule.sequence.steps
    seen = rule.first_seen or rule.last_seen
    return None if seen is None else [EventFilter(seen.event, seen.where)]
