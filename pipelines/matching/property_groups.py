"""The events of a batch in groups of which the same can be said: it is worked out once a group.

What a question makes of an event depends on a few of its properties. Events in which these are
written alike, byte by byte, are a group: one of them is parsed and asked, and its answer is that of
all. An event whose properties are not plain JSON (`pipelines.columnar.json_scan`) is a group by
itself. Groups are found where a question is asked, and for all that ask of the same properties;
where these are in a text is found once, for up to a block of names at a time.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.columnar.jit import Bytes, Int, Int32s, Int64s, kernel, register_example
from pipelines.columnar.json_scan import NOT_PLAIN, find_members
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.memcpy import copy
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.matching.conditions import parse_properties

_UNKNOWN: Final = -1
_BLOCK: Final = 32  # names: what is found of a text takes eight bytes for each
# How a text was found to be.
_NOT_LOOKED_AT, _PLAIN, _ALONE = range(3)
# Neither is in a value as it is written: what ends one, and what says that a row's number follows.
_END: Final = 0
_ROW: Final = 1


class Question(NamedTuple):
    """Something to ask of an event's properties, which depends on those called `names` alone.

    Without names it depends on all of them. `kind` is that of the answers.
    """

    names: tuple[str, ...]
    ask: Callable[[Mapping[str, Any]], Any]
    kind: type[np.generic] = np.object_


class PropertyNames:
    """The names that questions depend on, in blocks: those of one question are in one of them."""

    def __init__(self, asked: Iterable[tuple[str, ...]]) -> None:
        blocks: list[dict[str, int]] = []  # the columns of names
        self._places: dict[tuple[str, ...], tuple[int, NDArray[np.intp]]] = {}
        for names in dict.fromkeys(asked):
            with_room = (n for n, of in enumerate(blocks) if len(of.keys() | set(names)) <= _BLOCK)
            number = next(with_room, len(blocks))
            if number == len(blocks):
                blocks.append({})
            block = blocks[number]
            columns = [block.setdefault(name, len(block)) for name in names]
            self._places[names] = number, np.array(columns, np.intp)
        self._blocks = [StringColumn.of(pa.array(list(block), pa.string())) for block in blocks]

    def __len__(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    def block(self, number: int) -> StringColumn:
        """The names in a block, in the order of their columns."""
        return self._blocks[number]

    def places(self, names: tuple[str, ...]) -> tuple[int, NDArray[np.intp]]:
        """The block that some names are in, and their columns there."""
        return self._places[names]


class Properties:
    """The properties of a batch: grouped, parsed and asked where that is asked for, and once.

    What may be asked depends on names that are `sought`.
    """

    def __init__(self, texts: ArrowColumn, sought: PropertyNames) -> None:
        self._texts = texts
        self._sought = sought
        self._found: dict[int, _Found] = {}
        self._parsed: dict[int, Mapping[str, Any]] = {}
        self._groups: dict[tuple[str, ...], Groups | _Each] = {}
        self._answers: dict[Question, _Answers] = {}
        self._holding: dict[str, NDArray[np.bool_]] = {}

    def ask(self, question: Question, rows: Int64s) -> NDArray[Any]:
        """The answers for some events, each row of the batch no more than once."""
        codes, answers = self.grouped(question, rows)
        column: NDArray[Any] = np.asarray(answers)[codes]
        return column

    def grouped(self, question: Question, rows: Int64s) -> DictionaryColumn:
        """As `ask`."""
        names = question.names
        if names not in self._groups:
            self._groups[names] = self._group(names)
        groups = self._groups[names]
        codes = groups.of(rows)
        known = self._answers.setdefault(question, _Answers(question.kind))
        unknown = known.unknown(codes, len(groups.samples))
        for code, properties in zip(unknown, self._parse(groups.samples[unknown]), strict=True):
            known.answers[code] = question.ask(properties)
        return DictionaryColumn(codes, known.answers)

    def _group(self, names: tuple[str, ...]) -> "Groups | _Each":
        if not names:
            return _Each(len(self._texts))
        number, columns = self._sought.places(names)
        if number not in self._found:
            texts = StringColumn.of(self._texts)
            self._found[number] = _Found(texts, self._sought.block(number))
        found = self._found[number]

        def intern(index: KeyIndex, rows: Int64s) -> Int32s:
            keys, empty = found.keys(columns, rows), StringColumn.empty(len(rows))
            return index.intern(keys, empty, np.arange(len(rows)))

        return Groups(len(self._texts), intern)

    def _parse(self, rows: Int64s) -> list[Mapping[str, Any]]:
        new = [row for row in rows.tolist() if row not in self._parsed]
        for row, text in zip(
            new, self._texts.take(pa.array(new, pa.int64())).to_pylist(), strict=True
        ):
            self._parsed[row] = parse_properties(text)
        return [self._parsed[row] for row in rows.tolist()]

    def holding(self, name: str) -> NDArray[np.bool_]:
        """Whether the events have a property of that name; some that have none are in."""
        found = self._holding.get(name)
        if found is None:
            # Escaped or not: what ASCII text is escaped as begins like this.
            mentions = (pc.match_substring(self._texts, text) for text in (name, "\\u00"))
            found = self._holding[name] = np.asarray(pc.or_(*mentions))
        return found


class Groups:
    """Rows by what `intern` takes for their key; `samples` has a row of each group."""

    def __init__(self, count: int, intern: Callable[[KeyIndex, Int64s], Int32s]) -> None:
        self.samples: Int64s = np.empty(0, np.int64)
        self._intern = intern
        self._index = KeyIndex()
        self._codes = np.full(count, _UNKNOWN, np.int32)

    def of(self, rows: Int64s) -> Int32s:
        """The groups of some rows, numbered in the order in which they came."""
        unknown = rows[self._codes[rows] == _UNKNOWN]
        if len(unknown):
            known = len(self._index)
            codes = self._intern(self._index, unknown)
            self._codes[unknown] = codes
            newly_dirty = codes >= known
            samples = np.empty(len(self._index) - known, np.int64)
            samples[codes[newly_dirty] - known] = unknown[newly_dirty]
            self.samples = np.concatenate([self.samples, samples])
        return self._codes[rows]


class _Each:
    """Rows that are groups by themselves."""

    def __init__(self, count: int) -> None:
        self.samples: Int64s = np.arange(count)

    def of(self, rows: Int64s) -> Int32s:
        """Their numbers."""
        return rows.astype(np.int32)


class _Answers:
    """What was answered, by the number of the group."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.answers: NDArray[Any] = np.empty(0, kind)
        self._known = np.zeros(0, np.bool_)

    def unknown(self, codes: Int32s, groups: int) -> list[int]:
        """Make room for all groups; returns those of `codes` of which the answer is to be found."""
        more = groups - len(self._known)
        if more:
            self.answers = np.concatenate([self.answers, np.zeros(more, self.answers.dtype)])
            self._known = np.concatenate([self._known, np.zeros(more, np.bool_)])
        unknown = np.unique(codes[~self._known[codes]])
        self._known[unknown] = True
        found: list[int] = unknown.tolist()
        return found


class _Found:
    """Where members of a block's names are in the texts of a batch: found where it is asked for."""

    def __init__(self, texts: StringColumn, names: StringColumn) -> None:
        count = len(texts.starts) - 1
        self._texts = texts
        self._names = names
        self._states = np.zeros(count, np.uint8)
        self._begins, self._sizes = np.empty((2, count, len(names.starts) - 1), np.int32)

    def keys(self, columns: NDArray[np.intp], rows: Int64s) -> StringColumn:
        """How the members in some columns are written: the same where they are written alike."""
        states, begins, sizes = self._states, self._begins, self._sizes
        length = _find(*self._texts, rows, *self._names, columns, states, begins, sizes)
        starts = np.zeros(len(rows) + 1, np.int32)
        data = np.empty(length, np.uint8)
        _write(self._texts.data, rows, columns, states, begins, sizes, starts, data)
        return StringColumn.locked(starts, data)


@register_example
def precompile() -> None:
    """Have every kernel compiled."""
    names = ("a",)
    properties = Properties(pa.array(['{"a":1}']), PropertyNames([names]))
    properties.ask(Question(names, lambda _: None), np.zeros(1, np.int64))


@kernel
def _find(
    starts: Int32s,
    data: Bytes,
    rows: Int64s,
    name_starts: Int32s,
    names: Bytes,
    columns: Int64s,
    states: Bytes,
    begins: Int32s,
    sizes: Int32s,
) -> Int:
    """Look at the rows that were not looked at; returns how much room the keys of all take."""
    length = np.int64(0)
    for row in rows:
        if states[row] == _NOT_LOOKED_AT:
            begin, end = np.int64(starts[row]), np.int64(starts[row + 1])
            found = find_members(data, begin, end, name_starts, names, begins[row], sizes[row])
            states[row] = _ALONE if found == NOT_PLAIN else _PLAIN
        if states[row] == _ALONE:
            length += 9
        else:
            for column in columns:
                length += max(sizes[row, column], 0) + 1
    return length


@kernel
def _write(
    data: Bytes,
    rows: Int64s,
    columns: Int64s,
    states: Bytes,
    begins: Int32s,
    sizes: Int32s,
    out_starts: Int32s,
    out: Bytes,
) -> None:
    p = np.int64(0)
    for i in range(len(rows)):
        row = rows[i]
        if states[row] == _ALONE:
            out[p] = _ROW
            for byte in range(8):
                out[p + 1 + byte] = (row >> (8 * byte)) & 255
            p += 9
        else:
            for column in columns:
                size = np.int64(max(sizes[row, column], 0))
                p = copy(out, p, data, np.int64(begins[row, column]), size)
                out[p] = _END
                p += 1
        out_starts[i + 1] = p
