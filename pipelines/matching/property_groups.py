"""The events of a batch in groups with the same relevant properties: each is evaluated once.

A function of an event's properties depends on a few of them. Events in which these are written the
same, byte by byte, are a group: one of them is parsed, and the function's result is that of all. An
event whose properties are not plain JSON (`pipelines.columnar.json_scan`) is a group by itself.
Groups are found when a function is evaluated, for all functions of the same properties.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.dictionary import DictionaryColumn, Value
from pipelines.columnar.jit import AnyArray, Int32s, Int64s, register_example
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.matching.conditions import parse_properties
from pipelines.matching.member_keys import MemberKeys

_UNKNOWN: Final = -1
_BLOCK: Final = 32  # names: finding them in a text takes eight bytes of memory for each


class PropertyFunction(NamedTuple):
    """A function of an event's parsed properties, which depends on those called `names` alone.

    Without names it depends on all of them. `kind` is the type of its results.
    """

    names: tuple[str, ...]
    call: Callable[[Mapping[str, Value]], object]
    kind: type[np.generic] = np.object_


class PropertyNames:
    """The names that functions depend on, in blocks: those of one function are in one of them."""

    def __init__(self, needed: Iterable[tuple[str, ...]]) -> None:
        blocks: list[dict[str, int]] = []  # the columns of names
        self._places: dict[tuple[str, ...], tuple[int, NDArray[np.intp]]] = {}
        for names in dict.fromkeys(needed):
            with_room = (n for n, of in enumerate(blocks) if len(of.keys() | set(names)) <= _BLOCK)
            number = next(with_room, len(blocks))
            if number == len(blocks):
                blocks.append({})
            block = blocks[number]
            columns = [block.setdefault(name, len(block)) for name in names]
            self._places[names] = number, np.array(columns, np.intp)
        self._blocks = [StringColumn.of(pa.array(list(block), pa.string())) for block in blocks]

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._blocks)

    def block(self, number: int) -> StringColumn:
        """Return the names in a block, in the order of their columns."""
        return self._blocks[number]

    def places(self, names: tuple[str, ...]) -> tuple[int, NDArray[np.intp]]:
        """Return the block that some names are in, and their columns there."""
        return self._places[names]


class Properties:
    """The properties of a batch; grouped, parsed and evaluated on demand, and only once.

    The names of every function must be among `names`.
    """

    def __init__(self, texts: ArrowColumn, names: PropertyNames) -> None:
        self._texts = texts
        self._names = names
        self._member_keys: dict[int, MemberKeys] = {}
        self._parsed: dict[int, Mapping[str, Value]] = {}
        self._groups: dict[tuple[str, ...], RowGroups | _SingleRows] = {}
        self._results: dict[PropertyFunction, _Results] = {}
        self._mention: dict[str, NDArray[np.bool_]] = {}

    def evaluate(self, function: PropertyFunction, rows: Int64s) -> AnyArray:
        """Return the function's results for some rows; a row must not be repeated."""
        codes, results = self.column(function, rows)
        column: AnyArray = np.asarray(results)[codes]
        return column

    def column(self, function: PropertyFunction, rows: Int64s) -> DictionaryColumn:
        """Return the same as `evaluate`, one distinct value a group."""
        names = function.names
        if names not in self._groups:
            self._groups[names] = self._group(names)
        groups = self._groups[names]
        codes = groups.codes(rows)
        results = self._results.setdefault(function, _Results(function.kind))
        unknown = results.unknown(codes, len(groups.samples))
        for code, properties in zip(unknown, self._parse(groups.samples[unknown]), strict=True):
            results.set(code, function.call(properties))
        return DictionaryColumn(codes, results.values)

    def _group(self, names: tuple[str, ...]) -> "RowGroups | _SingleRows":
        if not names:
            return _SingleRows(len(self._texts))
        number, columns = self._names.places(names)
        if number not in self._member_keys:
            texts = StringColumn.of(self._texts)
            self._member_keys[number] = MemberKeys(texts, self._names.block(number))
        member_keys = self._member_keys[number]

        def intern(index: KeyIndex, rows: Int64s) -> Int32s:
            keys, empty = member_keys.keys(columns, rows), StringColumn.empty(len(rows))
            return index.intern(keys, empty, np.arange(len(rows)))

        return RowGroups(len(self._texts), intern)

    def _parse(self, rows: Int64s) -> list[Mapping[str, Value]]:
        new = [row for row in rows.tolist() if row not in self._parsed]
        for row, text in zip(
            new, self._texts.take(pa.array(new, pa.int64())).to_pylist(), strict=True
        ):
            self._parsed[row] = parse_properties(text)
        return [self._parsed[row] for row in rows.tolist()]

    def mention(self, name: str) -> NDArray[np.bool_]:
        """Return whether each event may have a property of that name, which is ASCII text.

        False means that it has none.
        """
        found = self._mention.get(name)
        if found is None:
            # The name as it is, or escaped: the escapes of ASCII characters begin like this.
            mentions = (pc.match_substring(self._texts, text) for text in (name, "\\u00"))
            found = self._mention[name] = np.asarray(pc.or_(*mentions))
        return found


class RowGroups:
    """Groups of rows for which `intern` returns the same code; `samples` has one row of each."""

    def __init__(self, count: int, intern: Callable[[KeyIndex, Int64s], Int32s]) -> None:
        self.samples: Int64s = np.empty(0, np.int64)
        self._intern = intern
        self._index = KeyIndex()
        self._codes = np.full(count, _UNKNOWN, np.int32)

    def codes(self, rows: Int64s) -> Int32s:
        """Return the groups of some rows, numbered in the order in which they came."""
        unknown = rows[self._codes[rows] == _UNKNOWN]
        if len(unknown):
            known = len(self._index)
            codes = self._intern(self._index, unknown)
            self._codes[unknown] = codes
            new = codes >= known
            samples = np.empty(len(self._index) - known, np.int64)
            samples[codes[new] - known] = unknown[new]
            self.samples = np.concatenate([self.samples, samples])
        return self._codes[rows]


class _SingleRows:
    """Rows that are groups by themselves."""

    def __init__(self, count: int) -> None:
        self.samples: Int64s = np.arange(count)

    def codes(self, rows: Int64s) -> Int32s:
        """Return the numbers of the rows."""
        return rows.astype(np.int32)


class _Results:
    """The results of a function, by group."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.values: AnyArray = np.empty(0, kind)
        self._known = np.zeros(0, np.bool_)

    def unknown(self, codes: Int32s, groups: int) -> list[int]:
        """Make room for all groups; return those of `codes` without a result."""
        more = groups - len(self._known)
        if more:
            self.values = np.concatenate([self.values, np.zeros(more, self.values.dtype)])
            self._known = np.concatenate([self._known, np.zeros(more, np.bool_)])
        unknown: list[int] = np.unique(codes[~self._known[codes]]).tolist()
        return unknown

    def set(self, code: int, result: object) -> None:
        """Set the result of a group."""
        self.values[code] = result
        self._known[code] = True


@register_example
def precompile() -> None:
    """Compile all kernels."""
    names = ("a",)
    properties = Properties(pa.array(['{"a":1}']), PropertyNames([names]))
    properties.evaluate(PropertyFunction(names, lambda _: None), np.zeros(1, np.int64))
