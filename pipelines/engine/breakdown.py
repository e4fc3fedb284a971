"""The values of a breakdown: the first 100 are tracked, the rest are grouped as `OTHER`."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.engine.operator import ChangeRecords
from pipelines.matching.value_hash import fingerprint
from schemas.value_tokens import to_json

MAX_VALUES: Final = 100
OTHER: Final = 0  # the place of all values that are not tracked
NOT_SET: Final = np.uint64(fingerprint([None]))


class ValuedChanges(NamedTuple):
    """What a batch changed, and the values of its events: their tokens by fingerprint."""

    records: ChangeRecords
    tokens: Mapping[int, str] = {}


class BreakdownValues:
    """The tracked values: the first `MAX_VALUES`, and that of a property that is not set."""

    def __init__(self) -> None:
        self._places = {int(NOT_SET): OTHER + 1}  # by fingerprint
        self.values: list[str | None] = [None, "null"]  # by place, in JSON

    def __len__(self) -> int:
        """Return the number of places, that of `OTHER` included."""
        return len(self.values)

    def admit(self, tokens: Mapping[int, str]) -> bool:
        """Track values as long as there are places; `tokens` are keyed by fingerprint.

        Returns whether a value was added. Then it must be published, counted or not: events that
        are processed again after a crash add no values.
        """
        known = len(self)
        for key, token in tokens.items():
            self._admit(key, to_json(token))
        return len(self) > known

    def succeed(self, before: "BreakdownValues") -> None:
        """Track the values that `before` tracks."""
        for value in before.values:
            self.load(value)

    def load(self, value: str | None) -> int:
        """Track a value (in JSON) that was tracked when it was published; return its place."""
        if value is None:
            return OTHER
        key = fingerprint([json.loads(value)])
        self._admit(key, value)
        return self._places[key]

    def places(self, keys: UInt64s) -> Int64s:
        """Return the places of values, given their fingerprints."""
        unique, which = np.unique(keys, return_inverse=True)
        known = [self._places.get(key, OTHER) for key in unique.tolist()]
        return np.array(known, np.int64)[which]

    def _admit(self, key: int, value: str) -> None:
        if key not in self._places and len(self._places) <= MAX_VALUES:
            self._places[key] = len(self.values)
            self.values.append(value)
