"""A definition that cannot be evaluated: its published figures stay, with the reason."""

from collections.abc import Iterator
from typing import Never

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.constants import TOTAL
from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import FoldResult
from pipelines.engine.stateless import Stateless
from pipelines.matching.match import Key, Masks, Values
from schemas.definitions import Definition


class _NoState(Stateless):
    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
    ) -> FoldResult[Never]:
        """Raise: nothing is counted."""
        del persons, slots, at, masks, offsets, values
        raise AssertionError("a failed definition is given no events")


class _NoAggregates:
    def __iter__(self) -> Iterator[int]:
        """Yield nothing."""
        return iter(())

    def succeed(self, before: "_NoAggregates") -> None:
        """Do nothing: nothing is counted."""

    def apply(self, changes: Never) -> set[int]:
        """Raise: nothing is counted."""
        raise AssertionError(f"a failed definition changes nothing: {changes}")


class FailedInstance(OperatorInstance[Definition, Never]):
    """In place of the operator's instance, if that cannot be made or the definition cannot be read.

    Attributes:
        record_keys: the keys of its published aggregates.
        counted: it has counted before, so that it cannot begin as a new one would.
        unreadable: its definition cannot be read.
    """

    def __init__(self, key: Key, reason: str, *, unreadable: bool = False) -> None:
        self.key = key
        self.tag = np.uint64(0)  # that of no definition: its rows are let go
        self._begin()
        self.state: _NoState = _NoState()
        self.aggregates: _NoAggregates = _NoAggregates()
        self.record_keys: set[bytes] = set()
        self.counted = False
        self.unreadable = unreadable
        self.failed = reason
        self.unpublished.add(TOTAL)
