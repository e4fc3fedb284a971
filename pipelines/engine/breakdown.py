"""Values that figures are broken down by: the first to come are told apart, the rest is one."""

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.engine.operator import ChangeRecords
from pipelines.matching.value_hash import fingerprint
from schemas.value_tokens import to_json

MAX_VALUES: Final = 100
OTHER: Final = 0  # the place of all values that are not told apart
NOT_SET: Final = np.uint64(fingerprint([None]))


class ValuedChanges(NamedTuple):
    """What a batch changed, and the values that came with it: their tokens by fingerprint."""

    records: ChangeRecords
    tokens: Mapping[int, str] = {}


class BreakdownValues:
    """The first `MAX_VALUES` values to come, and not to be set: each has a place of its own."""

    def __init__(self) -> None:
        self._places = {int(NOT_SET): OTHER + 1}  # by fingerprint
        self.values: list[str | None] = [None, "null"]  # by place, in JSON

    def __len__(self) -> int:
        """How many places there are, that of all others included."""
        return len(self.values)

    def admit(self, tokens: Mapping[int, str]) -> bool:
        """Give values a place for as long as there are some; tokens by their fingerprints.

        Tells whether any was given. It has to be published then, counted or not: of what is folded
        again after a crash nothing is admitted.
        """
        known = len(self)
        for key, token in tokens.items():
            self._admit(key, to_json(token))
        return len(self) > known

    def load(self, value: str | None) -> int:
        """The place of a value that had one when it was published, in JSON."""
        if value is None:
            return OTHER
        key = fingerprint([json.loads(value)])
        self._admit(key, value)
        return self._places[key]

    def places(self, keys: UInt64s) -> Int64s:
        """The places of values, by their fingerprints."""
        unique, which = np.unique(keys, return_inverse=True)
        known = [self._places.get(key, OTHER) for key in unique.tolist()]
        return np.array(known, np.int64)[which]

    def _admit(self, key: int, value: str) -> None:
        if key not in self._places and len(self._places) <= MAX_VALUES:
            self._places[key] = len(self.values)
            self.values.append(value)
