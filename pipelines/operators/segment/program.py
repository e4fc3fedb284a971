"""A segment's rule compiled: what to keep of a person, and how to tell from it whether it holds.

What is kept are `cells`, so many int64 a person, each written by a register and read by the code:

    LATEST     the latest times of an occasion, the newest first
    EARLIEST   the earliest time of one
    COUNT      how many there were
    TOLD       the time of the newest `$set` of a property, and whether its condition held of it
    TOLD_ONCE  the time of the oldest `$set_once`, and the same
    PERFORMED  whether the steps were done in order

All of them are the same in whatever order events come, but that of equal times the last one to come
is told by `$set` and the first one by `$set_once`.

The code is the rule with its operators behind their operands. Of what it asks, only how long ago a
time is changes with time, and each does so once, so that a rule needs no look before the earliest
of those moments. `at most n` is not `at least n + 1`.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int64s
from pipelines.matching.conditions import Test, compile_conditions
from pipelines.matching.selectors import HasObject, ObjectMember
from schemas.conditions import Condition
from schemas.event_filter import EventFilter, EventSelector
from schemas.operators.segment import (
    SET,
    SET_ONCE,
    EventSequence,
    Performed,
    Rule,
    Seen,
    holds_without_events,
)
from schemas.time.rfc3339 import read_time

NEVER: Final = -(2**62)
FOREVER: Final = 2**62

LATEST, EARLIEST, COUNT, TOLD, TOLD_ONCE, PERFORMED = range(6)
REGISTER: Final = np.dtype(
    [
        ("kind", np.int64),
        ("source", np.int64),  # the bit of its look, or the column of what is told
        ("cell", np.int64),
        ("size", np.int64),
    ]
)

AND, OR, NOT, AT_LEAST, BEFORE, AFTER, WITHIN, LONGER_AGO, PERSON = range(9)
# `number` is how many operands there are, or what is compared with (ms); with PERSON, what holds of
# a property that is not set.
INSTRUCTION: Final = np.dtype([("op", np.int64), ("cell", np.int64), ("number", np.int64)])


class Told(NamedTuple):
    """A condition on a property of persons."""

    property: str
    test: Test


class Order(NamedTuple):
    """Steps to be done in order: the bits of their looks, and the window."""

    bits: tuple[int, ...]
    window_ms: int


class Program(NamedTuple):
    """What a rule comes down to; pure data but for the tests.

    `looks` are the occasions in the order of their bits, then one at what is said of persons, whose
    mask is `person_mask` (0 if there is none), and one at anything at all, where the rule holds of
    those who did nothing. `blank` are the cells of such a person.
    """

    selectors: list[EventSelector]
    registers: NDArray[Any]
    code: NDArray[Any]
    blank: Int64s
    told: list[Told]
    orders: list[Order]
    person_mask: int
    depth: int  # operands that wait at most

    @property
    def reads(self) -> list[ObjectMember]:
        """The members of events' properties whose values it is given: two for each of `told`."""
        return [ObjectMember(of, told.property) for told in self.told for of in (SET, SET_ONCE)]


def compile_rule(rule: Rule) -> Program:
    """Compile a rule without references."""
    compiler = _Compiler()
    compiler.rule(rule)
    return compiler.program(holds_without_events(rule))


class _Compiler:
    def __init__(self) -> None:
        self._looks: list[EventSelector] = []
        self._places: dict[bytes, int] = {}
        self._registers: list[tuple[int, int, int, int]] = []
        self._blank: list[int] = []
        self._code: list[tuple[int, int, int]] = []
        self._told: list[Told] = []
        self._orders: list[Order] = []
        self._waiting = 0
        self._depth = 0

    def program(self, everybody: bool) -> Program:
        person_mask = 0
        if self._told:
            person_mask = 1 << len(self._looks)
            self._looks.append(HasObject(SET))  # which is how $set_once begins, too
        if everybody:
            self._bit(EventFilter())
        return Program(
            self._looks,
            np.array(self._registers, REGISTER),
            np.array(self._code, INSTRUCTION),
            np.array(self._blank, np.int64),
            self._told,
            self._orders,
            person_mask,
            self._depth,
        )

    def rule(self, rule: Rule) -> None:
        if rule.and_ or rule.or_:
            inner = rule.and_ or rule.or_
            for one in inner:
                self.rule(one)
            self._several(AND if rule.and_ else OR, len(inner))
        elif rule.not_ is not None:
            self.rule(rule.not_)
            self._emit(NOT)
        elif rule.performed is not None:
            self._performed(rule.performed)
        elif rule.sequence is not None:
            self._sequence(rule.sequence)
        elif rule.person:
            self._conditions(AND, rule.person)
        elif rule.first_seen is not None:
            self._seen(rule.first_seen, EARLIEST, FOREVER)
        else:
            assert rule.last_seen is not None, "references are resolved, and forms checked"
            self._seen(rule.last_seen, LATEST, NEVER)

    def _performed(self, performed: Performed) -> None:
        least, most = performed.at_least, performed.at_most
        if performed.exactly is not None:
            least = most = performed.exactly
        elif most is None and least is None:
            least = 1
        times = least or 0 if most is None else most + 1  # that make a difference
        bit = self._bit(EventFilter(performed.event, performed.where))
        if performed.within_s is None:
            cell = self._cells(COUNT, bit, [0])
        else:
            cell = self._cells(LATEST, bit, [NEVER] * times)
        if most is not None:
            self._at_least(cell, most + 1, performed.within_s)
            self._emit(NOT)
        if least:
            self._at_least(cell, least, performed.within_s)
        if most is not None and least:
            self._several(AND, 2)

    def _at_least(self, cell: int, times: int, within_s: int | None) -> None:
        if within_s is None:
            self._emit(AT_LEAST, cell, times)
        else:
            self._emit(WITHIN, cell + times - 1, 1_000 * within_s)

    def _seen(self, seen: Seen, kind: int, never: int) -> None:
        cell = self._cells(kind, self._bit(EventFilter(seen.event, seen.where)), [never])
        if seen.before is not None or seen.after is not None:
            at = read_time(seen.before or seen.after or "")
            assert at is not None, "a definition with another text is refused"
            self._emit(AFTER if seen.before is None else BEFORE, cell, at)
        elif seen.within_s is not None:
            self._emit(WITHIN, cell, 1_000 * seen.within_s)
        else:
            self._emit(LONGER_AGO, cell, 1_000 * (seen.not_within_s or 0))

    def _sequence(self, sequence: EventSequence) -> None:
        bits = tuple(self._bit(step) for step in sequence.steps)
        cell = self._cells(PERFORMED, len(self._orders), [0])
        self._orders.append(Order(bits, 1_000 * sequence.window_s))
        self._emit(AT_LEAST, cell, 1)

    def _conditions(self, op: int, conditions: Sequence[Condition]) -> None:
        for condition in conditions:
            self._condition(condition)
        self._several(op, len(conditions))

    def _condition(self, condition: Condition) -> None:
        if condition.and_:
            self._conditions(AND, condition.and_)
        elif condition.or_:
            self._conditions(OR, condition.or_)
        elif condition.not_ is not None:
            self._condition(condition.not_)
            self._emit(NOT)
        else:
            test = compile_conditions([condition])
            place = 2 * len(self._told)
            self._told.append(Told(condition.property, test))
            cell = self._cells(TOLD, place, [NEVER, 0])
            self._cells(TOLD_ONCE, place + 1, [FOREVER, 0])
            self._emit(PERSON, cell, int(test({})))

    def _bit(self, occasion: EventFilter) -> int:
        """The place of an occasion among the looks, which has it once."""
        place = self._places.setdefault(msgspec.json.encode(occasion), len(self._looks))
        if place == len(self._looks):
            self._looks.append(occasion)
        return place

    def _cells(self, kind: int, source: int, blank: list[int]) -> int:
        """The first of some cells that a register writes."""
        cell = len(self._blank)
        self._registers.append((kind, source, cell, len(blank)))
        self._blank += blank
        return cell

    def _several(self, op: int, count: int) -> None:
        if count > 1:
            self._emit(op, 0, count)
            self._waiting -= count

    def _emit(self, op: int, cell: int = 0, number: int = 0) -> None:
        self._code.append((op, cell, number))
        if op != NOT:
            self._waiting += 1
            self._depth = max(self._depth, self._waiting)
