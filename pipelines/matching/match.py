"""What matching finds in a batch for one definition: its events, and what it reads of them."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.dictionary import DictionaryColumn, Rows
from pipelines.columnar.jit import Int64s
from pipelines.matching.value_hash import ValueHashes

Masks: TypeAlias = NDArray[np.uint32]
# A column for each thing that a definition reads, in the order in which it names them:
# `ValueHashes` where it reads a `ValueHash`, otherwise the values, None where one is not set.
Values: TypeAlias = Sequence[DictionaryColumn | ValueHashes]


class DefinitionId(NamedTuple):
    """Names a definition, whatever its version."""

    operator: str
    project: str
    id: str


class Key(NamedTuple):
    """Names one version of one definition."""

    operator: str
    project: str
    id: str
    version: int

    @classmethod
    def parse(cls, name: str) -> "Key":
        """Return the key that has this `name`."""
        operator, project, id_, version = name.split("/")
        return cls(operator, project, id_, int(version))

    @property
    def definition(self) -> DefinitionId:
        """The definition that this is a version of."""
        return DefinitionId(self.operator, self.project, self.id)

    @property
    def name(self) -> str:
        """The name in the changelog: `operator/project/id/version`."""
        return "/".join(map(str, self))


class Match(NamedTuple):
    """The events of a batch that a definition selects.

    `rows` are their rows in the batch, ascending. Bit i of an event's mask is set if the
    definition's i-th selector selects it. `values` are the columns that the definition reads.
    """

    rows: Int64s
    masks: Masks
    values: Values = ()

    def cut(self, part: Rows) -> "Match":
        """Return a part of the events."""
        values = [column.cut(part) for column in self.values]
        return Match(self.rows[part], self.masks[part], values)


class Matches(NamedTuple):
    """The matches of each definition that selects any event of a batch.

    `failures` are the definitions that could not be matched.
    """

    matches: dict[Key, Match]
    failures: dict[Key, Exception]


def dictionary_column(column: DictionaryColumn | ValueHashes) -> DictionaryColumn:
    """Return a column of `Values` that holds values, typed as such."""
    assert isinstance(column, DictionaryColumn), "the definition reads a property"
    return column


def value_hashes(column: DictionaryColumn | ValueHashes) -> ValueHashes:
    """Return a column of `Values` that holds hashes, typed as such."""
    assert isinstance(column, ValueHashes), "the definition reads a `ValueHash`"
    return column
