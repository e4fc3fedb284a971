"""A dictionary-encoded column: each distinct value is stored, and computed with, once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import AnyArray, Int32s

Value: TypeAlias = Any  # of a property: whatever JSON can hold, narrowed by its reader

# Rows of a column: some after one another, those that a mask marks, or those at some places.
Rows: TypeAlias = slice | NDArray[np.bool_] | NDArray[np.integer[Any]]


class DictionaryColumn(NamedTuple):
    """The value of row i is `distinct[codes[i]]`.

    `distinct` may hold values that no row has, and equal values under several codes.
    """

    codes: Int32s
    distinct: Sequence[Value] | AnyArray

    @classmethod
    def of(cls, values: Iterable[Value]) -> "DictionaryColumn":
        """Return a column of these values, one code a row."""
        distinct = list(values)
        return cls(np.arange(len(distinct), dtype=np.int32), distinct)

    @classmethod
    def concat(cls, columns: Sequence["DictionaryColumn"]) -> "DictionaryColumn":
        """Return the rows of several columns, one after another."""
        distinct = [value for column in columns for value in column.distinct]
        begins = np.cumsum([0, *(len(column.distinct) for column in columns)])
        codes = [column.codes + begin for column, begin in zip(columns, begins, strict=False)]
        return cls(np.concatenate(codes).astype(np.int32), distinct)

    def cut(self, part: Rows) -> "DictionaryColumn":
        """Return some of the rows, over the same values."""
        return DictionaryColumn(self.codes[part], self.distinct)

    def compact(self) -> "DictionaryColumn":
        """Return the same rows over the values that they have, and over no others."""
        used, codes = np.unique(self.codes, return_inverse=True)
        distinct = [self.distinct[code] for code in used.tolist()]
        return DictionaryColumn(codes.astype(np.int32), distinct)

    def first_rows(self) -> list[int]:
        """Return the first row of each code that occurs, ascending."""
        count = len(self.codes)
        first = np.full(len(self.distinct), count)
        first[self.codes[::-1]] = np.arange(count - 1, -1, -1)
        rows: list[int] = np.sort(first[first < count]).tolist()
        return rows

    def each(self, of: Callable[[Value], Value], kind: type[np.generic]) -> AnyArray:
        """Return `of(value)` for each row as an array of `kind`; `of` is called once a code."""
        answers = np.zeros(len(self.distinct), kind)
        for code in self.codes[self.first_rows()].tolist():
            answers[code] = of(self.distinct[code])
        return answers[self.codes]

    def to_list(self) -> list[Value]:
        """Return the values, row by row."""
        return [self.distinct[code] for code in self.codes.tolist()]
