"""Whether a segment's rule holds of a person's cells, and how long that lasts."""

import numpy as np

from pipelines.columnar.jit import Int, Int64s, Struct, kernel
from pipelines.engine.constants import FOREVER, NEVER
from pipelines.operators.segment.columns import CompiledRule
from pipelines.operators.segment.program import (
    AFTER,
    AND,
    AT_LEAST,
    BEFORE,
    NOT,
    NOT_WITHIN,
    OR,
    WITHIN,
)


@kernel
def evaluate(rule: CompiledRule, cells: Int64s, now: Int) -> tuple[Int, Int]:
    """Return whether the rule holds at `now` (0 or 1), and when that may change at the earliest."""
    code, values, untils = rule.code, rule.values, rule.untils
    top = 0
    for i in range(len(code)):
        op = code[i].op
        if op == NOT:
            values[top - 1] = 1 - values[top - 1]
            continue
        if op in (AND, OR):
            top -= code[i].number
            value, until = _combine(values, untils, top, code[i].number, np.int64(op == OR))
        else:
            value, until = _test(code[i], cells, now)
        values[top] = value
        untils[top] = until
        top += 1
    return values[0], untils[0]


@kernel
def _combine(
    values: Int64s, untils: Int64s, begin: Int, count: Int, decisive: Int
) -> tuple[Int, Int]:
    """Combine operands from `begin` on: as long as one is `decisive` (0 for AND), so is all."""
    decided = False
    longest: Int = np.int64(NEVER)
    shortest: Int = np.int64(FOREVER)
    for i in range(begin, begin + count):
        if values[i] == decisive:
            decided = True
            longest = max(longest, untils[i])
        else:
            shortest = min(shortest, untils[i])
    if decided:
        return decisive, longest
    return 1 - decisive, shortest


@kernel
def _test(instruction: Struct, cells: Int64s, now: Int) -> tuple[Int, Int]:
    op, c, number = instruction.op, instruction.cell, instruction.number
    forever = np.int64(FOREVER)
    time = cells[c]
    if op == AT_LEAST:
        return np.int64(time >= number), forever
    if op in (BEFORE, AFTER, WITHIN, NOT_WITHIN):
        if time in (NEVER, FOREVER):
            return np.int64(0), forever
        if op == BEFORE:
            return np.int64(time < number), forever
        if op == AFTER:
            return np.int64(time > number), forever
        outside_at = time + number + 1  # the first time that is not within
        if now < outside_at:
            return np.int64(op == WITHIN), outside_at
        return np.int64(op == NOT_WITHIN), forever
    # PROPERTY: what was set last, or else first set once, or else the verdict on no value.
    if time != NEVER:
        return cells[c + 1], forever
    if cells[c + 2] != FOREVER:
        return cells[c + 3], forever
    return number, forever
