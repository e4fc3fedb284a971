"""The figures of one funnel with options in one partition: besides persons, chains and values."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from pipelines.fingerprints import fingerprint, to_json
from pipelines.funnel_chains import ALL, NOT_SET, VALUE
from pipelines.funnel_figures import FunnelFigures
from pipelines.funnel_fold import UNSET
from pipelines.kernel import Int64s
from pipelines.operators import TOTAL, Changes

MAX_VALUES: Final = 100
_OTHER: Final = 0


class ChainChanges(NamedTuple):
    """What a batch changed, and the values that came with it: their tokens by fingerprint."""

    records: Changes
    tokens: Mapping[int, str] = {}


class Counts(NamedTuple):
    """How many reached each step."""

    persons: Int64s
    chains: Int64s


class ChainFigures(FunnelFigures):
    """Persons and chains that reached each step, by entry day and in total; and of each value.

    The first `MAX_VALUES` values to come are told apart, and not to be set; the others are counted
    as one.
    """

    def __init__(self, steps: int, *, entries: bool) -> None:
        super().__init__(steps)
        self._counts_entries = entries
        self._entries: dict[int, Int64s] = {}
        self._values = {int(NOT_SET): "null"}  # by fingerprint, in JSON
        self._of_values: dict[int, dict[int, Counts]] = {}  # by day and fingerprint

    def apply(self, changes: ChainChanges) -> set[int]:
        """Add what changed; returns the days whose figures differ now."""
        for key, token in changes.tokens.items():
            self._admit(key, to_json(token))
        records = changes.records
        for day in np.unique(records["day"]).tolist():
            of_day = records[records["day"] == day]
            self._add_entries(day, of_day[of_day["scope"] == ALL])
            self._add_values(day, of_day[of_day["scope"] == VALUE])
        return super().apply(self.of_persons(changes)) | set(records["day"].tolist())

    def _admit(self, key: int, value: str) -> None:
        if key not in self._values and len(self._values) <= MAX_VALUES:
            self._values[key] = value

    def _add_entries(self, day: int, changes: Changes) -> None:
        if self._counts_entries:
            counts = self._entries.setdefault(day, np.zeros(self._steps, np.int64))
            np.add.at(counts, changes["step"], changes["entries"])

    def _add_values(self, day: int, changes: Changes) -> None:
        for key in np.unique(changes["value"]).tolist():
            own = changes[changes["value"] == key]
            counts = self._counts(day, key if key in self._values else _OTHER)
            steps, before, after = own["step"], own["before"], own["after"]
            np.add.at(counts.persons, steps[before == UNSET], 1)
            np.add.at(counts.persons, steps[after == UNSET], -1)
            np.add.at(counts.chains, steps, own["entries"])

    def _counts(self, day: int, key: int) -> Counts:
        nothing = Counts(np.zeros(self._steps, np.int64), np.zeros(self._steps, np.int64))
        return self._of_values.setdefault(day, {}).setdefault(key, nothing)

    def entries(self, day: int) -> list[int]:
        """Chains that reached each step; none where they are not counted."""
        if not self._counts_entries:
            return []
        counts = self._entries.get(day)
        return [0] * self._steps if counts is None else counts.tolist()

    def breakdown(self, day: int) -> list[dict[str, Any]]:
        """The figures of each value: in JSON, or None for all that are not told apart.

        Those of the total have all values that are told apart, counted or not.
        """
        if day == TOTAL:
            for key in self._values:
                self._counts(TOTAL, key)
        return [
            {
                "value": self._values.get(key),
                "reached": counts.persons.tolist(),
                "entries": counts.chains.tolist() if self._counts_entries else [],
            }
            for key, counts in self._of_values.get(day, {}).items()
            if day == TOTAL or counts.persons.any()
        ]

    @staticmethod
    def of_persons(changes: ChainChanges) -> Changes:
        """Those of the changes that tell of persons, and are to be announced."""
        return changes.records[changes.records["scope"] == ALL]

    def load(self, day: int, record: dict[str, Any]) -> None:
        """Take over figures as they were published."""
        super().load(day, record)
        if self._counts_entries:
            self._entries[day] = np.array(record["entries"], np.int64)
        for one in record["breakdown"]:
            key = _OTHER
            if one["value"] is not None:
                key = fingerprint([json.loads(one["value"])])
                self._values[key] = one["value"]
            counts = self._counts(day, key)
            counts.persons[:] = one["reached"]
            counts.chains[:] = one["entries"] or 0
