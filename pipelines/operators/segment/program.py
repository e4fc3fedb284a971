"""A compiled segment: what to keep of a person, and how to tell from it whether the rule holds.

A person has a number of int64 cells. Registers write them as events come, and the code reads them:

    LATEST             the times of the latest matching events, newest first
    EARLIEST           the time of the earliest one
    COUNT              how many there were
    PROPERTY_SET       the time of the newest `$set` of a property, and whether its condition held
    PROPERTY_SET_ONCE  the time of the oldest `$set_once`, and the same
    COMPLETED          whether a sequence was completed

Cells do not depend on the order in which events come, except at equal times: then `$set` keeps the
last event to come and `$set_once` the first.

A cell that no register writes has the person's newest score of a prediction, in the order of
`schemas.score_order`: it comes from `avila.predictions`, and from no event.

The code is the rule in postfix order. Only tests of how long ago something was change with time,
and each changes once, so a rule needs no evaluation before the earliest of those times. `at most n`
is `not at least n + 1`.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int64s, StructArray
from pipelines.matching.conditions import Test
from pipelines.matching.selectors import ObjectMember
from schemas.event_filter import EventSelector
from schemas.operators.segment import SET, SET_ONCE

LATEST, EARLIEST, COUNT, PROPERTY_SET, PROPERTY_SET_ONCE, COMPLETED = range(6)
REGISTER: Final = np.dtype(
    [
        ("kind", np.int64),
        ("source", np.int64),  # the place of its selector, of its verdicts, or of its sequence
        ("cell", np.int64),  # the first that it writes
        ("size", np.int64),  # how many cells it has
    ]
)

AND, OR, NOT, AT_LEAST, BEFORE, AFTER, WITHIN, NOT_WITHIN, PROPERTY = range(9)
# `number` is how many operands there are, or what is compared with (ms); with PROPERTY, the verdict
# on a property that is not set.
INSTRUCTION: Final = np.dtype([("op", np.int64), ("cell", np.int64), ("number", np.int64)])


class PropertyTest(NamedTuple):
    """A condition on a property of persons."""

    property: str
    test: Test


class StepSequence(NamedTuple):
    """Ordered steps to be completed: the places of their selectors, and the window."""

    bits: tuple[int, ...]
    window_ms: int


class Program(NamedTuple):
    """A compiled rule.

    Attributes:
        selectors: those of the rule, each once; then, if there are property tests, one for events
            that set properties; then, if the rule holds of persons without events, one for any.
        blank: the cells of a person without events.
        sets_properties: the bit of the selector for events that set properties, 0 without one.
        depth: how many operands wait at most.
        scores: the cells of the newest scores, by the ids of the predictions.
    """

    selectors: list[EventSelector]
    registers: StructArray
    code: StructArray
    blank: Int64s
    property_tests: list[PropertyTest]
    sequences: list[StepSequence]
    sets_properties: int
    depth: int
    scores: Mapping[str, int]

    @property
    def reads(self) -> list[ObjectMember]:
        """What is read of events: two members for each property test."""
        return [
            ObjectMember(of, test.property)
            for test in self.property_tests
            for of in (SET, SET_ONCE)
        ]
