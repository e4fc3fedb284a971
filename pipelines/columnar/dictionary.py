"""A column of values of which many are the same, and what is made of it: once for each of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int32s


class DictionaryColumn(NamedTuple):
    """The value of row i is `distinct[codes[i]]`; some of `distinct` may be that of no row.

    Values that are equal may have codes of their own.
    """

    codes: Int32s
    distinct: Sequence[Any] | NDArray[Any]

    @classmethod
    def of(cls, values: Iterable[Any]) -> "DictionaryColumn":
        """A column of some values, each with a code of its own."""
        distinct = list(values)
        return cls(np.arange(len(distinct), dtype=np.int32), distinct)

    def cut(self, part: slice | NDArray[np.bool_]) -> "DictionaryColumn":
        """Some of the rows."""
        return DictionaryColumn(self.codes[part], self.distinct)

    def first_rows(self) -> list[int]:
        """The first row of each code that there is."""
        count = len(self.codes)
        first = np.full(len(self.distinct), count)
        first[self.codes[::-1]] = np.arange(count - 1, -1, -1)
        rows: list[int] = np.sort(first[first < count]).tolist()
        return rows

    def each(self, of: Callable[[Any], Any], kind: type[np.generic]) -> NDArray[Any]:
        """What `of` makes of each row's value, as an array of that kind."""
        answers = np.zeros(len(self.distinct), kind)
        for code in self.codes[self.first_rows()].tolist():
            answers[code] = of(self.distinct[code])
        return answers[self.codes]

    def to_list(self) -> list[Any]:
        """The values, row by row."""
        return [self.distinct[code] for code in self.codes.tolist()]
