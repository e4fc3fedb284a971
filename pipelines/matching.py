"""Which events concern which definitions: what they look at compiled to look-ups.

An event that no definition names costs one look-up, however many definitions there are; the
properties of an event are parsed only if a condition asks for them, and once for all that do.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.conditions import (
    Read,
    Test,
    compile_conditions,
    compile_member_read,
    compile_read,
    parse_properties,
)
from pipelines.fingerprints import Fingerprints, fingerprints
from pipelines.kernel import Int64s
from pipelines.keys import ArrowColumn, KeyIndex, Texts
from pipelines.operators import (
    EVENT_NAME,
    Alike,
    Holding,
    Key,
    Look,
    Masks,
    Member,
    Reading,
    Values,
)

_ANY: Final = ""  # no event is called that: what looks at all of a project's events


class Match(NamedTuple):
    """The events of a batch that a definition looks at: their rows, ascending, and which looks.

    `values` are those of the properties that it reads.
    """

    rows: Int64s
    masks: Masks
    values: Values = ()

    def cut(self, part: slice) -> "Match":
        """Some of the events."""
        values = [column[part] for column in self.values]
        return Match(self.rows[part], self.masks[part], values)


class _Memo:
    """What was asked of the events of a batch: of each of them once, however many ask."""

    def __init__(self, count: int) -> None:
        self._known = np.zeros(count, np.bool_)
        self._answers = np.empty(count, object)

    def ask(self, rows: Int64s, answer: Callable[[Int64s], Iterable[Any]]) -> NDArray[np.object_]:
        """The answers for `rows`; `answer` is called for those that are not known."""
        unknown = rows[~self._known[rows]]
        if len(unknown):
            self._known[unknown] = True
            self._answers[unknown] = np.fromiter(answer(unknown), object, len(unknown))
        return self._answers[rows]


class _Alike:
    """Fingerprints of the events of a batch: worked out where they are asked for, and once."""

    def __init__(self, count: int) -> None:
        self._known = np.zeros(count, np.bool_)
        self._numbers = np.zeros(count, np.uint64)
        self._tokens: dict[int, tuple[str, ...]] = {}

    def ask(self, rows: Int64s, columns: Callable[[Int64s], Sequence[Any]]) -> Fingerprints:
        """Those of `rows`; `columns` gives the values of those that are not known."""
        unknown = rows[~self._known[rows]]
        if len(unknown):
            self._known[unknown] = True
            found = fingerprints(columns(unknown))
            self._numbers[unknown] = found.numbers
            self._tokens |= found.tokens
        return Fingerprints(self._numbers[rows], self._tokens)


class _Properties:
    """The properties of a batch: parsed, tested and read where that is asked for, and once."""

    def __init__(self, texts: ArrowColumn) -> None:
        self._texts = texts
        self._parsed = _Memo(len(texts))
        self._memos: dict[Test | Read, _Memo] = {}
        self._alike: dict[Alike, _Alike] = {}
        self._holding: dict[str, NDArray[np.bool_]] = {}

    def ask(self, question: Test | Read, rows: Int64s) -> NDArray[np.object_]:
        """What a test or a read makes of the properties of some events."""
        memo = self._memos.get(question)
        if memo is None:
            memo = self._memos[question] = _Memo(len(self._texts))
        return memo.ask(rows, lambda unknown: map(question, self._parsed.ask(unknown, self._parse)))

    def alike(self, of: Alike, reads: Sequence[Read], rows: Int64s) -> Fingerprints:
        """The fingerprints of what the `reads` make of the properties of some events."""
        known = self._alike.get(of)
        if known is None:
            known = self._alike[of] = _Alike(len(self._texts))
        return known.ask(rows, lambda unknown: [self.ask(read, unknown) for read in reads])

    def _parse(self, rows: Int64s) -> Iterator[Mapping[str, Any]]:
        return map(parse_properties, self._texts.take(rows).to_pylist())

    def holding(self, name: str) -> NDArray[np.bool_]:
        """Whether the events have a property of that name; some that have none are in."""
        found = self._holding.get(name)
        if found is None:
            # Escaped or not: what ASCII text is escaped as begins like this.
            mentions = (pc.match_substring(self._texts, text) for text in (name, "\\u00"))
            found = self._holding[name] = np.asarray(pc.or_(*mentions))
        return found


class _Use(NamedTuple):
    key: Key
    mask: int
    test: Test | None
    holding: str | None

    def pick(self, rows: Int64s, properties: _Properties) -> Int64s:
        """Those of `rows` that it is about."""
        if self.holding is not None:
            rows = rows[properties.holding(self.holding)[rows]]
        if self.test is None:
            return rows
        return rows[properties.ask(self.test, rows).astype(np.bool_)]


class _NameReader:
    """Reads the event's name."""

    def values(self, rows: Int64s, events: Texts, _: _Properties) -> list[str]:
        """What it reads of `rows`."""
        return events.take(rows)


class _AlikeReader(NamedTuple):
    of: Alike
    reads: tuple[Read, ...]

    def values(self, rows: Int64s, _: Texts, properties: _Properties) -> Fingerprints:
        """What it reads of `rows`."""
        return properties.alike(self.of, self.reads, rows)


class _Reader(NamedTuple):
    read: Read
    holding: str | None

    def values(self, rows: Int64s, _: Texts, properties: _Properties) -> list[Any]:
        """What it reads of `rows`."""
        values = np.full(len(rows), None, object)
        held = slice(None) if self.holding is None else properties.holding(self.holding)[rows]
        values[held] = properties.ask(self.read, rows[held])
        return values.tolist()


class Matcher:
    """Compiled once for each change of the definitions; pure from then on.

    A definition is given as its key, its looks and the properties that it reads.
    """

    def __init__(
        self, definitions: Iterable[tuple[Key, Sequence[Look], Sequence[Reading]]]
    ) -> None:
        self._events = KeyIndex()
        self._any = False
        self._uses: list[list[_Use]] = []
        self._readers: dict[Key, list[_NameReader | _AlikeReader | _Reader]] = {}
        # Definitions that ask the same ask it once an event.
        reader = cache(_reader)
        tests: dict[bytes, Test] = {}
        for key, looks, names in definitions:
            self._readers[key] = [reader(name) for name in names]
            for place, look in enumerate(looks):
                test = None
                if look.where:
                    alike = msgspec.json.encode(look.where)
                    test = tests.setdefault(alike, compile_conditions(look.where))
                holding = look.object if isinstance(look, Holding) else None
                code = self._code(key.project, look.event or _ANY)
                self._any = self._any or look.event is None
                self._uses[code].append(_Use(key, 1 << place, test, holding))

    def match(self, projects: Texts, events: Texts, texts: ArrowColumn) -> dict[Key, Match]:
        """Find the events of each definition; those that none of them concerns are left out.

        `texts` are their properties.
        """
        count = len(events.starts) - 1
        properties = _Properties(texts)
        pieces: dict[Key, list[tuple[Int64s, int]]] = {}
        for names in (events, Texts.empty(count)) if self._any else (events,):
            for code, rows in self._rows_by_code(projects, names, count):
                for use in self._uses[code]:
                    kept = use.pick(rows, properties)
                    if len(kept):
                        pieces.setdefault(use.key, []).append((kept, use.mask))
        found = {}
        for key, parts in pieces.items():
            rows, masks = _joined(parts, count)
            values = [reader.values(rows, events, properties) for reader in self._readers[key]]
            found[key] = Match(rows, masks, values)
        return found

    def _rows_by_code(
        self, projects: Texts, names: Texts, count: int
    ) -> Iterator[tuple[int, Int64s]]:
        """The rows of each (project, name) that is looked for, ascending."""
        codes = self._events.find(projects, names, np.arange(count))
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            return
        known = known[np.argsort(codes[known], kind="stable")]
        present, begins = np.unique(codes[known], return_index=True)
        yield from zip(present.tolist(), np.split(known, begins[1:]), strict=True)

    def _code(self, project: str, event: str) -> int:
        project_text, event_text = (Texts.of(pa.array([text])) for text in (project, event))
        (code,) = self._events.intern(project_text, event_text, np.zeros(1, np.int64))
        if code == len(self._uses):
            self._uses.append([])
        return int(code)


def _reader(of: Reading) -> _NameReader | _AlikeReader | _Reader:
    match of:
        case Alike(properties):
            return _AlikeReader(of, tuple(map(compile_read, properties)))
        case Member(outer, name):
            return _Reader(compile_member_read(outer, name), outer)
        case str(name) if name != EVENT_NAME:
            return _Reader(compile_read(name), None)
    return _NameReader()


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
