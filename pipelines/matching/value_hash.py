"""Values of properties told apart: as text, and in 64 bits, the same as ClickHouse works them out.

The twin of `services/query/clickhouse/events.py`, which says the same in SQL; a test holds the two
together. Numbers are equal as doubles, text by its first 200 characters. Lists and objects count as
not set.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.dictionary import Grouped
from pipelines.columnar.jit import UInt64s

_LONGEST: Final = 200
_EXACT: Final = 2**53  # whole doubles below it are written as such


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """A column of rows of values: their fingerprints, and the tokens that these stand for."""

    numbers: UInt64s
    tokens: Grouped

    @classmethod
    def none(cls, count: int) -> "Fingerprints":
        """Of so many rows, of which nothing was read: 0 for each of them."""
        return cls(np.zeros(count, np.uint64), Grouped.of(()))

    def __len__(self) -> int:
        return len(self.numbers)

    def cut(self, part: slice | NDArray[np.bool_]) -> "Fingerprints":
        """Some of the rows."""
        return Fingerprints(self.numbers[part], self.tokens.cut(part))

    def told(self) -> dict[int, str]:
        """The tokens of its rows, which are of one value each, in the order in which they came."""
        codes = self.tokens.codes
        return {
            int(self.numbers[row]): self.tokens.distinct[codes[row]][0]
            for row in self.tokens.first_rows()
        }


def token(value: Any) -> str:
    """A value as text that equal values have in common; empty if it is not set."""
    match value:
        case str():
            return f"s{value[:_LONGEST]}"
        case bool():
            return "t" if value else "f"
        case int() | float():
            return f"n{struct.pack('>d', value + 0.0).hex()}"
    return ""


def fingerprint(values: Iterable[Any]) -> int:
    """The same 64 bits for equal values, in their order."""
    return fingerprint_of(map(token, values))


def fingerprints(columns: Sequence[Iterable[Any]]) -> Fingerprints:
    """The fingerprints of rows of values, column by column."""
    tokens = Grouped.of(map(tokens_of, zip(*columns, strict=True)))
    return Fingerprints(tokens.each(fingerprint_of, np.uint64), tokens)


def tokens_of(values: Iterable[Any]) -> tuple[str, ...]:
    """The tokens of some values."""
    return tuple(map(token, values))


def fingerprint_of(tokens: Iterable[str]) -> int:
    """The fingerprint of the values that tokens stand for."""
    digests = "".join(_md5(text).hexdigest().upper() for text in tokens)
    return int.from_bytes(_md5(digests).digest()[:8], "little")


def _md5(text: str) -> "hashlib._Hash":
    return hashlib.md5(text.encode(), usedforsecurity=False)


def to_json(value: str) -> str:
    """The value that a token stands for, as JSON."""
    match value[:1]:
        case "t":
            return "true"
        case "f":
            return "false"
        case "n":
            (number,) = struct.unpack(">d", bytes.fromhex(value[1:]))
            whole = number.is_integer() and abs(number) < _EXACT
            return json.dumps(int(number) if whole else number)
        case "s":
            return json.dumps(value[1:], ensure_ascii=False)
    return "null"
