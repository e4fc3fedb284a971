"""A funnel before and after a moment, at equal age: `GET …/funnels/{id}/compare`.

Persons who entered lately have had less time to convert than those who entered earlier, so the
plain figures of a funnel always seem to fall after a deploy. Here both groups have the same time:
a step counts only if it was reached within `age_s` of the entry, and only persons who entered at
least `age_s` ago are counted, over spans of equal length on both sides of the moment.
"""

import datetime
import math
from typing import Final, NamedTuple

import msgspec

from schemas.errors import InvalidRequest
from schemas.operators.funnel import FunnelDefinition
from schemas.sketches.durations import quantile
from services.query.clickhouse.events import Spans
from services.query.http.params import instant
from services.query.operators.funnel.aggregates import DayCounts, FunnelAggregates

MAX_SPAN_S: Final = 366 * 86_400
# The entry periods of the statement: before and after.
BEFORE, AFTER = 0, 1
FIRST: Final = datetime.date(1970, 1, 1)
LAST: Final = datetime.date(1970, 1, 2)


class Comparison(NamedTuple):
    """What is compared: spans of `span_s` on both sides of `at_ms`, at the age `age_s`."""

    at_ms: int
    span_s: int
    age_s: int

    @property
    def spans(self) -> Spans:
        """The two spans of entries."""
        return Spans(self.at_ms - 1_000 * self.span_s, 1_000 * self.span_s)

    @property
    def ends_ms(self) -> int:
        """The moment at which the last person counted has reached the age."""
        return self.at_ms + 1_000 * (self.span_s + self.age_s)


def choose(
    window_s: int, at_ms: int, now_ms: int, span_s: int | None, age_s: int | None
) -> Comparison:
    """Return what to compare, with the span and the age that a request leaves out.

    The age is the funnel's window, or half of the time since the moment if that is less; the span
    is the time that is left.

    Raises:
        InvalidRequest: not even a second on both sides can be compared yet; says what is accepted.
    """
    elapsed_s = (now_ms - at_ms) // 1_000
    if elapsed_s < 2:
        raise InvalidRequest("accepted is a moment at least 2 seconds ago", "at")
    if age_s is None:
        age_s = min(window_s, max(1, elapsed_s // 2 if span_s is None else elapsed_s - span_s))
    elif age_s > min(window_s, elapsed_s - 1):
        raise InvalidRequest(
            f"accepted are up to {min(window_s, elapsed_s - 1)}: the funnel's window, and less "
            "than the time since the moment",
            "age_s",
        )
    longest = min(elapsed_s - age_s, MAX_SPAN_S)
    if span_s is None:
        span_s = longest
    elif span_s > longest:
        raise InvalidRequest(
            f"accepted are up to {longest}, as nobody who entered later has reached the age of "
            f"{age_s} s",
            "span_s",
        )
    return Comparison(at_ms, span_s, age_s)


def at_age(definition: FunnelDefinition, age_s: int) -> FunnelDefinition:
    """Return the funnel that counts steps up to an age only, without a breakdown."""
    funnel = definition.funnel
    window_s = min(funnel.window_s, age_s)
    funnel = msgspec.structs.replace(funnel, window_s=window_s, breakdown=None)
    return msgspec.structs.replace(definition, funnel=funnel)


class ComparedGroup(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """The persons who entered from `from` to `to` (exclusive), and how far they got.

    `conversion` is the share of those who entered who reached each step; null if nobody entered.
    `median_ms` is the median time to the last step; null if nobody reached it.
    """

    from_: datetime.datetime
    to: datetime.datetime
    reached: list[int]
    conversion: list[float | None]
    median_ms: int | None


class ComparisonResponse(msgspec.Struct, frozen=True):
    """A funnel before and after the moment `at`: steps reached within `age_s` of the entry.

    `change` is the conversion after, less that before, for each step; null if either is. `p_value`
    is how likely a difference of the last step's conversion as large as this is if nothing had
    changed (two-sided test of two proportions); null without persons on both sides or without
    any difference that is possible. It is `incomplete` as long as events may still come.
    """

    at: datetime.datetime
    age_s: int
    span_s: int
    steps: list[str]
    before: ComparedGroup
    after: ComparedGroup
    change: list[float | None]
    p_value: float | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None
    incomplete: bool


def respond(
    definition: FunnelDefinition,
    asked: Comparison,
    counts: FunnelAggregates,
    complete_until: datetime.datetime | None,
) -> ComparisonResponse:
    """Return the response for what was counted in the spans."""
    steps = definition.funnel.steps
    span_ms, at = 1_000 * asked.span_s, asked.at_ms
    before = _group(counts.days.get(BEFORE), len(steps), at - span_ms, at)
    after = _group(counts.days.get(AFTER), len(steps), at, at + span_ms)
    pairs = zip(before.conversion, after.conversion, strict=True)
    complete = complete_until is not None and complete_until >= instant(asked.ends_ms)
    return ComparisonResponse(
        at=instant(at),
        age_s=asked.age_s,
        span_s=asked.span_s,
        steps=[step.event for step in steps],
        before=before,
        after=after,
        change=[None if b is None or a is None else a - b for b, a in pairs],
        p_value=p_value(before.reached, after.reached),
        positions=dict(sorted(counts.positions.items())),
        complete_until=complete_until,
        incomplete=not complete,
    )


def p_value(before: list[int], after: list[int]) -> float | None:
    """Return the two-sided p-value that the last step's conversion is equal in both groups."""
    entered, converted = before[0] + after[0], before[-1] + after[-1]
    if not before[0] or not after[0] or converted in {0, entered}:
        return None
    share = converted / entered
    error = math.sqrt(share * (1 - share) * (1 / before[0] + 1 / after[0]))
    return math.erfc(abs(after[-1] / after[0] - before[-1] / before[0]) / error / math.sqrt(2))


def _group(counts: DayCounts | None, steps: int, begin: int, end: int) -> ComparedGroup:
    reached = [0] * steps if counts is None else counts.reached
    median = None if counts is None else quantile(counts.times[-1], 0.5)
    return ComparedGroup(
        instant(begin),
        instant(end),
        reached,
        [count / reached[0] if reached[0] else None for count in reached],
        None if median is None else round(median),
    )
