"""Which events concern which definitions: what they look at compiled to look-ups.

An event that no definition names costs one look-up, however many definitions there are; the
properties of an event are parsed only if a condition asks for them, and once for all that do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.conditions import Test, compile_conditions, parse_properties
from pipelines.kernel import Int64s
from pipelines.keys import ArrowColumn, KeyIndex, Texts
from pipelines.operators import Key, Look, Masks

_ANY: Final = ""  # no event is called that: what looks at all of a project's events


class Match(NamedTuple):
    """The events of a batch that a definition looks at: their rows, ascending, and which looks."""

    rows: Int64s
    masks: Masks


class _Use(NamedTuple):
    key: Key
    mask: int
    test: Test | None


class Matcher:
    """Compiled once for each change of the definitions; pure from then on."""

    def __init__(self, definitions: Iterable[tuple[Key, Sequence[Look]]]) -> None:
        self._events = KeyIndex()
        self._any = False
        self._uses: list[list[_Use]] = []
        for key, looks in definitions:
            for place, look in enumerate(looks):
                test = compile_conditions(look.where) if look.where else None
                code = self._code(key.project, look.event or _ANY)
                self._any = self._any or look.event is None
                self._uses[code].append(_Use(key, 1 << place, test))

    def match(self, projects: Texts, events: Texts, properties: ArrowColumn) -> dict[Key, Match]:
        """Find the events of each definition; those that none of them concerns are left out."""
        count = len(events.starts) - 1
        parsed: dict[int, Mapping[str, Any]] = {}
        pieces: dict[Key, list[tuple[Int64s, int]]] = {}
        for names in (events, _no_names(count)) if self._any else (events,):
            for code, rows in self._rows_by_code(projects, names, count):
                for use in self._uses[code]:
                    test = use.test
                    kept = rows if test is None else _passing(test, rows, properties, parsed)
                    if len(kept):
                        pieces.setdefault(use.key, []).append((kept, use.mask))
        return {key: _joined(parts) for key, parts in pieces.items()}

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


def _no_names(count: int) -> Texts:
    return Texts(np.zeros(count + 1, np.int32), np.empty(0, np.uint8))


def _passing(
    test: Test, rows: Int64s, properties: ArrowColumn, parsed: dict[int, Mapping[str, Any]]
) -> Int64s:
    kept = []
    for row in rows.tolist():
        known = parsed.get(row)
        if known is None:
            known = parsed[row] = parse_properties(properties[row].as_py())
        if test(known):
            kept.append(row)
    return np.array(kept, np.int64)


def _joined(parts: list[tuple[Int64s, int]]) -> Match:
    rows = np.concatenate([rows for rows, _ in parts])
    masks = np.repeat(
        np.array([mask for _, mask in parts], np.uint32), [len(rows) for rows, _ in parts]
    )
    order = np.argsort(rows, kind="stable")
    rows, masks = rows[order], masks[order]
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    return Match(rows[firsts], np.bitwise_or.reduceat(masks, firsts))
