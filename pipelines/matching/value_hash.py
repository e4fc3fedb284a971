"""Values of properties told apart: as text, and in 64 bits, the same as ClickHouse works them out.

The twin of `services/query/clickhouse/events.py`, which says the same in SQL; a test holds the two
together. Numbers are equal as doubles, text by its first 200 characters. Lists and objects count as
not set.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.columnar.jit import UInt64s
from schemas.value_tokens import token, tokens_of


@dataclass(frozen=True, slots=True)
class ValueHashes:
    """A column of rows of values: their fingerprints, and the tokens that these stand for."""

    numbers: UInt64s
    tokens: DictionaryColumn

    @classmethod
    def none(cls, count: int) -> "ValueHashes":
        """Of so many rows, of which nothing was read: 0 for each of them."""
        return cls(np.zeros(count, np.uint64), DictionaryColumn.of(()))

    def __len__(self) -> int:
        return len(self.numbers)

    def cut(self, part: slice | NDArray[np.bool_]) -> "ValueHashes":
        """Some of the rows."""
        return ValueHashes(self.numbers[part], self.tokens.cut(part))

    def told(self) -> dict[int, str]:
        """The tokens of its rows, which are of one value each, in the order in which they came."""
        codes = self.tokens.codes
        return {
            int(self.numbers[row]): self.tokens.distinct[codes[row]][0]
            for row in self.tokens.first_rows()
        }


def fingerprint(values: Iterable[Any]) -> int:
    """The same 64 bits for equal values, in their order."""
    return fingerprint_of(map(token, values))


def fingerprints(columns: Sequence[Iterable[Any]]) -> ValueHashes:
    """The fingerprints of rows of values, column by column."""
    tokens = DictionaryColumn.of(map(tokens_of, zip(*columns, strict=True)))
    return ValueHashes(tokens.each(fingerprint_of, np.uint64), tokens)


def fingerprint_of(tokens: Iterable[str]) -> int:
    """The fingerprint of the values that tokens stand for."""
    digests = "".join(_md5(text).hexdigest().upper() for text in tokens)
    return int.from_bytes(_md5(digests).digest()[:8], "little")


def _md5(text: str) -> "hashlib._Hash":
    return hashlib.md5(text.encode(), usedforsecurity=False)
