"""The headers of a batch of records, in one block of memory."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Self, TypeAlias

import numpy as np

from pipelines.columnar.jit import Bools, Bytes, Int32s

Headers: TypeAlias = list[tuple[str, str | bytes | None]]


class HeaderColumn(NamedTuple):
    """Record i has the headers `firsts[i]` to `firsts[i + 1]`, exclusive.

    The name of header h is `data[starts[2 * h]:starts[2 * h + 1]]`; its value follows up to
    `starts[2 * h + 2]`, and is None where `null_values[h]`.
    """

    firsts: Int32s
    starts: Int32s
    null_values: Bools
    data: Bytes

    @classmethod
    def of(cls, records: Sequence[Headers]) -> Self:
        """Copy the headers of records."""
        headers = [header for own in records for header in own]
        strings = [
            text.encode() if isinstance(text, str) else text or b""
            for header in headers
            for text in header
        ]
        return cls(
            np.cumsum([0, *map(len, records)], dtype=np.int32),
            np.cumsum([0, *map(len, strings)], dtype=np.int32),
            np.array([value is None for _, value in headers], np.bool_),
            np.frombuffer(b"".join(strings), np.uint8),
        )

    def of_record(self, row: int) -> Headers:
        """Return the headers of one record, in order. Bytes of a name that are no UTF-8 are `�`."""
        first, end = self.firsts[row : row + 2].tolist()
        strings = [
            self.data[begin:until].tobytes()
            for begin, until in pairwise(self.starts[2 * first : 2 * end + 1].tolist())
        ]
        return [
            (name.decode(errors="replace"), None if is_null else value)
            for name, value, is_null in zip(
                strings[::2], strings[1::2], self.null_values[first:end], strict=True
            )
        ]
