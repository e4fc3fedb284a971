"""Compile a segment's rule into a program."""

from collections.abc import Sequence

import msgspec
import numpy as np

from pipelines.engine.constants import FOREVER, NEVER
from pipelines.matching.conditions import compile_conditions
from pipelines.matching.selectors import HasObject
from pipelines.operators.segment.program import (
    AFTER,
    AND,
    AT_LEAST,
    BEFORE,
    COMPLETED,
    COUNT,
    EARLIEST,
    INSTRUCTION,
    LATEST,
    NOT,
    NOT_WITHIN,
    OR,
    PROPERTY,
    PROPERTY_SET,
    PROPERTY_SET_ONCE,
    REGISTER,
    WITHIN,
    Program,
    PropertyTest,
    StepSequence,
)
from schemas.conditions import Condition
from schemas.event_filter import EventFilter, EventSelector
from schemas.operators.segment import (
    SET,
    EventSequence,
    Performed,
    Predicted,
    Rule,
    Seen,
    holds_without_events,
)
from schemas.score_order import LOWEST, NO_SCORE, ordered
from schemas.time.rfc3339 import read_time


def compile_rule(rule: Rule) -> Program:
    """Compile a rule whose references are resolved."""
    compiler = _Compiler()
    compiler.add_rule(rule)
    return compiler.program(any_event=holds_without_events(rule))


class _Compiler:
    def __init__(self) -> None:
        self._selectors: list[EventSelector] = []
        self._places: dict[bytes, int] = {}  # of selectors, by their JSON
        self._registers: list[tuple[int, int, int, int]] = []
        self._blank: list[int] = []
        self._code: list[tuple[int, int, int]] = []
        self._property_tests: list[PropertyTest] = []
        self._sequences: list[StepSequence] = []
        self._scores: dict[str, int] = {}
        self._operands = 0
        self._depth = 0

    def program(self, *, any_event: bool) -> Program:
        sets_properties = 0
        if self._property_tests:
            sets_properties = 1 << len(self._selectors)
            self._selectors.append(HasObject(SET))  # "$set" is how "$set_once" begins, too
        if any_event:
            self._selector(EventFilter())
        return Program(
            self._selectors,
            np.array(self._registers, REGISTER),
            np.array(self._code, INSTRUCTION),
            np.array(self._blank, np.int64),
            self._property_tests,
            self._sequences,
            sets_properties,
            self._depth,
            self._scores,
        )

    def add_rule(self, rule: Rule) -> None:
        if rule.and_ or rule.or_:
            inner = rule.and_ or rule.or_
            for operand in inner:
                self.add_rule(operand)
            self._emit_combination(AND if rule.and_ else OR, len(inner))
        elif rule.not_ is not None:
            self.add_rule(rule.not_)
            self._emit(NOT)
        elif rule.performed is not None:
            self._add_performed(rule.performed)
        elif rule.sequence is not None:
            self._add_sequence(rule.sequence)
        elif rule.predicted is not None:
            self._add_predicted(rule.predicted)
        elif rule.person:
            self._add_conditions(AND, rule.person)
        elif rule.first_seen is not None:
            self._add_seen(rule.first_seen, EARLIEST, FOREVER)
        else:
            assert rule.last_seen is not None, "references are resolved, and forms checked"
            self._add_seen(rule.last_seen, LATEST, NEVER)

    def _add_performed(self, performed: Performed) -> None:
        least, most = performed.at_least, performed.at_most
        if performed.exactly is not None:
            least = most = performed.exactly
        elif most is None and least is None:
            least = 1
        times = least or 0 if most is None else most + 1  # more make no difference
        selector = self._selector(EventFilter(performed.event, performed.where))
        if performed.within_s is None:
            cell = self._add_register(COUNT, selector, [0])
        else:
            cell = self._add_register(LATEST, selector, [NEVER] * times)
        if most is not None:
            self._emit_at_least(cell, most + 1, performed.within_s)
            self._emit(NOT)
        if least:
            self._emit_at_least(cell, least, performed.within_s)
        if most is not None and least:
            self._emit_combination(AND, 2)

    def _emit_at_least(self, cell: int, times: int, within_s: int | None) -> None:
        if within_s is None:
            self._emit(AT_LEAST, cell, times)
        else:
            self._emit(WITHIN, cell + times - 1, 1_000 * within_s)

    def _add_seen(self, seen: Seen, kind: int, never: int) -> None:
        selector = self._selector(EventFilter(seen.event, seen.where))
        cell = self._add_register(kind, selector, [never])
        if seen.before is not None or seen.after is not None:
            at = read_time(seen.before or seen.after or "")
            assert at is not None, "a definition with another text is refused"
            self._emit(AFTER if seen.before is None else BEFORE, cell, at)
        elif seen.within_s is not None:
            self._emit(WITHIN, cell, 1_000 * seen.within_s)
        else:
            self._emit(NOT_WITHIN, cell, 1_000 * (seen.not_within_s or 0))

    def _add_sequence(self, sequence: EventSequence) -> None:
        bits = tuple(self._selector(step) for step in sequence.steps)
        cell = self._add_register(COMPLETED, len(self._sequences), [0])
        self._sequences.append(StepSequence(bits, 1_000 * sequence.window_s))
        self._emit(AT_LEAST, cell, 1)

    def _add_predicted(self, predicted: Predicted) -> None:
        cell = self._scores.get(predicted.prediction)
        if cell is None:
            cell = self._scores[predicted.prediction] = len(self._blank)
            self._blank.append(NO_SCORE)
        least = LOWEST if predicted.at_least is None else ordered(predicted.at_least)
        self._emit(AT_LEAST, cell, least)
        if predicted.below is not None:
            self._emit(AT_LEAST, cell, ordered(predicted.below))
            self._emit(NOT)
            self._emit_combination(AND, 2)

    def _add_conditions(self, op: int, conditions: Sequence[Condition]) -> None:
        for condition in conditions:
            self._add_condition(condition)
        self._emit_combination(op, len(conditions))

    def _add_condition(self, condition: Condition) -> None:
        if condition.and_:
            self._add_conditions(AND, condition.and_)
        elif condition.or_:
            self._add_conditions(OR, condition.or_)
        elif condition.not_ is not None:
            self._add_condition(condition.not_)
            self._emit(NOT)
        else:
            test = compile_conditions([condition])
            verdicts = 2 * len(self._property_tests)
            self._property_tests.append(PropertyTest(condition.property, test))
            cell = self._add_register(PROPERTY_SET, verdicts, [NEVER, 0])
            self._add_register(PROPERTY_SET_ONCE, verdicts + 1, [FOREVER, 0])
            self._emit(PROPERTY, cell, int(test({})))

    def _selector(self, selector: EventFilter) -> int:
        """Return the place of a selector, and add it if it is new."""
        place = self._places.setdefault(msgspec.json.encode(selector), len(self._selectors))
        if place == len(self._selectors):
            self._selectors.append(selector)
        return place

    def _add_register(self, kind: int, source: int, blank: list[int]) -> int:
        """Add a register with its cells; return the first of these."""
        cell = len(self._blank)
        self._registers.append((kind, source, cell, len(blank)))
        self._blank += blank
        return cell

    def _emit_combination(self, op: int, count: int) -> None:
        if count > 1:
            self._emit(op, 0, count)
            self._operands -= count

    def _emit(self, op: int, cell: int = 0, number: int = 0) -> None:
        self._code.append((op, cell, number))
        if op != NOT:
            self._operands += 1
            self._depth = max(self._depth, self._operands)
