"""Rows of answers, for formats that are tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

# A row by the names of its columns.
Row = Mapping[str, Any]


def rows_of(structs: Sequence[msgspec.Struct]) -> list[Row]:
    """Return structs as rows."""
    return [msgspec.to_builtins(one) for one in structs]


def joined(structs: Sequence[msgspec.Struct], **lists: Sequence[Any]) -> Iterator[Row]:
    """Yield structs as rows, each with the item of that place in each list."""
    for place, row in enumerate(rows_of(structs)):
        yield {**row, **{name: items[place] for name, items in lists.items()}}
