"""Hashes of property values: 64 bits, the same in the worker and in ClickHouse.

`services/query/clickhouse/events.py` computes the same in SQL; a test compares the two. Values are
equal if their tokens are (`schemas.value_tokens`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.columnar.dictionary import DictionaryColumn, Rows, Value
from pipelines.columnar.jit import UInt64s
from schemas.value_tokens import token, tokens_of


@dataclass(frozen=True, slots=True)
class ValueHashes:
    """A column of hashes, one a row: `numbers` are the hashes, `tokens` stand for their values."""

    numbers: UInt64s
    tokens: DictionaryColumn

    @classmethod
    def none(cls, count: int) -> "ValueHashes":
        """Return a column for `count` rows of which nothing is read: 0 for each."""
        return cls(np.zeros(count, np.uint64), DictionaryColumn.of(()))

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def concat(cls, columns: Sequence["ValueHashes"]) -> "ValueHashes":
        """Return the rows of several columns, one after another."""
        numbers = np.concatenate([column.numbers for column in columns])
        return cls(numbers, DictionaryColumn.concat([column.tokens for column in columns]))

    def cut(self, part: Rows) -> "ValueHashes":
        """Return some of the rows."""
        return ValueHashes(self.numbers[part], self.tokens.cut(part))

    def compact(self) -> "ValueHashes":
        """Return the same rows, holding no tokens of others."""
        return ValueHashes(self.numbers, self.tokens.compact())

    def tokens_by_number(self) -> dict[int, str]:
        """Return the token for each hash, in order of appearance; each row must be of one value."""
        codes = self.tokens.codes
        return {
            int(self.numbers[row]): self.tokens.distinct[codes[row]][0]
            for row in self.tokens.first_rows()
        }


def fingerprint(values: Iterable[Value]) -> int:
    """Return the hash of a sequence of values; equal values have equal hashes."""
    return fingerprint_of_tokens(map(token, values))


def fingerprints(columns: Sequence[Iterable[Value]]) -> ValueHashes:
    """Return the hashes of rows of values, given as columns."""
    tokens = DictionaryColumn.of(map(tokens_of, zip(*columns, strict=True)))
    return ValueHashes(tokens.each(fingerprint_of_tokens, np.uint64), tokens)


def fingerprint_of_tokens(tokens: Iterable[str]) -> int:
    """Return the hash of the values that tokens stand for."""
    digests = "".join(_md5(text).hexdigest().upper() for text in tokens)
    return int.from_bytes(_md5(digests).digest()[:8], "little")


def _md5(text: str) -> "hashlib._Hash":
    return hashlib.md5(text.encode(), usedforsecurity=False)
