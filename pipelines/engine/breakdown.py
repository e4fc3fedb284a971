"""The values of a breakdown: those that are tracked, and all others together as `OTHER`.

Up to `MAX_VALUES` values are tracked, or as many as have `MAX_TEXT_BYTES`, and are exact. When a
value comes that finds no room, the persons of untracked values are counted by a frequent items
sketch: a value that turns out to be far more frequent than the least of the tracked ones takes its
place. Persons who were counted before remain in `OTHER`, and `error` says how many of one value
these are at most.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from datasketches import frequent_items_error_type, frequent_strings_sketch

from pipelines.columnar.jit import Int64s, UInt64s
from pipelines.engine.operator import ChangeRecords
from pipelines.matching.value_hash import fingerprint, fingerprint_of_tokens
from schemas.value_tokens import to_json, token_of_json

# Bounds the record of a period, with a count for each step or column of each value.
MAX_VALUES: Final = 1_000
MAX_TEXT_BYTES: Final = 200_000
OTHER: Final = 0  # the place of all values that are not tracked
NOT_SET: Final = np.uint64(fingerprint([None]))
_NULL: Final = OTHER + 1  # the place of `NOT_SET`, which is always tracked
_LG_COUNTED: Final = 10  # untracked values that are counted, as a power of two


class ValuedChanges(NamedTuple):
    """What a batch changed, and the values of its events: their tokens by fingerprint."""

    records: ChangeRecords
    tokens: Mapping[int, str] = {}


class BreakdownValues:
    """The tracked values, that of a property that is not set among them.

    Attributes:
        values: in JSON, by place.
        error: how many persons of one value are counted as `OTHER` at most; None if none are.
    """

    def __init__(self) -> None:
        self._places = {int(NOT_SET): _NULL}  # by fingerprint
        self._keys: list[int] = [0, int(NOT_SET)]  # by place
        self.values: list[str | None] = [None, "null"]
        self.error: int | None = None
        self._bytes = 0
        self._base = 0  # the error that was published before the sketch was made
        self._untracked: Any = None  # the sketch, by fingerprint

    def __len__(self) -> int:
        """Return the number of places, that of `OTHER` included."""
        return len(self.values)

    def admit(self, tokens: Mapping[int, str]) -> bool:
        """Track values as long as there is room; `tokens` are keyed by fingerprint.

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
        key = fingerprint_of_tokens([token_of_json(value)])
        self._admit(key, value)
        return self._places.get(key, OTHER)

    def load_error(self, error: int | None) -> None:
        """Continue with the error that was published."""
        self.error, self._base = error, error or 0

    def places(self, keys: UInt64s) -> Int64s:
        """Return the places of values, given their fingerprints."""
        unique, which = np.unique(keys, return_inverse=True)
        known = [self._places.get(key, OTHER) for key in unique.tolist()]
        return np.array(known, np.int64)[which]

    def count_untracked(self, persons: Mapping[int, int]) -> None:
        """Count persons of values that are not tracked, by fingerprint."""
        if self._untracked is None:
            self._untracked = frequent_strings_sketch(_LG_COUNTED)
        for key, count in persons.items():
            self._untracked.update(str(key), count)
        # A value that the sketch has forgotten came less often than the largest upper bound.
        every = frequent_items_error_type.NO_FALSE_NEGATIVES
        items = self._untracked.get_frequent_items(every, 0)
        most = max((upper for _, _, _, upper in items), default=0)
        self.error = max(self.error or 0, self._base + most)

    def untracked_persons(self, key: int) -> int:
        """Return how many persons of an untracked value were counted at least."""
        least: int = self._untracked.get_lower_bound(str(key))
        return least

    def replace(self, place: int, persons: int, key: int, value: str) -> bool:
        """Track a value in the place of another one, which had so many persons.

        Returns false if the new one finds no room.
        """
        gone, text = self._keys[place], self.values[place] or ""
        size = self._bytes + len(value.encode()) - len(text.encode())
        if size > MAX_TEXT_BYTES:
            return False
        del self._places[gone]
        self.count_untracked({gone: persons})
        self._places[key], self._keys[place], self.values[place] = place, key, value
        self._bytes = size
        return True

    def _admit(self, key: int, value: str) -> None:
        size = self._bytes + len(value.encode())
        has_room = len(self._places) <= MAX_VALUES and size <= MAX_TEXT_BYTES
        if key not in self._places and has_room:
            self._places[key] = len(self.values)
            self._keys.append(key)
            self.values.append(value)
            self._bytes = size
