"""What a person's events amount to: the outcomes of all their attempts, day by day.

There is one outcome per day on which attempts began, and one for all days (`TOTAL`); in a funnel
that is broken down by a property, one for each value on each day, and on all.

`evaluate` works outcomes out from all of a person's events, whenever these change. That is slower
than advancing every attempt, but late events and all options come for free.
"""

import numpy as np

from pipelines.columnar.jit import Int, Int64s, Struct, StructArray, kernel
from pipelines.engine.breakdown import NOT_SET
from pipelines.engine.constants import NEVER, NONE, TOTAL
from pipelines.engine.days import day_of
from pipelines.engine.row_kernels import CHANGES, take_place
from pipelines.operators.funnel.columns import (
    ALL,
    AT,
    CLOSED,
    COUNT,
    START,
    VALUE,
    FunnelColumns,
    Outcomes,
)
from pipelines.operators.funnel.rules import NOT_BROKEN_DOWN, Rules, run_attempt, starts_attempt


@kernel
def max_outcomes(rules: Rules, length: Int) -> Int:
    """Return how many outcomes a number of events may have."""
    return 1 + length if rules.attribution == NOT_BROKEN_DOWN else 1 + 3 * length


@kernel
def evaluate(
    rules: Rules,
    events: StructArray,
    begin: Int,
    end: Int,
    outcomes: Outcomes,
    reached: Int64s,
) -> Int:
    """Work out the outcomes of the events from `begin` to `end`, all of one person.

    Returns how many there are. The total is the first: in it, a step that was reached has the time
    0, and attempts of closed days are not counted.
    """
    found, numbers = outcomes.records, outcomes.numbers
    _clear(rules, outcomes, 0, TOTAL, ALL, NOT_SET)
    count = 1
    for i in range(begin, end):
        mask, day = np.int64(events[i].mask), day_of(rules.days, events[i].at)
        if events[i].at == CLOSED:
            value = events[i].value
            for step in range(rules.steps):
                reached[step] = 0 if (mask >> step) & 1 else NEVER
        elif starts_attempt(rules, mask):
            value, _ = run_attempt(rules, events, i, begin, end, reached)
        else:
            continue
        attempts = 0 if events[i].at == CLOSED else 1
        for scope in range(2 if rules.attribution != NOT_BROKEN_DOWN else 1):
            if attempts:
                o = find_outcome(found, count, day, scope, value)
                if o == count:
                    _clear(rules, outcomes, o, day, scope, value)
                    count += 1
                found[o].latest = events[i].at
                _add(rules, numbers[o], reached, events[i].at)
            o = find_outcome(found, count, TOTAL, scope, value) if scope == VALUE else 0
            if o == count:
                _clear(rules, outcomes, o, TOTAL, scope, value)
                count += 1
            _add_to_total(rules, numbers[o], reached, attempts)
    return count


@kernel
def find_outcome(found: StructArray, count: Int, day: Int, scope: Int, value: Int) -> Int:
    """Return the place of an outcome; `count`, which is the next place, if there is none."""
    for o in range(count - 1, -1, -1):
        if found[o].day != day or found[o].scope != scope:
            continue
        if scope == ALL or found[o].value == value:
            return o
    return count


@kernel
def _clear(rules: Rules, outcomes: Outcomes, o: Int, day: Int, scope: Int, value: Int) -> None:
    found, numbers = outcomes.records, outcomes.numbers
    found[o].day = day
    found[o].scope = scope
    found[o].value = value
    for step in range(rules.steps):
        numbers[o, AT, step] = numbers[o, START, step] = NEVER
        numbers[o, COUNT, step] = 0


@kernel
def _add(rules: Rules, numbers: Int64s, reached: Int64s, begin: Int) -> None:
    """Add an attempt to the numbers of its day."""
    for step in range(rules.steps):
        at = reached[step]
        if at == NEVER:
            continue
        numbers[COUNT, step] += 1
        if numbers[AT, step] == NEVER or at < numbers[AT, step]:
            numbers[AT, step] = at
            numbers[START, step] = begin
        elif at == numbers[AT, step]:
            numbers[START, step] = max(numbers[START, step], begin)


@kernel
def _add_to_total(rules: Rules, numbers: Int64s, reached: Int64s, attempts: Int) -> None:
    for step in range(rules.steps):
        if reached[step] != NEVER:
            numbers[AT, step] = numbers[START, step] = 0
            numbers[COUNT, step] += attempts


@kernel
def write_changes(
    rules: Rules, columns: FunnelColumns, row: Int, count_before: Int, count_after: Int
) -> None:
    """Write the differences between a row's outcomes before the batch and after it.

    A step that is not reached any more keeps the time at which it was reached.
    """
    before, before_numbers = columns.before.records, columns.before.numbers
    after, after_numbers = columns.after.records, columns.after.numbers
    for a in range(count_after):
        outcome = after[a]
        b = find_outcome(before, count_before, outcome.day, outcome.scope, outcome.value)
        for step in range(rules.steps):
            duration, attempts = NONE, np.int64(0)
            if b < count_before:
                duration = _duration(before_numbers[b], step)
                attempts = before_numbers[b, COUNT, step]
            now, more = _duration(after_numbers[a], step), after_numbers[a, COUNT, step] - attempts
            at = after_numbers[a, AT, step]
            if now == NONE and duration != NONE:
                at = before_numbers[b, AT, step]
            _write_change(rules, columns, row, outcome, step, duration, now, at, more)
    for b in range(count_before):
        outcome = before[b]
        a = find_outcome(after, count_after, outcome.day, outcome.scope, outcome.value)
        if a == count_after:
            for step in range(rules.steps):
                duration = _duration(before_numbers[b], step)
                at, less = before_numbers[b, AT, step], -before_numbers[b, COUNT, step]
                _write_change(rules, columns, row, outcome, step, duration, NONE, at, less)


@kernel
def _duration(numbers: Int64s, step: Int) -> Int:
    """Return how long the person took to a step, NONE if it was not reached."""
    return NONE if numbers[AT, step] == NEVER else numbers[AT, step] - numbers[START, step]


@kernel
def _write_change(
    rules: Rules,
    columns: FunnelColumns,
    row: Int,
    outcome: Struct,
    step: Int,
    before: Int,
    after: Int,
    at: Int,
    attempts: Int,
) -> None:
    if before == after and (attempts == 0 or not rules.entries):
        return
    changes = columns.changes
    i = take_place(columns.counters, CHANGES)
    changes[i].row = row
    changes[i].day = outcome.day
    changes[i].step = step
    changes[i].before = before
    changes[i].after = after
    changes[i].at = at
    changes[i].entries = attempts
    changes[i].value = outcome.value
    changes[i].scope = outcome.scope
