"""Which events concern which definitions: what they look at compiled to look-ups.

An event that no definition names costs one look-up, however many definitions there are; the
properties of an event are looked into only if a condition asks for them, and parsed only for one of
all that are alike in what it asks (`pipelines.matching.property_groups`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.columnar.argsort import order_of
from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.columnar.jit import Int64s
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.matching.conditions import compile_conditions, compile_member_read, compile_read
from pipelines.matching.property_groups import Groups, Properties, PropertyNames, Question
from pipelines.matching.selectors import (
    EVENT_NAME,
    HasObject,
    ObjectMember,
    PropertyRead,
    ValueHash,
)
from pipelines.matching.value_hash import ValueHashes, fingerprint_of
from schemas.conditions import Condition, comparisons
from schemas.event_filter import EventSelector
from schemas.properties import is_spelled_variously
from schemas.value_tokens import tokens_of

_ANY: Final = ""  # no event is called that: what looks at all of a project's events


# A bit for each of a definition's selectors: whether it matches the event.
Masks = NDArray[np.uint32]
# For each property that a definition reads: its values as `DictionaryColumn`, None where it is not
# set, or `ValueHashes` if the definition asks for those.
Values = Sequence[Any]


class Key(NamedTuple):
    """Identifies one version of one definition."""

    kind: str
    project: str
    id: str
    version: int

    @property
    def name(self) -> str:
        """What the log calls it."""
        return "/".join(map(str, self))


class Match(NamedTuple):
    """The events of a batch that a definition looks at: their rows, ascending, and which looks.

    `values` are those of the properties that it reads.
    """

    rows: Int64s
    masks: Masks
    values: Values = ()

    def cut(self, part: slice | NDArray[np.bool_]) -> "Match":
        """Some of the events."""
        values = [column.cut(part) for column in self.values]
        return Match(self.rows[part], self.masks[part], values)


class _Names:
    """The names of a batch's events."""

    def __init__(self, names: StringColumn) -> None:
        self._names = names
        count = len(names.starts) - 1
        empty = StringColumn.empty(count)
        self._groups = Groups(count, lambda index, rows: index.intern(names, empty, rows))

    def of(self, rows: Int64s) -> DictionaryColumn:
        """The names of some events."""
        codes = self._groups.of(rows)
        return DictionaryColumn(codes, self._names.take(self._groups.samples))


class _Use(NamedTuple):
    key: Key
    mask: int
    test: Question | None
    holding: str | None

    def pick(self, rows: Int64s, properties: Properties) -> Int64s:
        """Those of `rows` that it is about."""
        if self.holding is not None:
            rows = rows[properties.holding(self.holding)[rows]]
        return rows if self.test is None else rows[properties.ask(self.test, rows)]


class _NameReader:
    """Reads the event's name."""

    names: ClassVar[tuple[str, ...]] = ()

    def values(self, rows: Int64s, names: _Names, _: Properties) -> DictionaryColumn:
        """What it reads of `rows`."""
        return names.of(rows)


class _AlikeReader:
    def __init__(self, of: ValueHash) -> None:
        reads = [compile_read(name) for name in of.properties]
        self.names = names = grouping_names(of.properties)

        def tokens(properties: Mapping[str, Any]) -> tuple[str, ...]:
            return tokens_of(read(properties) for read in reads)

        self._tokens = Question(names, tokens)
        self._number = Question(names, lambda has: fingerprint_of(tokens(has)), np.uint64)

    def values(self, rows: Int64s, _: _Names, properties: Properties) -> ValueHashes:
        """What it reads of `rows`."""
        numbers = properties.ask(self._number, rows)
        return ValueHashes(numbers, properties.grouped(self._tokens, rows))


class _Reader(NamedTuple):
    read: Question
    holding: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The properties that it depends on."""
        return self.read.names

    def values(self, rows: Int64s, _: _Names, properties: Properties) -> DictionaryColumn:
        """What it reads of `rows`."""
        if self.holding is None:
            return properties.grouped(self.read, rows)
        held = properties.holding(self.holding)[rows]
        found = properties.grouped(self.read, rows[held])
        codes = np.full(len(rows), len(found.distinct), np.int32)
        codes[held] = found.codes
        return DictionaryColumn(codes, [*found.distinct, None])


class Matcher:
    """Compiled once for each change of the definitions; pure from then on.

    A definition is given as its key, its looks and the properties that it reads.
    """

    def __init__(
        self, definitions: Iterable[tuple[Key, Sequence[EventSelector], Sequence[PropertyRead]]]
    ) -> None:
        self._events = KeyIndex()
        self._any = False
        self._uses: list[list[_Use]] = []
        self._readers: dict[Key, list[_NameReader | _AlikeReader | _Reader]] = {}
        # Definitions that ask the same ask it once an event.
        reader = cache(_reader)
        tests: dict[bytes, Question] = {}
        for key, selectors, names in definitions:
            self._readers[key] = [reader(name) for name in names]
            for place, look in enumerate(selectors):
                test = None
                if look.where:
                    alike = msgspec.json.encode(look.where)
                    test = tests.setdefault(alike, _test(look.where))
                holding = look.object if isinstance(look, HasObject) else None
                code = self._code(key.project, look.event or _ANY)
                self._any = self._any or look.event is None
                self._uses[code].append(_Use(key, 1 << place, test, holding))
        readers = [one for several in self._readers.values() for one in several]
        self._sought = PropertyNames(
            [*(test.names for test in tests.values()), *(r.names for r in readers)]
        )

    def match(
        self, projects: StringColumn, events: StringColumn, texts: ArrowColumn
    ) -> dict[Key, Match]:
        """Find the events of each definition; those that none of them concerns are left out.

        `texts` are their properties.
        """
        count = len(events.starts) - 1
        properties, named = Properties(texts, self._sought), _Names(events)
        pieces: dict[Key, list[tuple[Int64s, int]]] = {}
        for names in (events, StringColumn.empty(count)) if self._any else (events,):
            for code, rows in self._rows_by_code(projects, names, count):
                for use in self._uses[code]:
                    kept = use.pick(rows, properties)
                    if len(kept):
                        pieces.setdefault(use.key, []).append((kept, use.mask))
        found = {}
        for key, parts in pieces.items():
            rows, masks = _joined(parts, count)
            values = [reader.values(rows, named, properties) for reader in self._readers[key]]
            found[key] = Match(rows, masks, values)
        return found

    def _rows_by_code(
        self, projects: StringColumn, names: StringColumn, count: int
    ) -> Iterator[tuple[int, Int64s]]:
        """The rows of each (project, name) that is looked for, ascending."""
        codes = self._events.find(projects, names, np.arange(count))
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            return
        known = known[order_of(codes[known])]
        present, begins = np.unique(codes[known], return_index=True)
        yield from zip(present.tolist(), np.split(known, begins[1:]), strict=True)

    def _code(self, project: str, event: str) -> int:
        project_text, event_text = (StringColumn.of(pa.array([text])) for text in (project, event))
        (code,) = self._events.intern(project_text, event_text, np.zeros(1, np.int64))
        if code == len(self._uses):
            self._uses.append([])
        return int(code)


def _test(where: Sequence[Condition]) -> Question:
    names = {condition.property for condition, _ in comparisons(where, "where")}
    return Question(grouping_names(names), compile_conditions(where), np.bool_)


def _reader(of: PropertyRead) -> _NameReader | _AlikeReader | _Reader:
    match of:
        case ValueHash():
            return _AlikeReader(of)
        case ObjectMember(outer, name):
            return _Reader(Question((outer,), compile_member_read(outer, name)), outer)
        case str(name) if name != EVENT_NAME:
            return _Reader(Question(grouping_names([name]), compile_read(name)), None)
    return _NameReader()


def grouping_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names by which events are grouped that are asked for these properties.

    None if one of them may be spelled in several ways: then it is all properties.
    """
    names = sorted(set(names))
    return () if any(map(is_spelled_variously, names)) else tuple(names)


def _joined(parts: list[tuple[Int64s, int]], count: int) -> tuple[Int64s, Masks]:
    """The rows, of so many, that are in any of the parts, and the masks of those they are in."""
    if len(parts) == 1:
        ((rows, mask),) = parts
        return rows, np.full(len(rows), mask, np.uint32)
    masks = np.zeros(count, np.uint32)
    for rows, mask in parts:
        masks[rows] |= np.uint32(mask)
    rows = np.flatnonzero(masks)
    return rows, masks[rows]
